"""What hosts, images and owners may put in the way: a clear reason or a repair, no loop, and no neighbour is hurt."""

import contextlib
import io
import os
import socket
import subprocess
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clawstead_provisioner.port_allocation import candidates
from clawstead_shared.events import Desired, DesiredState, Observed, Phase, Reason, RestartRequest
from clawstead_shared.ids import new_instance_id
from clawstead_shared.subjects import Topic
from tests.support.factories import make_spec
from tests.support.provisioner_rig import Rig, wanted
from tests.support.wait import wait_until

pytestmark = pytest.mark.docker

MOST_WORDS = 4
"""How often a failing instance may be spoken of: more would be a loop."""


@pytest.fixture
async def neighbour(rig: Rig) -> AsyncIterator[Observed]:
    """An instance that nothing here may touch."""
    desired = wanted()
    await rig.want(desired)
    before = await rig.until(desired.instance_id, Phase.RUNNING, timeout=30)
    yield before
    assert await rig.observed(desired.instance_id) == before
    assert await rig.gateway.answers(before.port, "/healthz")


@pytest.fixture
def make_image(docker_client: Any) -> Iterator[Callable[[dict[str, bytes]], str]]:
    """Make images out of executable files."""
    made = []

    def make(files: dict[str, bytes]) -> str:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o755
                archive.addfile(entry, io.BytesIO(content))
        made.append(f"clawstead-bad-{new_instance_id()[-8:]}:local")
        repository, _, tag = made[-1].partition(":")
        docker_client.api.import_image_from_data(packed.getvalue(), repository=repository, tag=tag)
        return made[-1]

    yield make
    for image in made:
        docker_client.images.remove(image, force=True)


def directory(rig: Rig, desired: Desired) -> Path:
    return rig.settings.instances_dir / desired.instance_id


def of_image(image: str) -> Desired:
    desired = wanted()
    return desired.model_copy(update={"spec": make_spec(desired.instance_id, image=image)})


def words(rig: Rig, desired: Desired) -> int:
    return sum(event.instance_id == desired.instance_id for event in rig.bus.of(Topic.OBSERVED))


async def fails(rig: Rig, desired: Desired, reason: Reason, why: str) -> Observed:
    """Want an instance, see it fail for a reason, and see nothing go round in circles."""
    before = words(rig, desired)
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.FAILED, timeout=60)
    assert observed.reason is reason, observed
    assert why in (observed.message or "")
    for _ in range(3):
        await rig.queue.submit(desired.instance_id)
    assert words(rig, desired) - before <= MOST_WORDS
    return observed


async def deleted(rig: Rig, desired: Desired, generation: int = 9) -> None:
    gone = desired.model_copy(update={"generation": generation, "desired_state": DesiredState.DELETED})
    await rig.want(gone)
    await rig.until(desired.instance_id, Phase.REMOVED, timeout=30)


async def test_a_port_that_is_taken_between_create_and_start_is_left_for_the_next(
    rig: Rig, neighbour: Observed, docker_client: Any
) -> None:
    desired = wanted()
    first = next(candidates(desired.instance_id, 10000, 20000))
    # As if the other process came a moment after we looked.
    rig.reconciler._tools.ports._free = lambda port: True
    with socket.create_server(("127.0.0.1", first)):
        await rig.want(desired)
        observed = await rig.until(desired.instance_id, Phase.RUNNING, timeout=30)
    assert observed.port != first
    mine = {"label": f"ing.clawstead.instance={desired.instance_id}"}
    assert len(docker_client.containers.list(all=True, filters=mine)) == 1
    assert len(docker_client.networks.list(filters=mine)) == 1


async def test_an_image_that_nobody_has_is_named_and_leaves_nothing(
    rig: Rig, neighbour: Observed, docker_client: Any
) -> None:
    for image in ("clawstead-nothing:local", "127.0.0.1:1/clawstead-nothing:1"):
        desired = of_image(image)
        await fails(rig, desired, Reason.IMAGE_MISSING, image)
        mine = {"label": f"ing.clawstead.instance={desired.instance_id}"}
        assert docker_client.containers.list(all=True, filters=mine) == []
        assert docker_client.networks.list(filters=mine) == []
        assert not directory(rig, desired).exists()


@pytest.mark.parametrize(
    "files",
    [{"bin/nothing": b""}, {"bin/node": b"\x7fELF\x02\x01\x01\0" + bytes(8) + b"\x02\0\xb7\0" + bytes(44)}],
    ids=["no entry", "wrong architecture"],
)
async def test_an_image_that_cannot_run_is_given_up_with_the_reason(
    rig: Rig,
    neighbour: Observed,
    docker_client: Any,
    make_image: Callable[[dict[str, bytes]], str],
    files: dict[str, bytes],
) -> None:
    desired = of_image(make_image(files))
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.FAILED, timeout=60)
    assert observed.reason is Reason.IMAGE_UNUSABLE, observed
    assert "exec node failed" in (observed.message or "")
    container = docker_client.containers.get(f"claw-{desired.instance_id}")
    assert container.status == "exited"
    said = words(rig, desired)
    await rig.queue.submit(desired.instance_id)
    assert words(rig, desired) == said
    await deleted(rig, desired)


