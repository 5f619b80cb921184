"""The whole platform, started as an operator starts it: ``clawstead up --detach`` on ports and data of its own."""

import json
import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil

from clawstead_shared.ids import new_event_id
from tests.support.ports import free_port

SERVICES = ("api", "provisioner", "proxy-sync", "health", "terminal", "keeper")
DOMAIN = "claw.localhost"
_IDEMPOTENT = frozenset({"GET", "DELETE"})
_TRIES = 5
TOKEN = "claw_e2e_" + "0" * 48
CLAWSTEAD = Path(sys.executable).with_name("clawstead")


class Platform:
    """One running installation."""

    def __init__(self, data_dir: Path, *, image: str, **environment: str) -> None:
        self.data_dir = data_dir
        self.https_port = free_port()
        self.http_port = free_port()
        self.nats_port = free_port()
        self.environment = {
            **os.environ,
            "CLAWSTEAD_DATA_DIR": str(data_dir),
            "CLAWSTEAD_ADMIN_TOKEN": TOKEN,
            "CLAWSTEAD_IMAGE": image,
            "CLAWSTEAD_HTTPS_PORT": str(self.https_port),
            "CLAWSTEAD_HTTP_PORT": str(self.http_port),
            "CLAWSTEAD_NATS_PORT": str(self.nats_port),
            "CLAWSTEAD_NATS_URL": f"nats://127.0.0.1:{self.nats_port}",
            "CLAWSTEAD_TERMINAL_WS_PORT": str(free_port()),
            **{f"CLAWSTEAD_{service.upper().replace('-', '_')}_PORT": str(free_port()) for service in SERVICES},
            **environment,
        }

    @property
    def nats_url(self) -> str:
        return self.environment["CLAWSTEAD_NATS_URL"]

    def run(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run ``clawstead`` against this installation."""
        return subprocess.run(
            [CLAWSTEAD, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def up(self) -> None:
        result = self.run("up", "--detach")
        assert result.returncode == 0, result.stdout + result.stderr

    def down(self) -> None:
        result = self.run("down")
        assert result.returncode == 0, result.stdout + result.stderr

    def pid(self, service: str) -> int:
        """Return the process id of one service, or of ``nats``."""
        status = json.loads(self.run("status", "--json").stdout)
        rows = status["services"] if isinstance(status, dict) else status
        return int(next(row["pid"] for row in rows if row["name"] == service))

    def kill(self, service: str) -> None:
        """End one process as a crash would; the supervisor starts a fresh one."""
        process = psutil.Process(self.pid(service))
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def log(self, service: str) -> str:
        return (self.data_dir / "logs" / f"{service}.log").read_text(errors="replace")

    def tls(self) -> ssl.SSLContext:
        """Return a context that trusts this installation's authority and no other."""
        return ssl.create_default_context(cafile=str(self.data_dir / "proxy-sync" / "tls" / "ca.pem"))

    def client(self, *, token: str | None = TOKEN) -> "EdgeClient":
        return EdgeClient(self, token)


class EdgeClient:
    """HTTPS through the edge. ``*.localhost`` has no address in Python, so names travel as SNI and Host."""

    def __init__(self, platform: Platform, token: str | None) -> None:
        self._port = platform.https_port
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(verify=platform.tls(), headers=headers, timeout=30)

    async def __aenter__(self) -> "EdgeClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def request(self, method: str, path: str, *, host: str = DOMAIN, **options: Any) -> httpx.Response:
        """Send one request to ``host`` through the edge.

        One that may be repeated is, when nginx closes a kept connection in the same moment (RFC 9110, 9.2.2): at a
        reload all of them.
        """
        headers = {"Host": f"{host}:{self._port}", **options.pop("headers", {})}
        tries = _TRIES if method in _IDEMPOTENT or "Idempotency-Key" in headers else 1
        url = f"https://127.0.0.1:{self._port}{path}"
        extensions = {"sni_hostname": host}
        while True:
            tries -= 1
            try:
                return await self._http.request(method, url, headers=headers, extensions=extensions, **options)
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                if not tries:
                    raise

    async def api(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request to the API, so that it has its effect once."""
        if method == "POST":
            options["headers"] = {"Idempotency-Key": new_event_id(), **options.get("headers", {})}
        return await self.request(method, f"/api/v1{path}", **options)

    async def instance(self, instance_id: str) -> dict[str, Any]:
        response = await self.api("GET", f"/instances/{instance_id}")
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    async def site(self, instance_id: str, path: str = "/", **options: Any) -> httpx.Response:
        """Send one GET to an instance's own hostname."""
        return await self.request("GET", path, host=f"{instance_id}.{DOMAIN}", **options)

    def stream(self, path: str, **headers: str) -> Any:
        """Open a server-sent event stream of the API."""
        return self._http.stream(
            "GET",
            f"https://127.0.0.1:{self._port}/api/v1{path}",
            headers={"Host": f"{DOMAIN}:{self._port}", **headers},
            extensions={"sni_hostname": DOMAIN},
            timeout=httpx.Timeout(30, read=60),
        )
