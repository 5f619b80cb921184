"""One installation with dummy services, a real supervisord and a real nats-server, and nothing left after it."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import psutil

from clawstead_cli.adapters import process_table
from clawstead_cli.programs import Service
from clawstead_cli.settings import Settings
from tests.support.ports import free_port

CLAWSTEAD = Path(sys.executable).with_name("clawstead")
DUMMY = Path(__file__).with_name("dummy_program.py")
IMAGE = "some-image:1"


class FakeEngine:
    """A Docker engine that answers pings and knows one image."""

    def __init__(self, path: Path) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = self.path in {"/_ping", f"/images/{IMAGE.replace(':', '%3A')}/json"}
                self.send_response(200 if known else 404)
                self.end_headers()

            def address_string(self) -> str:
                return "unix"

            def log_message(self, *_: Any) -> None:
                """Stay silent."""

        self.host = f"unix://{path}"
        self._server = ThreadingUnixStreamServer(str(path), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Installation:
    """Runs ``clawstead`` with an environment of its own."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.data_dir = directory / "data dir"
        self.bin_dir = directory / "bin"
        self.engine = FakeEngine(directory / "docker.sock")
        self._fill_bin_dir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "UNRELATED_SECRET": "canary",
            "DOCKER_HOST": self.engine.host,
            "CLAWSTEAD_IMAGE": IMAGE,
            "CLAWSTEAD_DATA_DIR": str(self.data_dir),
            "CLAWSTEAD_BIN_DIR": str(self.bin_dir),
            "CLAWSTEAD_ADMIN_TOKEN": "canary-token",
            "CLOUDFLARE_API_TOKEN": "canary-of-the-dns",
            **{
                f"CLAWSTEAD_{name}_PORT": str(free_port())
                for name in ("HTTPS", "HTTP", "NATS", "TERMINAL_WS", *(service.variable for service in Service))
            },
            **environment,
        }

    def _fill_bin_dir(self) -> None:
        self.bin_dir.mkdir()
        (self.bin_dir / "nats-server").symlink_to(Path(sys.executable).with_name("nats-server"))
        for service in Service:
            program = self.bin_dir / f"clawstead-{service}"
            program.write_text(f"#!{sys.executable}\n{DUMMY.read_text()}")
            program.chmod(0o755)

    def port(self, name: str) -> int:
        return int(self.environment[f"CLAWSTEAD_{name}_PORT"])

    def popen(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [CLAWSTEAD, *arguments],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [CLAWSTEAD, *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def up(self) -> subprocess.CompletedProcess[str]:
        result = self.run("up", "--detach")
        assert result.returncode == 0, result.stdout + result.stderr
        return result

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return answer

    def pids(self) -> dict[str, int]:
        return {service["name"]: service["pid"] for service in self.status()["services"]}

    def supervisor(self) -> psutil.Process:
        return psutil.Process(int((self.data_dir / "run" / "supervisord.pid").read_text()))

    def processes(self) -> list[psutil.Process]:
        """Return every process that this installation started and that still runs."""
        return process_table.leftovers(Settings(data_dir=self.data_dir))

    def close(self) -> None:
        process_table.end(self.processes(), grace_seconds=3)
        self.engine.close()
