"""Where everything of the edge lies, below proxy-sync's own folder.

    nginx.conf
    nginx/   routes.map, process id, status socket, logs, temporary files
    ready/   gates
    closed/  what answers at closed ones
    pages/   the edge's own pages
    tls/     certificates
    control/ socket over which routes change; nobody else may pass

Workers run as another user. They may pass through these folders, but only read pages; keys are the master's.
"""

from dataclasses import dataclass
from pathlib import Path

from clawstead_proxy_sync.adapters.files import make_directory, write_atomically
from clawstead_proxy_sync.nginx_conf import CANDIDATE_MAP_FILE, CONTROL_KEY, CONTROL_SOCKET, MAP_FILE

PASSABLE = 0o711
"""Others may reach what they can name, and list nothing."""
_READABLE = 0o755
_PRIVATE = 0o700


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one edge."""

    directory: Path

    @property
    def nginx(self) -> Path:
        """Folder of the process."""
        return self.directory / "nginx"

    @property
    def ready(self) -> Path:
        """Folder of the gates."""
        return self.directory / "ready"

    @property
    def closed(self) -> Path:
        """Folder of what answers at closed gates."""
        return self.directory / "closed"

    @property
    def tls(self) -> Path:
        """Folder of the certificates."""
        return self.directory / "tls"

    @property
    def lock_file(self) -> Path:
        """Held by the one proxy-sync that works here."""
        return self.directory / "lock"

    @property
    def config(self) -> Path:
        """The configuration that is in use."""
        return self.directory / "nginx.conf"

    @property
    def candidate_config(self) -> Path:
        """A configuration to be tested."""
        return self.directory / "candidate.conf"

    @property
    def map_check(self) -> Path:
        """A configuration that only reads the candidate map."""
        return self.directory / "map-check.conf"

    @property
    def lua_check(self) -> Path:
        """A configuration that only loads modules."""
        return self.directory / "lua-check.conf"

    @property
    def map(self) -> Path:
        """The table that is in use."""
        return self.directory / MAP_FILE

    @property
    def candidate_map(self) -> Path:
        """A table to be tested."""
        return self.directory / CANDIDATE_MAP_FILE

    @property
    def pid_file(self) -> Path:
        """Where nginx writes its process id."""
        return self.nginx / "nginx.pid"

    @property
    def socket(self) -> Path:
        """The status socket."""
        return self.nginx / "status.sock"

    @property
    def control_socket(self) -> Path:
        """Where routes are changed, if nginx can do that."""
        return self.directory / CONTROL_SOCKET

    @property
    def control_key(self) -> Path:
        """What a change of routes must show in the machine's nginx."""
        return self.directory / CONTROL_KEY

    @property
    def error_log(self) -> Path:
        """What nginx complains about."""
        return self.nginx / "error.log"

    @property
    def logs(self) -> tuple[Path, Path]:
        """The files that grow."""
        return self.error_log, self.nginx / "access.log"

    def prepare(self, pages: dict[str, bytes]) -> None:
        """Make the folders and write the pages. Done already is success.

        Raises:
            OSError: that is not possible here.
        """
        for folder in (self.directory, self.nginx, self.nginx / "temp", self.ready, self.closed):
            make_directory(folder, mode=PASSABLE)
        make_directory(self.control_socket.parent, mode=_PRIVATE)
        folder = self.directory / "pages"
        make_directory(folder, mode=_READABLE)
        for name, content in pages.items():
            path = folder / name
            if not path.is_file() or path.read_bytes() != content:
                write_atomically(path, content)
