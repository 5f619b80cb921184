"""The container engine through docker-py. Labels say what is ours; nothing else is ever touched."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any, cast

import requests
from docker import APIClient
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from clawstead_provisioner.adapters.docker_calls import DockerCalls, Lane, answering, explanation_of, refusal, status_of
from clawstead_provisioner.adapters.docker_events import container_events
from clawstead_provisioner.adapters.docker_objects import (
    container_document,
    is_ours,
    network_labels,
    read_container,
    read_listed,
    read_listed_network,
)
from clawstead_provisioner.adapters.docker_pull import pull_image, refused
from clawstead_provisioner.adapters.docker_resize import resize
from clawstead_provisioner.adapters.docker_strangers import Strangers
from clawstead_provisioner.crashpoints import Place, crashpoint
from clawstead_provisioner.errors import ProvisioningError, VanishedError
from clawstead_provisioner.ports import Container, EngineEvent, Listed, LocalImage
from clawstead_provisioner.spec import INSTALLATION_LABEL, INSTANCE_LABEL, ContainerSpec, Resources, object_name
from clawstead_shared.events import Progress, Reason

_NOT_MODIFIED, _CONFLICT = 304, 409
_MARGIN_SECONDS = 30.0
"""What a stop may take beyond its grace: the kill, and the engine's own work."""
_PING_SECONDS = 5.0
_REMOVAL_SECONDS = 20.0
_REMOVAL_POLL_SECONDS = 0.05


