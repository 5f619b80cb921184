"""The keeper as a process: it declares what it needs, and keeps it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from clawstead_shared.messaging import Bus, Log
from clawstead_shared.notices import Notice
from clawstead_shared.settings import BusSettings
from clawstead_shared.streams import ADVISORY_STREAM, STATE_STREAM
from tests.support.factories import desired_event, make_desired
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.wait import wait_until


class KeeperProcess:
    def __init__(self, nats_url: str) -> None:
        self.port = free_port()
        self._environment = {
            **os.environ,
            "CLAWSTEAD_NATS_URL": nats_url,
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
async def keeper(nats_server: NatsServer) -> AsyncIterator[KeeperProcess]:
    keeper = KeeperProcess(nats_server.url)
    await keeper.start()
    yield keeper
    await keeper.end(signal.SIGKILL)


async def test_it_declares_repairs_tells_and_counts_and_ends_well(
    nats_server: NatsServer, keeper: KeeperProcess
) -> None:
    bus = Bus("test", BusSettings(nats_url=nats_server.url))
    await bus.connect()
    await bus.require_streams()

    async def told(about: str) -> bool:
        log = Log(lambda: bus.broker.connection, ADVISORY_STREAM)
        notices = [Notice.model_validate_json(stored.body) async for stored in log.read(subject="clawstead.notice.>")]
        return about in {notice.about for notice in notices}

    desired = make_desired()
    for generation in (1, 3):
        await bus.publish(desired_event(desired.model_copy(update={"generation": generation})))
    await wait_until(lambda: told(desired.instance_id))
    nats_server.kill()
    await wait_until(lambda: not bus.connected)
    nats_server.start()
    await wait_until(lambda: bus.connected)
    await bus.jetstream.delete_consumer(STATE_STREAM, "provisioner")
    await wait_until(lambda: told("provisioner"))
    metrics = (await keeper.get("/metrics")).decode()
    for line in (
        'clawstead_keeper_repairs_total{kind="consumer",name="provisioner"} 1.0',
        'clawstead_consumer_pending{consumer="provisioner"} 2.0',
        'clawstead_stream_messages{stream="CLAWSTEAD"} 2.0',
        "clawstead_gaps 1.0",
        "clawstead_keeper_refused 0.0",
    ):
        assert line in metrics, line
    await bus.close()
    assert await keeper.end(signal.SIGTERM) == 0
