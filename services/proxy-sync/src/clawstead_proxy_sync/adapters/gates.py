"""Gates: empty files that nginx looks for. One lies in ``ready`` exactly while its route is open.

At a closed gate a file ``<label>.<page>`` in another folder says which page answers.
"""

import os
from pathlib import Path

from clawstead_proxy_sync.adapters.files import make_directory
from clawstead_proxy_sync.adapters.layout import PASSABLE
from clawstead_proxy_sync.nginx_map import Page, check_label

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_PAGES = frozenset(map(str, Page))


class Gates:
    """The folders of gates and pages. What is changed there takes effect with the next request, without a reload."""

    def __init__(self, ready: Path, closed: Path) -> None:
        self._ready = ready
        self._closed = closed

    def open(self, label: str) -> None:
        """Make the gate of ``label``; already there is success."""
        check_label(label)
        _touch(self._ready / label)

    def close(self, label: str, page: Page | None) -> None:
        """Remove the gate of ``label``, and have ``page`` answer; already so is success.

        Whatever else lies there may go too.
        """
        if Path(label).name != label:
            raise ValueError(f"not a file name: {label!r}")
        # First of all, for a full disk keeps only what is to be made from happening.
        (self._ready / label).unlink(missing_ok=True)
        if page:
            check_label(label)
            _touch(self._closed / f"{label}.{page}")
        for other in Page:
            if other is not page:
                (self._closed / f"{label}.{other}").unlink(missing_ok=True)

    def expire(self, *, running: bool) -> None:
        """Close all gates that an earlier boot of the machine has left. ``running`` says whether nginx was found so.

        No instance has been running since; and after a loss of power a gate may be back that had been closed.
        """
        marker, boot = self._ready.parent / "boot", _BOOT.read_text()
        known = marker.read_text() if marker.is_file() else None
        if known == boot:
            return
        # Where no boot was noted yet, the gates of an nginx that runs are of this one.
        if known is not None or not running:
            pages = self.pages()
            for label in self.all():
                self.close(label, pages.get(label))
        marker.write_text(boot)

    def all(self) -> set[str]:
        """Return the names of all files among the open gates, labels or not."""
        return _names(self._ready)

    def pages(self) -> dict[str, Page]:
        """Return what answers at closed gates, by label; what else lies there is removed."""
        found: dict[str, Page] = {}
        for name in _names(self._closed):
            label, _, page = name.rpartition(".")
            if label and label not in found and page in _PAGES:
                found[label] = Page(page)
            else:
                (self._closed / name).unlink(missing_ok=True)
        return found


def _touch(path: Path) -> None:
    if not path.parent.is_dir():
        make_directory(path.parent, mode=PASSABLE)
    if not path.exists():
        path.touch(mode=0o644)


def _names(directory: Path) -> set[str]:
    try:
        with os.scandir(directory) as entries:  # tells what is a folder without another look at each of thousands
            return {entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)}
    except FileNotFoundError:
        return set()
