"""Gates: empty files that nginx looks for. One lies in ``ready`` exactly while its route is open.

At a closed gate a file ``<label>.<page>`` in another folder says which page answers.
"""

from pathlib import Path

from clawstead_proxy_sync.adapters.files import make_directory
from clawstead_proxy_sync.adapters.layout import PASSABLE
from clawstead_proxy_sync.nginx_map import Page, check_label

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
        if page:
            check_label(label)
            _touch(self._closed / f"{label}.{page}")
        (self._ready / label).unlink(missing_ok=True)
        for other in Page:
            if other is not page:
                (self._closed / f"{label}.{other}").unlink(missing_ok=True)

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
        return {entry.name for entry in directory.iterdir() if not entry.is_dir()}
    except FileNotFoundError:
        return set()
