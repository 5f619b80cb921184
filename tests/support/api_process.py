"""``clawstead-api`` as its own process, as in production: started, killed, started again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.support.api import TOKEN
from tests.support.ports import free_port

PROGRAM = Path(sys.executable).with_name("clawstead-api")


class ApiProcess:
    """One ``clawstead-api``, with data that outlives it."""

    def __init__(self, directory: Path, nats_url: str) -> None:
        self.port = free_port()
        self.directory = directory
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CLAWSTEAD_")},
            "CLAWSTEAD_DATA_DIR": str(directory),
            "CLAWSTEAD_NATS_URL": nats_url,
            "CLAWSTEAD_API_PORT": str(self.port),
            "CLAWSTEAD_ADMIN_TOKEN": TOKEN,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen([PROGRAM], env=self.environment, stdout=log, stderr=log)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(number)
        code = self.process.wait(15)
        self.process = None
        return code

    async def status(self, path: str) -> int:
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"http://127.0.0.1:{self.port}{path}")).status_code
        except httpx.TransportError:
            return 0

    async def live(self) -> bool:
        return await self.status("/livez") == 200

    async def ready(self) -> bool:
        return await self.status("/readyz") == 200
