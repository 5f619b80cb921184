"""Strikes the platform as planned: its processes from outside, its log with messages that should not be there."""

import asyncio
import contextlib
import json
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
from nats.aio.client import Client
from nats.errors import Error as NatsError

from clawstead_shared.errors import TransientError
from clawstead_shared.ids import new_event_id, new_instance_id
from clawstead_shared.messaging.log import Log, Stored
from clawstead_shared.streams import STATE_STREAM
from clawstead_shared.subjects import Topic, subject_of
from tests.e2e.chaos.plan import Blow, Poison, Strike

NGINX = "nginx"
_PUBLISH_SECONDS = 2
_ATTEMPTS = 5
_LARGE_BYTES = 900_000


class Saboteur:
    """Carries strikes out, and remembers which messages nobody can be expected to handle."""

    def __init__(
        self,
        data_dir: Path,
        *,
        reader: Client,
        writers: Mapping[str, Client],
        instance_of: Callable[[int], str | None],
    ) -> None:
        self._data_dir = data_dir
        self._log = Log(lambda: reader)
        self._writers = writers
        self._instance_of = instance_of
        self.done: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        """Strikes at what was not there at that moment."""
        self.poisoned: dict[int, str] = {}
        """Topic by sequence in the log."""

    async def strike(self, strike: Strike) -> None:
        """Carry one strike out; one that cannot be is counted as missed."""
        name = f"{strike.blow} {strike.process}".strip()
        try:
            match strike.blow:
                case Blow.KILL:
                    self.process(strike.process).send_signal(signal.SIGKILL)
                case Blow.FREEZE:
                    await self._freeze(strike)
                case Blow.POISON:
                    await self._poison(strike)
                case Blow.DUPLICATE | Blow.STALE:
                    await self._repeat(strike)
        except (psutil.Error, FileNotFoundError, LookupError, NatsError, TransientError, TimeoutError, OSError):
            self.missed[name] += 1
        else:
            self.done[name] += 1

    def process(self, name: str) -> psutil.Process:
        """Return one process of the platform.

        Raises:
            LookupError: it does not run at this moment.
        """
        if name == NGINX:
            return psutil.Process(int((self._data_dir / "proxy-sync" / "nginx" / "nginx.pid").read_text()))
        program = "nats-server" if name == "nats" else f"clawstead-{name}"
        supervisor = psutil.Process(int((self._data_dir / "run" / "supervisord.pid").read_text()))
        for child in supervisor.children():
            with contextlib.suppress(psutil.Error):
                if any(Path(argument).name == program for argument in child.cmdline()[:2]):
                    return child
        raise LookupError(name)

    async def _freeze(self, strike: Strike) -> None:
        process = self.process(strike.process)
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(strike.seconds)
        finally:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)

    async def _repeat(self, strike: Strike) -> None:
        """Store a message of the log again, as newest, where the server cannot know it for a duplicate."""
        subject = subject_of(Topic(strike.topic), self._instance(strike))
        page = await self._log.page(subject=subject)
        handled = [message for message in page.messages if message.sequence not in self.poisoned]
        stored = handled[max(len(handled) - 1 - strike.back, 0)]
        await self._publish(strike.topic, subject, _fresh(stored), stored.body)

    async def _poison(self, strike: Strike) -> None:
        instance_id = new_instance_id() if strike.stranger else self._instance(strike)
        headers, body = _poison(strike.poison or Poison.NOT_JSON, instance_id)
        subject = subject_of(Topic(strike.topic), instance_id)
        self.poisoned[await self._publish(strike.topic, subject, headers, body)] = strike.topic

    def _instance(self, strike: Strike) -> str:
        instance_id = self._instance_of(strike.slot)
        if instance_id is None:
            raise LookupError(f"slot {strike.slot} is empty")
        return instance_id

    async def _publish(self, topic: str, subject: str, headers: Mapping[str, str], body: bytes) -> int:
        bus = self._writers[topic].jetstream(timeout=_PUBLISH_SECONDS)
        for attempt in range(_ATTEMPTS):
            try:
                # The same identity each time: a try that was not confirmed may be stored.
                ack = await bus.publish(subject, body, stream=STATE_STREAM, headers=dict(headers))
            except (NatsError, TimeoutError):
                if attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(0.5)
            else:
                return ack.seq
        raise AssertionError("unreachable: the last attempt returns or raises")


def _fresh(stored: Stored) -> dict[str, str]:
    kept = {name: value for name, value in stored.headers.items() if not name.startswith("Nats-")}
    return {**kept, "Nats-Msg-Id": new_event_id()}


def _poison(poison: Poison, instance_id: str) -> tuple[dict[str, str], bytes]:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": new_event_id(),
        "ce-type": "clawstead.instance.created",
        "ce-source": "/clawstead/api",
        "ce-time": "2026-01-01T00:00:00+00:00",
        "ce-subject": instance_id,
    }
    body = json.dumps({"instance_id": instance_id, "generation": 1}).encode()
    match poison:
        case Poison.NOT_JSON:
            body = b"\x00{nope"
        case Poison.LARGE:
            body = b"x" * _LARGE_BYTES
        case Poison.UNKNOWN_TYPE:
            headers["ce-type"] = "clawstead.instance.blessed.v9"
        case Poison.ABOUT_ANOTHER:
            body = json.dumps({"instance_id": new_instance_id(), "generation": 1}).encode()
        case Poison.BARE:
            headers = {}
        case Poison.WRONG_SCHEMA:
            pass  # most of its fields are missing
    return {**headers, "Nats-Msg-Id": new_event_id()}, body
