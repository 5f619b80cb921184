"""Measuring workspaces: what counts, what never does, and what it may cost at most."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from clawstead_provisioner.workspace_scan import Bounds, Finding, scan
from clawstead_provisioner.workspaces import OVER_QUOTA, Workspaces
from clawstead_shared.events import Phase, WarningCode
from tests.support.factories import make_limits, make_spec
from tests.support.provisioner_rig import Rig, wanted
from tests.support.wait import wait_until

KIB = 1024


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    directory = tmp_path / "workspace"
    (directory / "deep" / "down").mkdir(parents=True)
    (directory / "deep" / "down" / "file").write_bytes(b"x" * 64 * KIB)
    return directory


def test_files_count_wherever_they_are(workspace: Path) -> None:
    assert scan(workspace, 63 * KIB, Bounds()) is Finding.OVER
    assert scan(workspace, 256 * KIB, Bounds()) is Finding.WITHIN


def test_what_links_point_to_does_not_count(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "large").write_bytes(b"x" * 1024 * KIB)
    (workspace / "directory").symlink_to(tmp_path / "outside")
    (workspace / "file").symlink_to(tmp_path / "outside" / "large")
    assert scan(workspace, 256 * KIB, Bounds()) is Finding.WITHIN


def test_a_link_in_the_workspaces_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 1024 * KIB)
    (tmp_path / "workspace").symlink_to(tmp_path)
    assert scan(tmp_path / "workspace", KIB, Bounds()) is Finding.UNKNOWN


def test_a_file_with_two_names_counts_once(workspace: Path) -> None:
    for number in range(8):
        os.link(workspace / "deep" / "down" / "file", workspace / f"again-{number}")
    assert scan(workspace, 256 * KIB, Bounds()) is Finding.WITHIN


def test_holes_of_sparse_files_do_not_count(workspace: Path) -> None:
    with (workspace / "sparse").open("wb") as file:
        file.truncate(10**9)
    assert scan(workspace, 256 * KIB, Bounds()) is Finding.WITHIN


def test_a_missing_workspace_holds_nothing(tmp_path: Path) -> None:
    assert scan(tmp_path / "missing", 1, Bounds()) is Finding.WITHIN


def test_a_scan_is_bounded_in_entries_depth_and_time(workspace: Path) -> None:
    for number in range(100):
        (workspace / f"empty-{number}").touch()
    assert scan(workspace, 10**9, Bounds(entries=50)) is Finding.UNKNOWN
    assert scan(workspace, 10**9, Bounds(seconds=0)) is Finding.UNKNOWN
    nested = workspace
    for _ in range(70):
        nested /= "d"
    nested.mkdir(parents=True)
    assert scan(workspace, 10**9, Bounds()) is Finding.UNKNOWN


async def test_each_workspace_is_measured_again_and_only_changes_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    workspaces = Workspaces(tmp_path, told.append, interval_seconds=0.02, bounds=Bounds())
    workspaces.watch("a", 64 * KIB)
    assert workspaces.over_quota("a") is None
    running = asyncio.create_task(workspaces.run())
    try:
        await wait_until(lambda: told == ["a"])
        assert workspaces.over_quota("a") is False
        (tmp_path / "a" / "workspace").mkdir(parents=True)
        (tmp_path / "a" / "workspace" / "file").write_bytes(b"x" * 128 * KIB)
        await wait_until(lambda: told == ["a", "a"])
        assert workspaces.over_quota("a") is True
        assert OVER_QUOTA._value.get() == 1
        workspaces.watch("a", None)
        assert workspaces.over_quota("a") is None
    finally:
        running.cancel()


async def test_one_that_cannot_be_measured_holds_up_no_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "workspace").mkdir(parents=True)
    (tmp_path / "a" / "workspace" / "1").touch()
    (tmp_path / "a" / "workspace" / "2").touch()
    told: list[str] = []
    workspaces = Workspaces(tmp_path, told.append, interval_seconds=30, bounds=Bounds(entries=1))
    workspaces.watch("a", KIB)
    workspaces.watch("b", KIB)
    running = asyncio.create_task(workspaces.run())
    try:
        begun = time.monotonic()
        await wait_until(lambda: told == ["b"])
        assert time.monotonic() - begun < 5
        assert workspaces.over_quota("a") is None
    finally:
        running.cancel()


@pytest.fixture
def idle_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clawstead_provisioner.workspaces._IDLE_SECONDS", 0.01)


@pytest.mark.usefixtures("idle_briefly")
async def test_a_full_workspace_is_a_warning_until_it_is_emptied(rig: Rig) -> None:
    rig.reconciler._tools.workspaces._interval = 0.02
    desired = wanted()
    limits = make_limits(workspace_bytes=64 * KIB, memory_bytes=2 * 1024**3)
    desired = desired.model_copy(update={"spec": make_spec(desired.instance_id, limits=limits)})
    await rig.want(desired)
    before = await rig.until(desired.instance_id, Phase.RUNNING)
    assert before.warnings == ()
    file = rig.settings.instances_dir / desired.instance_id / "workspace" / "large"
    file.write_bytes(b"x" * 256 * KIB)

    async def warned() -> bool:
        observed = await rig.observed(desired.instance_id)
        assert observed
        return [warning.code for warning in observed.warnings] == [WarningCode.WORKSPACE_OVER_QUOTA]

    await wait_until(warned)
    said = len(rig.phases(desired.instance_id))
    rig.reconciler._memories.clear()
    rig.reconciler._tools.workspaces._over.clear()
    await rig.queue.submit(desired.instance_id)
    assert await warned(), "a provisioner that has not measured yet repeats what was said"
    assert len(rig.phases(desired.instance_id)) == said
    file.unlink()
    await wait_until(lambda: rig.phases(desired.instance_id)[said:] == [Phase.RUNNING])
    assert not await warned()
