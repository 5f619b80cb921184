"""What a customer does with instances, and what must be true when it is done."""

from pathlib import Path
from typing import Any

from tests.e2e.engine import Engine
from tests.e2e.platform import DOMAIN, EdgeClient, Platform
from tests.support.wait import wait_until

SERVICE_UNAVAILABLE = 503


class Operations:
    """Customer operations on one platform, each with the condition that ends it."""

    def __init__(self, platform: Platform, client: EdgeClient, engine: Engine) -> None:
        self.platform = platform
        self.client = client
        self.engine = engine
        self._made: list[str] = []

    async def create(self, **body: Any) -> str:
        """Create an instance; return its id once the request is accepted."""
        response = await self.client.api("POST", "/instances", json={"name": "e2e", "plan": "pro", **body})
        assert response.status_code == 202, response.text
        instance_id: str = response.json()["id"]
        assert response.headers["Location"].endswith(f"/api/v1/instances/{instance_id}")
        self.adopt(instance_id)
        return instance_id

    def adopt(self, instance_id: str) -> None:
        """Have an instance that the test made by itself deleted at the end."""
        self._made.append(instance_id)

    async def command(self, instance_id: str, command: str) -> None:
        """Ask for start, stop, restart or delete; it is finished by the bus."""
        if command == "delete":
            response = await self.client.api("DELETE", f"/instances/{instance_id}")
        else:
            response = await self.client.api("POST", f"/instances/{instance_id}/{command}")
        assert response.status_code == 202, response.text

    async def post(self, instance_id: str, order: str, **body: Any) -> None:
        """Give an order that has a body; it is finished by the bus."""
        response = await self.client.api("POST", f"/instances/{instance_id}/{order}", json=body or None)
        assert response.status_code == 202, response.text

    async def confirmed(self, instance_id: str, *, timeout: float) -> dict[str, Any]:
        """Wait until the newest generation runs, and nothing is on trial any more."""

        async def check() -> dict[str, Any] | None:
            body = await self.client.instance(instance_id)
            caught_up = body["observed_generation"] == body["generation"]
            return body if caught_up and body["phase"] == "running" and body["progress"] is None else None

        return await wait_until(check, timeout=timeout, what=f"{instance_id} confirmed")

    async def reached(self, instance_id: str, phase: str, *, timeout: float = 60) -> dict[str, Any]:
        """Wait until the newest generation has reached ``phase``."""

        async def check() -> dict[str, Any] | None:
            response = await self.client.api("GET", f"/instances/{instance_id}")
            if response.status_code == SERVICE_UNAVAILABLE:
                return None  # a service may be down in the tests that kill some
            assert response.status_code == 200, response.text
            body: dict[str, Any] = response.json()
            caught_up = body["observed_generation"] == body["generation"]
            return body if caught_up and body["phase"] == phase else None

        return await wait_until(check, timeout=timeout, what=f"{instance_id} {phase}")

    async def serves(self, instance_id: str, status: int, text: str = "", *, timeout: float = 30) -> None:
        """Wait until the instance's own site answers with ``status``."""

        async def check() -> bool:
            response = await self.client.site(instance_id)
            return response.status_code == status and text.lower() in response.text.lower()

        await wait_until(check, timeout=timeout, what=f"{instance_id} answers {status}")

    async def gone(self, instance_id: str, *, timeout: float = 60) -> None:
        """Wait until nothing of the instance is left anywhere."""

        async def check() -> bool:
            return (await self.client.api("GET", f"/instances/{instance_id}")).status_code == 404

        await wait_until(check, timeout=timeout, what=f"{instance_id} removed")
        assert self.engine.containers(instance_id) == []
        assert self.engine.networks(instance_id) == []
        assert not (self.platform.data_dir / "instances" / instance_id).exists()
        await self.serves(instance_id, 404)
        # The edge gathers its reloads, so the line follows the closed route within about a second.
        await wait_until(lambda: not self._mentions(instance_id), timeout=timeout, what="route files forget it")

    def _mentions(self, instance_id: str) -> list[Any]:
        files = [path for path in (self.platform.data_dir / "proxy-sync").rglob("*") if path.suffix in {".map", ""}]
        return [path for path in files if instance_id in path.name or instance_id in _text(path)]

    async def delete_all(self) -> None:
        """Delete what this object created and wait until it is gone."""
        for instance_id in self._made:
            if (await self.client.api("GET", f"/instances/{instance_id}")).status_code != 404:
                await self.command(instance_id, "delete")
        for instance_id in self._made:
            await self.gone(instance_id)

    def url(self, instance_id: str) -> str:
        return f"https://{instance_id}.{DOMAIN}:{self.platform.https_port}"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace") if path.is_file() else ""
    except FileNotFoundError:
        return ""  # a candidate that has taken its place meanwhile
