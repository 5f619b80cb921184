"""What the engine's refusals mean: read from its words, since its status codes mislead."""

import pytest
from docker.errors import APIError

from clawstead_provisioner.adapters.docker_calls import refusal
from clawstead_provisioner.errors import ProvisioningError
from clawstead_shared.events import Reason


@pytest.mark.parametrize(
    "words",
    [
        "OCI runtime create failed: container_linux.go:380: starting container process caused: "
        'exec: "/nope": stat /nope: no such file or directory: unknown',
        "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create "
        'failed: unable to start container process: exec: "node": executable file not found in $PATH: unknown',
        "standard_init_linux.go:228: exec user process caused: exec format error",
    ],
)
def test_an_image_that_cannot_run_is_the_images_fault(words: str) -> None:
    error = refusal(APIError(words))
    assert isinstance(error, ProvisioningError)
    assert error.reason is Reason.IMAGE_UNUSABLE


@pytest.mark.parametrize(
    "words",
    [
        'connection error: desc = "transport: Error while dialing: dial unix /run/containerd/containerd.sock: '
        'connect: no such file or directory": unavailable',
        "failed to start shim: open /run/docker/containerd/daemon/state/log: no such file or directory: unknown",
        "ttrpc: closed: unknown",
        "grpc: the client connection is closing: context canceled",
        "failed to update store for object type *libnetwork.endpoint: open : no such file or directory",
    ],
)
def test_an_engine_that_is_ending_is_no_fault_of_the_image(words: str) -> None:
    error = refusal(APIError(words))
    assert isinstance(error, ProvisioningError)
    assert error.reason is Reason.ENGINE_UNAVAILABLE


def test_what_is_not_known_is_quoted() -> None:
    error = refusal(APIError("something else"))
    assert isinstance(error, ProvisioningError)
    assert error.reason is Reason.INTERNAL_ERROR
    assert "something else" in str(error)
