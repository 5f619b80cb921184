"""Directories that somebody else filled are removed whole, whatever is in them, and nothing else is."""

import os
from pathlib import Path

import pytest

from clawstead_provisioner.trees import remove_tree


@pytest.fixture
def top(tmp_path: Path) -> Path:
    path = tmp_path / "top"
    path.mkdir()
    return path


def nest(path: Path, levels: int) -> None:
    """Nest directories deeper than any path can name."""
    handle = os.open(path, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=handle)
        below = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)


def test_everything_goes(top: Path) -> None:
    for name in ("a/b/c", "a/d", ".removing-1/x"):
        (top / name).mkdir(parents=True)
    (top / "a" / "b" / "c" / "file").write_text("x")
    (top / ".removing-2").write_text("a file where a directory would be moved")
    os.mkfifo(top / "a" / "pipe")
    remove_tree(top)
    assert not top.exists()


def test_thousands_of_levels_go(top: Path) -> None:
    nest(top, 3000)
    remove_tree(top)
    assert not top.exists()


def test_links_go_and_what_they_lead_to_stays(top: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "inner").mkdir(parents=True)
    (top / "directory").mkdir()
    for link in (top / "link", top / "directory" / "link"):
        link.symlink_to(kept)
    remove_tree(top)
    assert not top.exists()
    assert (kept / "inner").exists()


def test_none_is_success_and_a_link_is_refused(top: Path, tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")
    (tmp_path / "link").symlink_to(top)
    with pytest.raises(OSError, match="link"):
        remove_tree(tmp_path / "link")
    assert top.exists()
