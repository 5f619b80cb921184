"""What operators, and the API for an instance's owner, ask of the gateway."""

import hashlib
import time
from collections.abc import Mapping

from clawstead_shared.control import InstanceLogs, LogsRequest, RebuildReport, Verb
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, MalformedEventError, Observed, Payload
from clawstead_shared.messaging import EventReader
from clawstead_shared.messaging.control import Control, RefusedError
from clawstead_shared.subjects import Topic
from clawstead_terminal.errors import EngineError, GoneError
from clawstead_terminal.ports import Output
from clawstead_terminal.sessions import Sessions
from clawstead_terminal.subscribers import recheck


class Requests:
    """Answers ``logs`` and ``rebuild``."""

    def __init__(self, bus: EventReader, output: Output, sessions: Sessions) -> None:
        self._bus = bus
        self._output = output
        self._sessions = sessions

    def answer(self, control: Control) -> None:
        """Have the requests answered. Call before the bus starts."""
        control.answer(Verb.LOGS, self.logs)
        control.answer(Verb.REBUILD, self.rebuild)

    async def logs(self, request: bytes) -> InstanceLogs:
        """Return the newest lines that an instance's container wrote.

        Raises:
            RefusedError: it has no container, or the engine does not answer.
            TransientError: the bus did not answer.
        """
        asked = LogsRequest.model_validate_json(request)
        container_id = asked.container_id or await self._container(asked.instance_id)
        try:
            return await self._output.tail(container_id, asked.instance_id, asked.tail)
        except GoneError as error:
            raise RefusedError(f"the instance has no container: {error}") from error
        except EngineError as error:
            raise RefusedError(str(error), hint="try again") from error

    async def rebuild(self, _: bytes) -> RebuildReport:
        """Judge every open session by the log again. The gateway keeps nothing else that follows from it.

        Raises:
            TransientError: the bus did not answer.
        """
        begun = time.perf_counter()
        before = _digest(await self._bus.snapshot(Topic.OBSERVED))
        await recheck(self._bus, self._sessions)
        observed = await self._bus.snapshot(Topic.OBSERVED)
        seconds = time.perf_counter() - begun
        return RebuildReport(before=before, after=_digest(observed), entries=len(observed), seconds=seconds)

    async def _container(self, instance_id: str) -> str:
        try:
            event = await self._bus.newest(Topic.OBSERVED, instance_id)
        except MalformedEventError as error:
            raise TransientError(str(error)) from error
        if event is None or not isinstance(event.data, Observed):
            raise RefusedError("nothing was ever observed of the instance, so its container is not known")
        if event.data.container_id is None:
            raise RefusedError(f"the instance has no container: it is {event.data.phase}")
        return event.data.container_id


def _digest(observed: Mapping[str, Event[Payload]]) -> str:
    lines = [
        f"{instance_id} {event.data.phase} {event.data.container_id or '-'}"
        for instance_id, event in sorted(observed.items())
        if isinstance(event.data, Observed)
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
