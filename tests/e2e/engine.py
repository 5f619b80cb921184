"""What the Docker engine holds of one instance; only ever looked at by our own label."""

from typing import Any

import docker

LABEL = "ing.clawstead.instance"


class Engine:
    """Read access to one instance's Docker objects, and the blows a test deals them."""

    def __init__(self) -> None:
        self._client = docker.from_env(timeout=60)

    def containers(self, instance_id: str) -> list[Any]:
        # One that is removed by others between listing and inspecting is gone, not an error.
        return list(
            self._client.containers.list(all=True, ignore_removed=True, filters={"label": f"{LABEL}={instance_id}"})
        )

    def networks(self, instance_id: str) -> list[Any]:
        return list(self._client.networks.list(filters={"label": f"{LABEL}={instance_id}"}))

    def container(self, instance_id: str) -> Any:
        """Return the one container of an instance."""
        containers = self.containers(instance_id)
        assert len(containers) == 1, containers
        return containers[0]

    def remove_leftovers(self, installation: str) -> None:
        """Remove what one installation left behind."""
        mine: dict[str, str | list[str] | bool] = {"label": f"ing.clawstead.installation={installation}"}
        for container in self._client.containers.list(all=True, ignore_removed=True, filters=mine):
            container.remove(force=True, v=True)
        for network in self._client.networks.list(filters=mine):
            network.remove()

    def close(self) -> None:
        self._client.close()
