"""The file that says who a process is on the bus."""

from pathlib import Path

import nkeys  # type: ignore[import-untyped]
import pytest

from clawstead_shared.credentials import SeedFileError, public_key, read_seed


def seed(prefix: int = nkeys.PREFIX_BYTE_USER) -> str:
    text: bytes = nkeys.encode_seed(bytes(range(32)), prefix)
    return text.decode()


def written(directory: Path, text: str, mode: int = 0o600) -> Path:
    path = directory / "api.nk"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_seed_that_only_its_owner_may_read_is_taken(tmp_path: Path, mode: int) -> None:
    assert read_seed(written(tmp_path, f"{seed()}\n", mode)) == seed()
    assert public_key(seed()).startswith("U")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_seed_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SeedFileError, match="chmod 600"):
        read_seed(written(tmp_path, seed(), mode))


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", seed()[:-1], f"{seed()[:-4]}AAAA", seed(nkeys.PREFIX_BYTE_ACCOUNT), public_key(seed()), "SU" * 29],
)
def test_what_is_no_users_seed_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(SeedFileError, match="holds no seed") as refused:
        read_seed(written(tmp_path, text))
    assert not text or text not in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SeedFileError, match=r"missing\.nk cannot be read: No such file"):
        read_seed(tmp_path / "missing.nk")
    (tmp_path / "binary.nk").write_bytes(b"\xff\xfe")
    (tmp_path / "binary.nk").chmod(0o600)
    with pytest.raises(SeedFileError, match="it is no text"):
        read_seed(tmp_path / "binary.nk")
