"""Gates: empty files that nginx looks for on every request. One exists exactly while its route is open."""

from pathlib import Path

from clawstead_proxy_sync.adapters.files import make_directory
from clawstead_proxy_sync.adapters.layout import PASSABLE
from clawstead_proxy_sync.nginx_map import check_label


class Gates:
    """The folder of gates. Opening and closing take effect with the next request, without a reload."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self, label: str) -> None:
        """Make the gate of ``label``; already there is success."""
        check_label(label)
        if not self._directory.is_dir():
            make_directory(self._directory, mode=PASSABLE)
        gate = self._directory / label
        if not gate.exists():
            gate.touch(mode=0o644)

    def close(self, label: str) -> None:
        """Remove the gate of ``label``; already gone is success. Whatever else lies there may go too."""
        if Path(label).name != label:
            raise ValueError(f"not a file name: {label!r}")
        (self._directory / label).unlink(missing_ok=True)

    def all(self) -> set[str]:
        """Return the names of all files in the folder, labels or not."""
        try:
            return {entry.name for entry in self._directory.iterdir() if not entry.is_dir()}
        except FileNotFoundError:
            return set()
