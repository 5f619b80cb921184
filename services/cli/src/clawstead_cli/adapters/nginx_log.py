"""Why the machine's nginx gave up a reload: its log alone has it, for ``nginx -s reload`` succeeded by then."""

import re
from pathlib import Path

from clawstead_cli.adapters.process_table import holder
from clawstead_cli.nginx_dump import error_log

_BUILT_IN = "/var/log/nginx/error.log"
_TAKEN = re.compile(r":(?P<port>\d+) failed \(98")
_MOST_BYTES = 200_000


class NginxLog:
    """The end of nginx's own log, from now on."""

    def __init__(self, dump: str) -> None:
        self.path = Path(error_log(dump) or _BUILT_IN)
        self._begin = self.path.stat().st_size if self.path.exists() else 0

    @property
    def given_up(self) -> bool:
        """Whether nginx stopped trying to get a port."""
        return "still could not bind()" in self._news()

    def complaint(self) -> str | None:
        """Return what nginx stumbled over since then and who is in the way; None when it wrote nothing."""
        lines = [line for line in self._news().splitlines() if "[emerg]" in line]
        if not lines:
            return None
        # The last lines only repeat or sum up: "still could not bind()".
        said = lines[0].partition("[emerg] ")[2].partition(": ")[2]
        taken = _TAKEN.search(said)
        return f"{said}; port {taken['port']} is held by {holder(int(taken['port']))}" if taken else said

    def _news(self) -> str:
        try:
            with self.path.open("rb") as file:
                file.seek(self._begin)
                return file.read(_MOST_BYTES).decode(errors="replace")
        except OSError:
            return ""
