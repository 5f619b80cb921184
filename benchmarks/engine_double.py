"""An engine that answers for many running containers, on a socket of its own: only what the provisioner reads."""

import asyncio
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from aiohttp import web

from clawstead_provisioner.spec import Site, object_name
from clawstead_shared.events import Desired

STARTED = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
IMAGE_DIGEST = "sha256:" + "5" * 64


class EngineDouble:
    """Answers on ``socket``; every instance runs since ``STARTED`` on the port at its place in the list."""

    def __init__(self, socket: Path, installation: str, instances: list[Desired], first_port: int) -> None:
        self.socket = socket
        self.lists = 0
        self._installation = installation
        self._site = Site(installation, "127.0.0.1", IPv4Network("10.212.0.0/15"), first_port, Path("/srv"), 345)
        self._instances = {object_name(found.instance_id): found for found in instances}
        self._port_of = {found.instance_id: first_port + place for place, found in enumerate(instances)}
        self._runner: web.AppRunner | None = None
        self._closing = asyncio.Event()

    async def __aenter__(self) -> "EngineDouble":
        app = web.Application()
        for prefix in ("", "/v{version}"):
            app.router.add_get(f"{prefix}/version", self._version)
            app.router.add_get(f"{prefix}/_ping", self._ping)
            app.router.add_get(f"{prefix}/containers/json", self._containers)
            app.router.add_get(f"{prefix}/containers/{{name}}/json", self._container)
            app.router.add_get(f"{prefix}/networks", self._networks)
            app.router.add_get(f"{prefix}/images/{{name}}/json", self._image)
            app.router.add_get(f"{prefix}/events", self._events)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        if self._runner:
            await self._runner.cleanup()

    def container_id(self, instance_id: str) -> str:
        """Return the id of an instance's container."""
        return instance_id.encode().hex().ljust(64, "0")[:64]

    def port(self, instance_id: str) -> int:
        """Return an instance's port."""
        return self._port_of[instance_id]

    def _labels(self, found: Desired) -> dict[str, str]:
        return {
            **self._site.labels(found.instance_id),
            "ing.clawstead.generation": str(found.generation),
            "ing.clawstead.port": str(self.port(found.instance_id)),
            "ing.clawstead.heap": "768",
            "ing.clawstead.image": found.spec.image,
            "ing.clawstead.image-revision": "0",
            "ing.clawstead.spec-hash": "0" * 32,
        }

    def _listed(self, found: Desired) -> dict[str, Any]:
        name, port = object_name(found.instance_id), self.port(found.instance_id)
        network = self._site.network(found.instance_id, port)
        mounts = ("/home/node/.openclaw", "/home/node/.openclaw/workspace", "/home/node/.config/openclaw")
        return {
            "Id": self.container_id(found.instance_id),
            "Names": [f"/{name}"],
            "Image": found.spec.image,
            "ImageID": IMAGE_DIGEST,
            "Command": "/sbin/docker-init -- node dist/index.js gateway --bind lan --port 18789 --allow-unconfigured",
            "Created": int(STARTED.timestamp()),
            "Ports": [{"IP": "127.0.0.1", "PrivatePort": 18789, "PublicPort": port, "Type": "tcp"}],
            "Labels": self._labels(found),
            "State": "running",
            "Status": "Up 2 hours",
            "HostConfig": {"NetworkMode": name},
            "NetworkSettings": {"Networks": {name: {"NetworkID": "n" * 64, "Gateway": network.gateway}}},
            "Mounts": [
                {"Type": "bind", "Source": f"/srv/{found.instance_id}", "Destination": target, "Mode": "", "RW": True}
                for target in mounts
            ],
        }

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"})

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="OK")

    async def _containers(self, _: web.Request) -> web.Response:
        self.lists += 1
        return web.json_response([self._listed(found) for found in self._instances.values()])

    async def _networks(self, _: web.Request) -> web.Response:
        return web.json_response(
            [
                {"Name": name, "Id": self.container_id(found.instance_id), "Labels": self._labels(found)}
                for name, found in self._instances.items()
            ]
        )

    async def _container(self, request: web.Request) -> web.Response:
        found = self._instances.get(request.match_info["name"])
        if found is None:
            return web.json_response({"message": "No such container"}, status=404)
        limits = found.spec.limits
        return web.json_response(
            {
                "Id": self.container_id(found.instance_id),
                "Name": f"/{request.match_info['name']}",
                "Image": IMAGE_DIGEST,
                "Config": {"Labels": self._labels(found), "Image": found.spec.image},
                "HostConfig": {
                    "NanoCpus": round(limits.cpus * 10**9),
                    "Memory": limits.memory_bytes,
                    "PidsLimit": limits.pids,
                },
                "State": {
                    "Status": "running",
                    "ExitCode": 0,
                    "OOMKilled": False,
                    "StartedAt": STARTED.isoformat().replace("+00:00", "Z"),
                    "FinishedAt": "0001-01-01T00:00:00Z",
                },
            }
        )

    async def _image(self, request: web.Request) -> web.Response:
        return web.json_response({"Id": IMAGE_DIGEST, "Config": {"Labels": {}}, "RepoTags": [], "RepoDigests": []})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await self._closing.wait()
        return response
