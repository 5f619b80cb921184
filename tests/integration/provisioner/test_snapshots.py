"""The kept state of instances: whole or not there, put back whole, whenever it is cut off."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.snapshots import Snapshots
from clawstead_provisioner.versions import Trial
from clawstead_shared.events import ImageVersion, Reason

INSTANCE = "01jc00000000000000000000aa"
GOOD = ImageVersion(reference="openclaw:1", revision=1, digest="sha256:1")
BAD = ImageVersion(reference="openclaw:2", revision=2, digest="sha256:2")
TRIAL = Trial(good=GOOD, candidate=BAD)
FAILED = TRIAL.model_copy(update={"failure": "it ended"})


class KilledError(BaseException):
    """The process ends here."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An instance's directory with the state of the good version."""
    instance = tmp_path / "instances" / INSTANCE
    for name in ("config", "auth", "workspace", "config/cache", "config/deep/er"):
        (instance / name).mkdir(parents=True, mode=0o700)
    (instance / "config" / "state").write_text("good")
    (instance / "config" / "deep" / "er" / "file").write_text("good")
    (instance / "config" / "cache" / "large").write_text("x" * 10_000)
    (instance / "auth" / "key").write_text("good")
    (instance / "workspace" / "mine").write_text("data")
    (instance / "applied.json").write_text("[]")
    return instance


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "instances")


def spoil(directory: Path) -> None:
    """Change the state as a new version does at its start."""
    (directory / "config" / "state").write_text("bad")
    (directory / "config" / "new").write_text("bad")
    (directory / "auth" / "key").unlink()
    shutil.rmtree(directory / "config" / "deep")
    (directory / "applied.json").write_text("[1]")


def is_good(directory: Path) -> bool:
    return (
        (directory / "config" / "state").read_text() == "good"
        and (directory / "config" / "deep" / "er" / "file").read_text() == "good"
        and (directory / "auth" / "key").read_text() == "good"
        and (directory / "applied.json").read_text() == "[]"
        and not (directory / "config" / "new").exists()
        and (directory / "workspace" / "mine").read_text() == "data"
    )


async def test_the_state_comes_back_and_nothing_else_is_touched(snapshots: Snapshots, directory: Path) -> None:
    (directory / "config" / "state").chmod(0o640)
    await snapshots.take(INSTANCE, TRIAL)
    assert await snapshots.read(INSTANCE) == TRIAL
    assert not (directory / "snapshot" / "config" / "cache").exists()
    assert stat.S_IMODE((directory / "snapshot").stat().st_mode) == 0o700
    spoil(directory)
    await snapshots.note(INSTANCE, FAILED)
    assert await snapshots.read(INSTANCE) == FAILED
    await snapshots.restore(INSTANCE)
    assert is_good(directory)
    assert stat.S_IMODE((directory / "config" / "state").stat().st_mode) == 0o640
    assert await snapshots.read(INSTANCE) == FAILED.model_copy(update={"restored": True})
    await snapshots.drop(INSTANCE)
    assert await snapshots.read(INSTANCE) is None
    assert sorted(path.name for path in directory.iterdir()) == ["applied.json", "auth", "config", "workspace"]


