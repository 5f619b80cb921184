"""A real nats-server with JetStream, on a port of its own, in a directory of its own."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.support.ports import free_port


class NatsServer:
    """One server process; its store survives ``kill`` and ``start``."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.config = (
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{directory}", sync_interval: always }}\n'
        )
        """What the next start is told."""
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        config = self._directory / "nats.conf"
        config.write_text(self.config)
        binary = Path(sys.executable).with_name("nats-server")
        executable = str(binary) if binary.exists() else shutil.which("nats-server")
        assert executable, "nats-server is not installed: run make setup"
        log = (self._directory / "nats.log").open("ab")
        self._process = subprocess.Popen([executable, "-c", str(config)], stdout=log, stderr=log)
        self._wait_listening()

    def _wait_listening(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("nats-server did not start")

    def send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._end(signal.SIGKILL)

    def lose_store(self) -> None:
        """Come back with nothing, as after the loss of the disk."""
        self.kill()
        shutil.rmtree(self._directory / "jetstream")
        self.start()

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None
