"""A gateway process, an instance's container, and tickets for it."""

import asyncio
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from clawstead_shared.events import Observed
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import KEYS_BUCKET, TICKET_KEY
from clawstead_shared.tickets import Purpose
from tests.support.factories import STANDIN_IMAGE, make_observed, observed_event
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.terminal_client import TerminalClient
from tests.support.tickets import TicketSigner
from tests.support.wait import wait_until

TEST_LABEL = "ing.clawstead.test"
ORIGIN = "https://claw.test:8443"


class Instance:
    """A running stand-in, hardened as real ones are."""

    def __init__(self, engine: docker.DockerClient, run_id: str) -> None:
        self.id = new_instance_id()
        self.container: Container = engine.containers.run(
            STANDIN_IMAGE,
            detach=True,
            init=True,
            read_only=True,
            tmpfs={"/tmp": "", "/home/node": "uid=1000,gid=1000"},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            pids_limit=64,
            mem_limit="128m",
            network_mode="none",
            labels={TEST_LABEL: run_id, "ing.clawstead.instance": self.id},
        )

    def observed(self, **overrides: Any) -> Observed:
        return make_observed(
            **{"instance_id": self.id, "container_id": self.container.id, "subdomain": "mine", **overrides}
        )

    def processes(self) -> list[str]:
        """Return the commands that run in the container."""
        top = self.container.top()
        column = top["Titles"].index("CMD")
        return [row[column] for row in top["Processes"]]


class TerminalProcess:
    """One process of the service; its data outlives it."""

    def __init__(self, nats_url: str, data_dir: Path, **environment: str) -> None:
        self.port, self.ws_port = free_port(), free_port()
        self.data_dir = data_dir
        self._environment = {
            **os.environ,
            "CLAWSTEAD_NATS_URL": nats_url,
            "CLAWSTEAD_DATA_DIR": str(data_dir),
            "CLAWSTEAD_DOMAIN": "claw.test",
            "CLAWSTEAD_TERMINAL_PORT": str(self.port),
            "CLAWSTEAD_TERMINAL_WS_PORT": str(self.ws_port),
            "CLAWSTEAD_TERMINAL_RECHECK_INTERVAL": "0.5",
            "CLAWSTEAD_TERMINAL_AUTH_TIMEOUT": "10",
            **environment,
        }
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, **environment: str) -> None:
        self._environment |= environment
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "clawstead_terminal", env=self._environment
        )
        await wait_until(self._ready, timeout=20, what="ready")

    async def _ready(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return b" 200 " in answer.split(b"\r\n")[0]

    async def end(self, number: signal.Signals) -> int:
        assert self.process
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 20)

    async def restart(self, **environment: str) -> None:
        """Start anew with other settings."""
        await self.end(signal.SIGTERM)
        await self.start(**environment)

    def journal(self) -> list[Path]:
        return list((self.data_dir / "terminal" / "sessions").glob("*.json"))

    def url(self, path: str = "/ws/terminal") -> str:
        return f"ws://127.0.0.1:{self.ws_port}{path}"


class Stage:
    """Everything that one test of the gateway needs."""

    def __init__(self, bus: Bus, service: TerminalProcess, signer: TicketSigner, instance: Instance) -> None:
        self.bus = bus
        self.service = service
        self.signer = signer
        self.instance = instance

    async def observe(self, **overrides: Any) -> None:
        await self.bus.publish(observed_event(self.instance.observed(**overrides)))

    def ticket(self, **options: Any) -> str:
        return self.signer.sign(self.instance.id, **options)

    async def connect(self, path: str = "/ws/terminal", **options: Any) -> TerminalClient:
        return await TerminalClient.connect(self.service.url(path), **{"origin": ORIGIN, **options})

    async def open(self, **size: int) -> TerminalClient:
        """Open a session and wait for its shell."""
        client = await self.connect()
        await client.auth(self.ticket(), **size)
        await client.ready()
        return client

    async def dashboard(self) -> TerminalClient:
        client = await self.connect("/ws/dashboard")
        await client.auth(self.ticket(purpose=Purpose.DASHBOARD))
        return client

    async def left_nothing(self, before: list[str]) -> None:
        """Wait until the container runs what it ran before, and nothing else."""
        # One attempt at ending programs may take five seconds, and the next recheck makes another.
        await wait_until(lambda: sorted(self.instance.processes()) == sorted(before), timeout=15, what="nothing left")


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    engine = docker.from_env()
    yield engine
    engine.close()


@pytest.fixture
def instance(engine: docker.DockerClient) -> Iterator[Instance]:
    run_id = uuid.uuid4().hex
    try:
        instance = Instance(engine, run_id)
        while not any("httpd" in command for command in instance.processes()):
            time.sleep(0.02)
        yield instance
    finally:
        for container in engine.containers.list(all=True, filters={"label": f"{TEST_LABEL}={run_id}"}):
            container.remove(force=True)


@pytest.fixture
def signer() -> TicketSigner:
    return TicketSigner()


@pytest.fixture
async def service(bus: Bus, nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[TerminalProcess]:
    service = TerminalProcess(nats_server.url, tmp_path / "data")
    await service.start()
    yield service
    await service.end(signal.SIGKILL)


@pytest.fixture
async def stage(bus: Bus, service: TerminalProcess, signer: TicketSigner, instance: Instance) -> Stage:
    await (await bus.bucket(KEYS_BUCKET)).put(TICKET_KEY, signer.public_pem)
    stage = Stage(bus, service, signer, instance)
    await stage.observe()
    return stage
