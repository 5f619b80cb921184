"""Proxy-sync as a process of its own, as the supervisor starts it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.wait import wait_until


class ProxySyncProcess:
    """One proxy-sync in a folder of its own; survives being killed and started again."""

    def __init__(self, data_dir: Path, nats: NatsServer, *, launcher: Sequence[str] = (), **environment: str) -> None:
        self._launcher = launcher
        self.directory = data_dir / "proxy-sync"
        self.https_port = free_port()
        self.admin_port = free_port()
        self._log = data_dir / "proxy-sync.log"
        self._environment = {
            **os.environ,
            "CLAWSTEAD_DATA_DIR": str(data_dir),
            "CLAWSTEAD_NATS_URL": nats.url,
            "CLAWSTEAD_EDGE_ADDRESSES": "127.0.0.1",
            "CLAWSTEAD_HTTPS_PORT": str(self.https_port),
            "CLAWSTEAD_HTTP_PORT": str(free_port()),
            "CLAWSTEAD_PROXY_SYNC_PORT": str(self.admin_port),
            "CLAWSTEAD_EDGE_CHECK_INTERVAL": "0.3",
            "CLAWSTEAD_EDGE_RESYNC_INTERVAL": "1",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> dict[str, str]:
        """The variables that it is told, for commands about it."""
        return {name: value for name, value in self._environment.items() if name.startswith("CLAWSTEAD_")}

    def start(self) -> None:
        binary = Path(sys.executable).with_name("clawstead-proxy-sync")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*self._launcher, binary], env=self._environment, stdout=log, stderr=log)

    async def ready(self) -> None:
        """Wait until the service says that it is ready."""
        await wait_until(self._is_ready, timeout=20, what="proxy-sync ready")

    async def _is_ready(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self.log()
        return not await self.waiting()

    async def waiting(self) -> dict[str, Any]:
        """Return what the service waits for; empty when it is ready."""
        try:
            async with httpx.AsyncClient() as client:
                response = await client.get(f"http://127.0.0.1:{self.admin_port}/readyz")
            waiting: dict[str, Any] = response.json()["waiting"]
        except (httpx.TransportError, json.JSONDecodeError):
            return {"process": "does not answer"}
        return waiting

    async def lines(self) -> int:
        """Return how many lines the table has that every worker was seen to serve."""
        return int(await self.metric("clawstead_edge_routes"))

    async def metric(self, name: str) -> float:
        """Return one metric, 0 if it is not there."""
        async with httpx.AsyncClient() as client:
            metrics = (await client.get(f"http://127.0.0.1:{self.admin_port}/metrics")).text
        found = [line for line in metrics.splitlines() if line.startswith(f"{name} ")]
        return float(found[0].rpartition(" ")[2]) if found else 0.0

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def nginx_pid(self) -> int:
        return int((self.directory / "nginx" / "nginx.pid").read_text())

    @property
    def map(self) -> str:
        return (self.directory / "nginx" / "routes.map").read_text()

    @property
    def pages(self) -> set[str]:
        """What answers at closed gates: ``label.page``."""
        return {path.name for path in (self.directory / "closed").iterdir()}

    @property
    def gates(self) -> set[str]:
        return {path.name for path in (self.directory / "ready").iterdir()}

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """End the service at once, as a crash would. Its nginx goes on."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the service in order, and nginx with it."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None