async def test_owners_and_times_are_kept(snapshots: Snapshots, directory: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root gives files away")
    for path in (directory / "config", directory / "config" / "state"):
        os.chown(path, 1000, 1000)
    os.utime(directory / "config" / "state", (1_000_000, 1_000_000))
    await snapshots.take(INSTANCE, TRIAL)
    spoil(directory)
    await snapshots.note(INSTANCE, FAILED)
    await snapshots.restore(INSTANCE)
    for path in (directory / "config", directory / "config" / "state"):
        assert (path.stat().st_uid, path.stat().st_gid) == (1000, 1000)
    assert (directory / "config" / "state").stat().st_mtime == 1_000_000


async def test_links_are_kept_as_links_and_never_followed(
    snapshots: Snapshots, directory: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    (directory / "config" / "link").symlink_to(secret)
    (directory / "config" / "loop").symlink_to(directory)
    os.mkfifo(directory / "config" / "pipe")
    await snapshots.take(INSTANCE, TRIAL)
    copy = directory / "snapshot" / "config"
    assert (copy / "link").is_symlink()
    assert (copy / "loop").is_symlink()
    assert not os.path.lexists(copy / "pipe")


async def test_a_state_directory_that_is_a_link_is_refused(
    snapshots: Snapshots, directory: Path, tmp_path: Path
) -> None:
    shutil.rmtree(directory / "auth")
    (directory / "auth").symlink_to(tmp_path)
    with pytest.raises(ProvisioningError) as refused:
        await snapshots.take(INSTANCE, TRIAL)
    assert refused.value.reason is Reason.STORAGE_UNUSABLE
    assert not (directory / "snapshot.new").exists()


async def test_too_deep_a_state_is_refused_and_leaves_nothing(snapshots: Snapshots, directory: Path) -> None:
    deep = directory / "config"
    for _ in range(120):
        deep /= "d"
        deep.mkdir()
    for call in (snapshots.check_room(INSTANCE), snapshots.take(INSTANCE, TRIAL)):
        with pytest.raises(ProvisioningError, match="nested too deeply"):
            await call
    assert not (directory / "snapshot").exists()
    assert not (directory / "snapshot.new").exists()


async def test_a_state_that_takes_too_long_is_refused(
    snapshots: Snapshots, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clawstead_provisioner.snapshots._LONGEST_SECONDS", -1.0)
    with pytest.raises(ProvisioningError, match="too large"):
        await snapshots.take(INSTANCE, TRIAL)
    assert not (directory / "snapshot").exists()


async def test_a_full_disk_leaves_no_half_of_it(
    snapshots: Snapshots, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clawstead_provisioner.trees.os.sendfile", full)
    with pytest.raises(ProvisioningError) as refused:
        await snapshots.take(INSTANCE, TRIAL)
    assert refused.value.reason is Reason.DISK_FULL
    assert await snapshots.read(INSTANCE) is None
    assert not (directory / "snapshot.new").exists()


async def test_too_little_room_is_said_before(
    snapshots: Snapshots, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clawstead_provisioner.snapshots._SPARE_BYTES", 1 << 62)
    with pytest.raises(ProvisioningError) as refused:
        await snapshots.check_room(INSTANCE)
    assert refused.value.reason is Reason.DISK_FULL
    monkeypatch.undo()
    await snapshots.check_room(INSTANCE)


async def test_an_instance_without_a_trial_has_none(snapshots: Snapshots, directory: Path) -> None:
    assert await snapshots.read(INSTANCE) is None
    await snapshots.drop(INSTANCE)
    (directory / "snapshot").mkdir()
    (directory / "snapshot" / "trial.json").write_text("{")
    assert await snapshots.read(INSTANCE) is None


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], list[int]]]:
    """Let the process end at its n-th change of the disk; return the count of changes."""
    count = [0]
    at: list[int | None] = [None]

    def mortal(call: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if at[0] is not None and count[0] >= at[0]:
                raise KilledError
            return call(*args, **kwargs)

        return changed

    def arm(number: int | None) -> list[int]:
        count[0], at[0] = 0, number
        return count

    for name in ("rename", "mkdir", "fsync", "unlink", "rmdir", "sendfile", "fchown"):
        monkeypatch.setattr(os, name, mortal(getattr(os, name)))
    yield arm
    arm(None)


def cut_off_everywhere(
    directory: Path, arm: Callable[[int | None], list[int]], run: Callable[[Path], None]
) -> Iterator[str]:
    """Kill ``run`` at each of its changes, always from the same beginning; yield after each, to be repeated."""
    beginning = directory.with_name("beginning")
    arm(None)
    shutil.copytree(directory, beginning)
    counted = arm(None)
    run(directory)
    changes = counted[0]
    assert changes > 3
    for moment in range(1, changes + 1):
        arm(None)
        shutil.rmtree(directory)
        shutil.copytree(beginning, directory)
        arm(moment)
        with pytest.raises(KilledError):
            run(directory)
        arm(None)
        yield f"change {moment} of {changes}"


def left_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {"applied.json", "auth", "config", "workspace"}


@pytest.mark.parametrize("replacing", [False, True])
def test_taking_it_can_be_cut_off_anywhere(
    replacing: bool, tmp_path: Path, directory: Path, killed_at: Callable[[int | None], list[int]]
) -> None:
    snapshots = Snapshots(tmp_path / "instances")
    if replacing:
        snapshots._take(directory, TRIAL)
    for moment in cut_off_everywhere(directory, killed_at, lambda path: snapshots._take(path, TRIAL)):
        assert is_good(directory), moment
        kept = snapshots._read(directory)
        assert kept is None or kept == TRIAL, moment
        snapshots._take(directory, TRIAL)
        assert left_in(directory) == {"snapshot"}, moment
        spoil(directory)
        snapshots._restore(directory)
        assert is_good(directory), moment


def test_putting_it_back_can_be_cut_off_anywhere(
    tmp_path: Path, directory: Path, killed_at: Callable[[int | None], list[int]]
) -> None:
    snapshots = Snapshots(tmp_path / "instances")
    snapshots._take(directory, FAILED)
    spoil(directory)
    for moment in cut_off_everywhere(directory, killed_at, snapshots._restore):
        snapshots._restore(directory)
        assert is_good(directory), moment
        assert left_in(directory) == {"snapshot"}, moment
        assert snapshots._read(directory) == FAILED.model_copy(update={"restored": True}), moment


def test_removing_it_can_be_cut_off_anywhere(
    tmp_path: Path, directory: Path, killed_at: Callable[[int | None], list[int]]
) -> None:
    snapshots = Snapshots(tmp_path / "instances")
    snapshots._take(directory, TRIAL)
    for moment in cut_off_everywhere(directory, killed_at, snapshots._drop):
        assert is_good(directory), moment
        kept = snapshots._read(directory)
        assert kept is None or kept == TRIAL, moment
        snapshots._drop(directory)
        assert left_in(directory) == set(), moment
