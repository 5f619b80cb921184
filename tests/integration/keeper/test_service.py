"""The keeper as a process, with no more rights than it has on a platform: it declares what it needs, and keeps it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from clawstead_keeper.exhausted import Advisory
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, Payload
from clawstead_shared.messaging import Bus, Log
from clawstead_shared.notices import Notice
from clawstead_shared.streams import ADVISORY_STREAM, DEAD_LETTER_STREAM, PROVISIONER, STATE_STREAM
from clawstead_shared.subjects import Topic
from tests.support.factories import desired_event, make_desired
from tests.support.ports import free_port
from tests.support.secured_bus import SecuredBus
from tests.support.wait import wait_until

SHOWN = (
    'clawstead_keeper_repairs_total{kind="consumer",name="provisioner"} 1.0',
    'clawstead_consumer_pending{consumer="provisioner"} 2.0',
    'clawstead_stream_messages{stream="CLAWSTEAD"} 2.0',
    "clawstead_gaps 1.0",
    "clawstead_keeper_refused 0.0",
)


class KeeperProcess:
    def __init__(self, secured: SecuredBus) -> None:
        self.port = free_port()
        self._environment = {
            **os.environ,
            "CLAWSTEAD_NATS_URL": secured.server.url,
            "CLAWSTEAD_NATS_SEED_FILE": str(secured.seed_file("keeper")),
            "CLAWSTEAD_KEEPER_PORT": str(self.port),
            "CLAWSTEAD_KEEPER_INTERVAL": "0.5",
            "CLAWSTEAD_KEEPER_GAP_GRACE": "0.1",
        }
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "clawstead_keeper", env=self._environment
        )
        await wait_until(self._ready, timeout=20, what="ready")

    async def get(self, path: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer

    async def _ready(self) -> bool:
        with suppress(OSError):
            return b" 200 " in (await self.get("/readyz")).split(b"\r\n")[0]
        return False

    async def end(self, number: signal.Signals) -> int:
        assert self.process
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 20)


@pytest.fixture
def secured() -> Iterator[SecuredBus]:
    with SecuredBus() as secured:
        secured.server.start()
        yield secured


@pytest.fixture
async def keeper(secured: SecuredBus) -> AsyncIterator[KeeperProcess]:
    keeper = KeeperProcess(secured)
    await keeper.start()
    yield keeper
    await keeper.end(signal.SIGKILL)


@pytest.fixture
async def operator(secured: SecuredBus, keeper: KeeperProcess) -> AsyncIterator[Bus]:
    bus = secured.bus("operator")
    await bus.connect()
    yield bus
    await bus.close()


async def test_it_declares_repairs_tells_and_counts_and_ends_well(
    secured: SecuredBus, keeper: KeeperProcess, operator: Bus
) -> None:
    async def told(about: str) -> bool:
        log = Log(lambda: operator.broker.connection, ADVISORY_STREAM)
        with suppress(TransientError):
            return about in {
                Notice.model_validate_json(stored.body).about async for stored in log.read(subject="clawstead.notice.>")
            }
        return False

    async def missing() -> set[str]:
        metrics = (await keeper.get("/metrics")).decode()
        return {line for line in SHOWN if line not in metrics}

    async def all_shown() -> bool:
        return not await missing()

    desired = make_desired()
    for generation in (1, 3):
        await operator.publish(desired_event(desired.model_copy(update={"generation": generation})))
    await wait_until(lambda: told(desired.instance_id), timeout=30)
    secured.server.kill()
    await wait_until(lambda: not operator.connected)
    secured.server.start()
    await wait_until(lambda: operator.connected)
    await operator.jetstream.delete_consumer(STATE_STREAM, "provisioner")
    await wait_until(lambda: told("provisioner"), timeout=30)
    # A round that the server's end had cut off counts again after a pause.
    with suppress(AssertionError):
        await wait_until(all_shown, timeout=30)
    assert await missing() == set()
    assert await keeper.end(signal.SIGTERM) == 0


async def test_what_a_service_may_not_do_it_does_for_it(
    secured: SecuredBus, keeper: KeeperProcess, operator: Bus
) -> None:
    seen: list[str] = []

    async def handler(event: Event[Payload]) -> None:
        seen.append(event.id)

    provisioner = secured.bus("provisioner")
    await provisioner.connect()
    provisioner.consume(PROVISIONER, {Topic.DESIRED: handler})
    await provisioner.start()
    await operator.jetstream.delete_consumer(STATE_STREAM, "provisioner")
    meanwhile = desired_event(make_desired())
    await operator.publish(meanwhile)
    await wait_until(lambda: meanwhile.id in seen, what="resumed")
    await provisioner.close()

    said = Advisory(consumer="provisioner", stream_seq=1, deliveries=8, timestamp=datetime.now(UTC))
    await operator.broker.connection.publish(
        f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{STATE_STREAM}.provisioner", said.model_dump_json().encode()
    )

    async def set_aside() -> int:
        return (await operator.jetstream.stream_info(DEAD_LETTER_STREAM)).state.messages

    assert await wait_until(set_aside) == 1
