"""Instances' directories: private, atomic, and safe from whoever writes in them."""

import errno
import os
import stat
from pathlib import Path

import pytest

from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.storage import InstanceFiles, Storage
from clawstead_shared.events import Reason
from tests.support.profiles import PROFILES

INSTANCE = "01jc00000000000000000000aa"
PROFILE = PROFILES.of("openclaw:local", {})
FILES = InstanceFiles(config='{"a": 1}\n', env="A=1\n", applied="[]")


@pytest.fixture
def disk(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "instances")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "instances" / INSTANCE


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_directories_and_files_are_private(disk: Storage, directory: Path) -> None:
    opened = await disk.open(INSTANCE, PROFILE)
    assert not opened.existed
    assert opened.files == InstanceFiles()
    await disk.write(INSTANCE, FILES, PROFILE)
    for name in ("", "config", "workspace", "auth", "config/workspace"):
        assert mode(directory / name) == 0o700
    for name in ("config/openclaw.json", "config/.env", "applied.json"):
        assert mode(directory / name) == 0o600
    assert [path.name for path in directory.glob("**/*clawstead-new")] == []


async def test_what_was_written_is_read_again(disk: Storage) -> None:
    await disk.open(INSTANCE, PROFILE)
    await disk.write(INSTANCE, FILES, PROFILE)
    opened = await disk.open(INSTANCE, PROFILE)
    assert opened.existed
    assert opened.files == FILES


async def test_an_image_gets_its_config_under_the_name_and_in_the_place_it_reads(
    disk: Storage, directory: Path
) -> None:
    profile = PROFILES.of("coollabsio/openclaw:latest", {})
    await disk.open(INSTANCE, profile)
    await disk.write(INSTANCE, FILES, profile)
    assert (directory / "config" / "clawstead.json").read_text() == FILES.config
    assert not (directory / "config" / "workspace").exists(), "its workspace is not mounted there"
    assert (await disk.open(INSTANCE, profile)).files == FILES


async def test_writing_the_same_again_touches_nothing(disk: Storage, directory: Path) -> None:
    await disk.open(INSTANCE, PROFILE)
    await disk.write(INSTANCE, FILES, PROFILE)
    before = (directory / "config" / "openclaw.json").stat().st_ino
    await disk.write(INSTANCE, FILES, PROFILE)
    assert (directory / "config" / "openclaw.json").stat().st_ino == before


async def test_wider_modes_are_narrowed(disk: Storage, directory: Path) -> None:
    await disk.open(INSTANCE, PROFILE)
    (directory / "config").chmod(0o755)
    await disk.open(INSTANCE, PROFILE)
    assert mode(directory / "config") == 0o700


@pytest.mark.parametrize("name", ["openclaw.json", ".env"])
async def test_a_link_in_a_files_place_is_refused(disk: Storage, directory: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "host-secret"
    secret.write_text("canary")
    await disk.open(INSTANCE, PROFILE)
    (directory / "config" / name).symlink_to(secret)
    with pytest.raises(ProvisioningError, match="is a link") as refused:
        await disk.open(INSTANCE, PROFILE)
    assert refused.value.reason is Reason.STORAGE_UNUSABLE
    assert secret.read_text() == "canary"


async def test_a_link_in_a_directorys_place_is_refused(disk: Storage, directory: Path, tmp_path: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "config").symlink_to(tmp_path)
    with pytest.raises(ProvisioningError, match=r"config .*not a directory"):
        await disk.open(INSTANCE, PROFILE)
    assert list(tmp_path.iterdir()) == [tmp_path / "instances"]


async def test_a_link_in_the_temporary_files_place_is_not_followed(
    disk: Storage, directory: Path, tmp_path: Path
) -> None:
    target = tmp_path / "host-file"
    target.write_text("untouched")
    await disk.open(INSTANCE, PROFILE)
    (directory / "config" / ".openclaw.json.clawstead-new").symlink_to(target)
    await disk.write(INSTANCE, FILES, PROFILE)
    assert target.read_text() == "untouched"
    assert (directory / "config" / "openclaw.json").read_text() == FILES.config


async def test_a_pipe_in_a_files_place_does_not_hold_us(disk: Storage, directory: Path) -> None:
    await disk.open(INSTANCE, PROFILE)
    os.mkfifo(directory / "config" / "openclaw.json")
    with pytest.raises(ProvisioningError, match="not a regular file"):
        await disk.open(INSTANCE, PROFILE)


async def test_a_huge_file_is_refused(disk: Storage, directory: Path) -> None:
    await disk.open(INSTANCE, PROFILE)
    with (directory / "config" / "openclaw.json").open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    with pytest.raises(ProvisioningError, match="too large"):
        await disk.open(INSTANCE, PROFILE)


async def test_a_full_disk_is_named_and_leaves_the_old_file(
    disk: Storage, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await disk.open(INSTANCE, PROFILE)
    await disk.write(INSTANCE, FILES, PROFILE)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("clawstead_provisioner.files.os.fsync", full)
    with pytest.raises(ProvisioningError) as refused:
        await disk.write(INSTANCE, InstanceFiles(config="{}"), PROFILE)
    assert refused.value.reason is Reason.DISK_FULL
    assert (directory / "config" / "openclaw.json").read_text() == FILES.config
    assert [path.name for path in directory.glob("**/*clawstead-new")] == []


async def test_removing_is_total_repeatable_and_follows_no_link(disk: Storage, directory: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    await disk.open(INSTANCE, PROFILE)
    (directory / "workspace" / "link").symlink_to(outside)
    (directory / "workspace" / "deep" / "er").mkdir(parents=True)
    await disk.remove(INSTANCE)
    await disk.remove(INSTANCE)
    assert not directory.exists()
    assert (outside / "kept").read_text() == "kept"