async def test_a_full_disk_fails_what_is_new_until_there_is_room(rig: Rig, neighbour: Observed) -> None:
    desired = wanted()
    place = directory(rig, desired)
    place.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], check=True)
    try:
        (place / "ballast").write_bytes(bytes(256 * 1024 - 4096))
        await fails(rig, desired, Reason.DISK_FULL, "full")
        (place / "ballast").unlink()
        await rig.want(desired.model_copy(update={"generation": 2}))
        await rig.until(desired.instance_id, Phase.RUNNING, timeout=30)
        stopped = desired.model_copy(update={"generation": 3, "desired_state": DesiredState.STOPPED})
        await rig.want(stopped)
        await rig.until(desired.instance_id, Phase.STOPPED, timeout=30)
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


async def test_directories_of_another_owner_and_mode_are_put_right(rig: Rig, neighbour: Observed) -> None:
    desired = wanted()
    for name in ("config", "workspace", "auth"):
        (directory(rig, desired) / name).mkdir(parents=True)
        os.chmod(directory(rig, desired) / name, 0o777)
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING, timeout=30)
    for name in ("config", "workspace", "auth"):
        found = (directory(rig, desired) / name).stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1000, 1000, 0o700)


@pytest.mark.parametrize("name", ["config", "workspace", "auth", ""])
async def test_a_file_in_a_directorys_place_is_named_and_kept(rig: Rig, neighbour: Observed, name: str) -> None:
    desired = wanted()
    path = directory(rig, desired) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("precious")
    await fails(rig, desired, Reason.STORAGE_UNUSABLE, name)
    assert path.read_text() == "precious"
    path.unlink()
    await rig.want(desired.model_copy(update={"generation": 2}))
    await rig.until(desired.instance_id, Phase.RUNNING, timeout=30)


async def test_a_foreign_network_of_our_name_is_told_and_left_alone(
    rig: Rig, neighbour: Observed, docker_client: Any
) -> None:
    desired = wanted()
    foreign = docker_client.networks.create(f"claw-{desired.instance_id}", labels={"owner": "somebody"})
    try:
        await fails(rig, desired, Reason.NAME_TAKEN, f"network that is not ours is called claw-{desired.instance_id}")
        await deleted(rig, desired)
        foreign.reload()
        assert foreign.attrs["Labels"] == {"owner": "somebody"}
    finally:
        foreign.remove()


def garbage(config: Path) -> None:
    config.write_text("{ not json at all")


def link(config: Path) -> None:
    config.unlink()
    config.symlink_to("/etc/passwd")


def huge(config: Path) -> None:
    config.unlink()
    with config.open("wb") as file:
        file.truncate(1024**3)


@pytest.mark.parametrize(
    ("spoil", "reason", "why"),
    [
        (garbage, Reason.CONFIG_INVALID, "not JSON5 near line 1"),
        (link, Reason.STORAGE_UNUSABLE, "openclaw.json in the instance's directory is a link"),
        (huge, Reason.STORAGE_UNUSABLE, "openclaw.json in the instance's directory is too large"),
    ],
)
async def test_a_config_that_its_owner_spoiled_stops_no_gateway_that_runs_and_starts_none(
    rig: Rig, neighbour: Observed, spoil: Callable[[Path], None], reason: Reason, why: str
) -> None:
    desired = wanted()
    await rig.want(desired)
    before = await rig.until(desired.instance_id, Phase.RUNNING, timeout=30)
    config = directory(rig, desired) / "config" / "openclaw.json"
    good = config.read_text()
    spoil(config)
    restart = RestartRequest(count=1, judged_start=before.started_at)
    await rig.want(desired.model_copy(update={"generation": 2, "restart": restart}))

    async def told() -> Observed | None:
        observed = await rig.observed(desired.instance_id)
        return observed if observed and observed.reason else None

    observed = await wait_until(told, timeout=30)
    assert observed
    assert (observed.reason, observed.phase, observed.started_at) == (reason, Phase.RUNNING, before.started_at)
    stopped = desired.model_copy(update={"generation": 3, "desired_state": DesiredState.STOPPED})
    await rig.want(stopped)
    await rig.until(desired.instance_id, Phase.STOPPED, timeout=30)
    await fails(rig, desired.model_copy(update={"generation": 4}), reason, why)
    with contextlib.suppress(FileNotFoundError):
        config.unlink()
    config.write_text(good)
    await rig.want(desired.model_copy(update={"generation": 5}))
    await rig.until(desired.instance_id, Phase.RUNNING, timeout=30)
