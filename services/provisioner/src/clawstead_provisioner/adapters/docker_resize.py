"""Changes what a running container may use. By hand: docker-py's ``update_container`` knows neither CPUs nor pids."""

from typing import Any

import requests
from docker import APIClient
from docker.errors import APIError, NotFound, create_api_error_from_http_exception

from clawstead_provisioner.adapters.docker_calls import explanation_of
from clawstead_provisioner.adapters.docker_objects import cpus_and_pids, memory
from clawstead_provisioner.errors import ProvisioningError, VanishedError
from clawstead_provisioner.spec import Resources
from clawstead_shared.events import Reason

_MIB = 1024 * 1024
_MEMORY_IN_USE = "unable to set memory limit"


def resize(client: APIClient, container_id: str, resources: Resources) -> None:
    """See ``Engine.resize``. Memory comes last, as the one thing that may be refused."""
    try:
        found = client.inspect_container(container_id)["HostConfig"]
        _update(client, container_id, found, cpus_and_pids(resources))
        if _in_use(client, container_id, found, resources.memory_bytes) > resources.memory_bytes:
            raise _too_small(resources)
        _update(client, container_id, found, memory(resources))
    except NotFound as error:
        raise VanishedError(container_id) from error
    except APIError as error:
        text = explanation_of(error)
        if _MEMORY_IN_USE in text:
            raise _too_small(resources) from error
        raise ProvisioningError(
            Reason.RESIZE_REFUSED, f"the container engine refused the new limits: {text[:300]}"
        ) from error


def _update(client: APIClient, container_id: str, found: dict[str, Any], wanted: dict[str, int]) -> None:
    if all(found[name] == value for name, value in wanted.items()):
        return
    url = f"{client.base_url}/v{client.api_version}/containers/{container_id}/update"
    try:
        client.post(url, json=wanted, timeout=client.timeout).raise_for_status()
    except requests.HTTPError as error:
        raise create_api_error_from_http_exception(error)  # noqa: B904 - it chains itself


def _in_use(client: APIClient, container_id: str, found: dict[str, Any], limit: int) -> int:
    if limit >= found["Memory"]:
        return 0
    # With version 1 of control groups the kernel refuses a limit below the use; with 2 it kills for it.
    stats = client.stats(container_id, stream=False, one_shot=True)["memory_stats"]
    detail = stats.get("stats", {})
    reclaimable = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    return int(stats.get("usage", 0)) - int(reclaimable)


def _too_small(resources: Resources) -> ProvisioningError:
    return ProvisioningError(
        Reason.RESIZE_REFUSED,
        f"the gateway uses more memory than its new limit of {resources.memory_bytes // _MIB} MiB, so it keeps "
        "the old one: restart it to apply the new limit",
    )