class DockerEngine:
    """Keeps ``Engine`` and ``Images``."""

    def __init__(self, installation: str, *, timeout_seconds: float = 60, pull_timeout_seconds: float = 900) -> None:
        self._installation = installation
        self._calls = DockerCalls(timeout_seconds=timeout_seconds)
        self._strangers = Strangers()
        self._pull_timeout = pull_timeout_seconds

    async def create(self, spec: ContainerSpec) -> Container:
        """See ``Engine.create``. A container may name a network that does not exist yet, so both are made at once."""
        network = self._calls.run("create_network", lambda client: self._create_network(client, spec))
        container = self._calls.run("create", lambda client: self._create_container(client, spec))
        # Both to their end: neither may still run when the caller cleans up.
        results = await asyncio.gather(container, network, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return cast(Container, results[0])

    async def start(self, container_id: str) -> None:
        """See ``Engine.start``."""

        def start(client: APIClient) -> None:
            try:
                client.start(container_id)
                crashpoint(Place.CONTAINER_STARTED)
            except NotFound as error:
                if "no such container" in explanation_of(error).lower():
                    raise VanishedError(container_id) from error
                raise refusal(error) from error
            except APIError as error:
                raise refusal(error) from error

        await self._calls.run("start", start)

    async def stop(self, container_id: str, grace: timedelta) -> None:
        """See ``Engine.stop``."""
        seconds = round(grace.total_seconds())

        def stop(client: APIClient) -> None:
            try:
                client.stop(container_id, timeout=seconds)
            except NotFound:
                return
            except APIError as error:
                raise refusal(error) from error

        await self._calls.run("stop", stop, lane=Lane.STOPS, timeout_seconds=seconds + _MARGIN_SECONDS)

    async def resize(self, container_id: str, resources: Resources) -> None:
        """See ``Engine.resize``."""
        await self._calls.run("resize", lambda client: resize(client, container_id, resources))

    async def remove(self, instance_id: str) -> None:
        """See ``Engine.remove``."""
        name = object_name(instance_id)
        await self._calls.run("remove", lambda client: self._remove(client, name))
        crashpoint(Place.CONTAINER_REMOVED)
        await self._calls.run("remove_network", lambda client: self._remove_network(client, name), lane=Lane.NETWORKS)

    async def inspect(self, instance_id: str) -> Container | None:
        """See ``Engine.inspect``."""
        return await self._calls.run("inspect", lambda client: self._inspect(client, object_name(instance_id)))

    async def list(self) -> list[Listed]:
        """See ``Engine.list``."""
        filters = {"label": [f"{INSTALLATION_LABEL}={self._installation}"]}

        def listed(client: APIClient) -> list[Listed]:
            with answering():
                containers, networks = client.containers(all=True, filters=filters), client.networks(filters=filters)
            ours = [document for document in containers if is_ours(document)]
            bridges = [document for document in networks if is_ours(document)]
            self._strangers.report(containers + networks, ours + bridges)
            found = {item.instance_id: item for item in map(read_listed_network, bridges)}
            found.update((item.instance_id, item) for item in map(read_listed, ours))
            return list(found.values())

        return await self._calls.run("list", listed)

    async def logs(self, container_id: str, lines: int) -> str:
        """See ``Engine.logs``."""

        def logs(client: APIClient) -> str:
            try:
                output: bytes = client.logs(container_id, stdout=True, stderr=True, tail=lines)
            except APIError:
                return ""
            return output.decode(errors="replace")

        return await self._calls.run("logs", logs)

    async def ping(self) -> None:
        """See ``Engine.ping``."""
        await self._calls.run("ping", _ping, lane=Lane.PING, timeout_seconds=_PING_SECONDS)

    def events(self, since: datetime) -> AsyncIterator[EngineEvent]:
        """See ``Engine.events``."""
        return container_events(self._installation, since)

    async def pull(self, image: str, told: Callable[[Progress], None]) -> str:
        """See ``Images.pull``."""
        loop, seconds = asyncio.get_running_loop(), self._pull_timeout

        def tell(progress: Progress) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(told, progress)

        def pull(client: APIClient) -> str:
            try:
                pull_image(client, image, seconds, tell)
            except APIError as error:
                raise refused(image, explanation_of(error)) from error
            except requests.RequestException as error:
                raise refused(image, "the connection broke, or nothing came for too long") from error
            found = _find(client, image)
            if found is None:
                raise refused(image, "it was removed at once")
            return found.digest

        margin = seconds + _MARGIN_SECONDS
        return await self._calls.run("pull", pull, lane=Lane.PULLS, timeout_seconds=margin)

    async def find(self, image: str) -> LocalImage | None:
        """See ``Images.find``."""
        return await self._calls.run("inspect_image", lambda client: _find(client, image))

    def _create_network(self, client: APIClient, spec: ContainerSpec) -> None:
        network = spec.network
        pool = IPAMPool(subnet=network.subnet, gateway=network.gateway)
        try:
            client.create_network(
                network.name,
                driver="bridge",
                check_duplicate=True,
                labels=network_labels(spec),
                ipam=IPAMConfig(pool_configs=[pool]),
            )
            crashpoint(Place.NETWORK_MADE)
        except APIError as error:
            if status_of(error) != _CONFLICT:
                raise refusal(error) from error
            self._adopt_network(client, spec)

    def _adopt_network(self, client: APIClient, spec: ContainerSpec) -> None:
        try:
            found = client.inspect_network(spec.network.name)
        except NotFound:
            self._create_network(client, spec)
            return
        if not self._ours(found.get("Labels"), spec.instance_id):
            raise _name_taken("network", spec.network.name)
        subnets = [config.get("Subnet") for config in found["IPAM"]["Config"] or ()]
        if subnets != [spec.network.subnet]:
            # Left over from another port. Nothing can be attached: the instance's container does not exist.
            self._remove_network(client, spec.network.name)
            self._create_network(client, spec)

    def _create_container(self, client: APIClient, spec: ContainerSpec) -> Container:
        try:
            client.create_container_from_config(container_document(spec), spec.name)  # type: ignore[no-untyped-call]
            crashpoint(Place.CONTAINER_MADE)
        except APIError as error:
            if status_of(error) != _CONFLICT:
                raise refusal(error, spec.image) from error
        # After a conflict this shows whether the one that has the name is ours.
        made = self._inspect(client, spec.name)
        if made is None:
            raise _name_taken("container", spec.name)
        return made

    def _inspect(self, client: APIClient, name: str) -> Container | None:
        try:
            found: dict[str, Any] = client.inspect_container(name)
        except NotFound:
            return None
        except APIError as error:
            raise refusal(error) from error
        ours = self._ours(found["Config"].get("Labels"), name.removeprefix("claw-"))
        return read_container(found) if ours else None

    def _ours(self, labels: dict[str, str] | None, instance_id: str) -> bool:
        labels = labels or {}
        return (labels.get(INSTALLATION_LABEL), labels.get(INSTANCE_LABEL)) == (self._installation, instance_id)

    def _remove(self, client: APIClient, name: str) -> None:
        container = self._inspect(client, name)
        if container is not None:
            self._remove_container(client, container.id)

    @staticmethod
    def _remove_container(client: APIClient, container_id: str) -> None:
        deadline = time.monotonic() + _REMOVAL_SECONDS
        while True:
            try:
                client.remove_container(container_id, force=True, v=True)
            except NotFound:
                return
            except APIError as error:
                # Somebody else is removing it: wait for that, so that "removed" is true when we say it.
                if status_of(error) != _CONFLICT or time.monotonic() > deadline:
                    raise refusal(error) from error
                time.sleep(_REMOVAL_POLL_SECONDS)
            else:
                return

    def _remove_network(self, client: APIClient, name: str) -> None:
        try:
            found = client.inspect_network(name)
            if not self._ours(found.get("Labels"), name.removeprefix("claw-")):
                return
            for guest in found.get("Containers") or {}:
                client.disconnect_container_from_network(guest, found["Id"], force=True)
            client.remove_network(found["Id"])
        except NotFound:
            return
        except APIError as error:
            raise refusal(error) from error


def _find(client: APIClient, image: str) -> LocalImage | None:
    try:
        found = client.inspect_image(image)  # type: ignore[no-untyped-call]
    except NotFound:
        return None
    except APIError as error:
        raise refusal(error, image) from error
    labels = found["Config"].get("Labels") or {}
    return LocalImage(found["Id"], built_here=not found.get("RepoDigests"), labels=dict(labels))


def _ping(client: APIClient) -> None:
    with answering():
        client.ping()


def _name_taken(kind: str, name: str) -> ProvisioningError:
    return ProvisioningError(
        Reason.NAME_TAKEN, f"a {kind} that is not ours is called {name}: rename or remove it on the host"
    )
