"""The provisioner as its own process, as in production: started, killed, started again."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.ports import free_port
from tests.support.wait import wait_until


class ProvisionerProcess:
    """One provisioner process; what it stores survives ``kill`` and ``start``."""

    def __init__(self, data_dir: Path, nats_url: str, installation: str, **settings: str) -> None:
        self.data_dir = data_dir
        self.log = data_dir.parent / f"provisioner-{free_port()}.log"
        self.port = free_port()
        self._environment = {
            **os.environ,
            "CLAWSTEAD_NATS_URL": nats_url,
            "CLAWSTEAD_DATA_DIR": str(data_dir),
            "CLAWSTEAD_INSTALLATION": installation,
            "CLAWSTEAD_PROVISIONER_PORT": str(self.port),
            "CLAWSTEAD_UNRESPONSIVE_STOP_GRACE_SECONDS": "2",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "clawstead_provisioner"]
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        """The number of the running process."""
        assert self._process
        return self._process.pid

    async def ready(self) -> None:
        """Wait until it reports ready."""

        def condition() -> bool:
            assert self._process
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            return self.waiting() == {}

        await wait_until(condition, timeout=30, what="provisioner ready")

    def waiting(self) -> dict[str, str] | None:
        """Return what it waits for; None while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return dict(json.load(answer)["waiting"])
        except urllib.error.HTTPError as error:
            return dict(json.load(error)["waiting"])
        except OSError:
            return None

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=2) as answer:
            return str(answer.read().decode())

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    @property
    def exit_code(self) -> int | None:
        """How it ended by itself; None while it runs."""
        return self._process.poll() if self._process else None

    def send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(30)
