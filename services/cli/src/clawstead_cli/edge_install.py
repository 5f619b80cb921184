"""The edge as a site in the machine's nginx: what root puts in place once, and takes away again.

install    sudo checks the rule -> both files -> nginx -T -> nginx -s reload -> the site's revision is served
uninstall  both files away      -> nginx -T -> nginx -s reload
and both files back to what they were if nginx refuses, or does not come to serve the site
"""

import contextlib
import os
import pwd
import time
from dataclasses import dataclass
from pathlib import Path

from clawstead_cli import sudo_rule
from clawstead_cli.adapters.machine_nginx import (
    RULE_FILE,
    RULE_MODE,
    SITE_FILE,
    SITE_MODE,
    MachineNginx,
    check_rule,
    put,
    read,
    served_revision,
)
from clawstead_cli.adapters.nginx_log import NginxLog
from clawstead_cli.adapters.proxy_sync_program import Site
from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import CommandError, MissingError, UsageError
from clawstead_cli.nginx_dump import clashes, servers

_MODES = {SITE_FILE: SITE_MODE, RULE_FILE: RULE_MODE}
# nginx itself tries for 2.5 s to get a port before it gives a reload up.
_LOAD_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_ROOM = "CLAWSTEAD_HTTPS_PORT, CLAWSTEAD_HTTP_PORT, CLAWSTEAD_EDGE_ADDRESSES, CLAWSTEAD_EDGE_STATUS_PORT"

Files = dict[Path, str | None]
"""What each of our two files holds; None for no file."""


@dataclass(frozen=True, slots=True)
class EdgeStatus:
    """How the site in the machine's nginx is."""

    site: str
    """``installed``, ``stale`` or ``missing``."""
    rule: str
    """``in place``, ``missing``, ``another`` or ``not needed``."""
    nginx_pid: int | None
    revision: str
    """What the settings ask for."""
    served: str | None
    """What nginx has loaded."""

    @property
    def good(self) -> bool:
        """Whether proxy-sync can work with it."""
        return self.site == "installed" and self.rule in {"in place", "not needed"} and self.served == self.revision


def require_root() -> None:
    """Check that we may write the machine's configuration.

    Raises:
        MissingError: we are not root.
    """
    if os.geteuid() != 0:
        raise MissingError(
            "the files of the machine's nginx and of sudo are root's",
            hint="type it again with `sudo env CLAWSTEAD_…=… ` before it, with the settings that proxy-sync has",
        )


def user_named(name: str | None, data_dir: Path) -> pwd.struct_passwd:
    """Return who proxy-sync runs as: ``name``, or whoever owns the nearest folder of its data.

    Raises:
        UsageError: there is no such user.
    """
    try:
        if name is not None:
            return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
        nearest = next(path for path in (data_dir / "proxy-sync", data_dir, *data_dir.parents) if path.exists())
        return pwd.getpwuid(nearest.stat().st_uid)
    except KeyError as unknown:
        raise UsageError(f"there is no user {name or 'that owns the data'}", hint="--user names one") from unknown


def wanted(site: Site, user: pwd.struct_passwd) -> Files:
    """Return both files as they should be. Root needs no rule.

    Raises:
        UsageError: this user cannot stand in a rule.
    """
    try:
        rule = sudo_rule.rule_text(user.pw_name, site.reload) if user.pw_uid else None
    except ValueError as hostile:
        raise UsageError(str(hostile), hint="choose a user with a plain name") from hostile
    return {SITE_FILE: site.text, RULE_FILE: rule}


def present() -> Files:
    """Return both files as they are."""
    return {path: read(path) for path in _MODES}


def check_room(nginx: MachineNginx, site: Site) -> None:
    """Check that no other site of the machine's nginx has what ours takes.

    Raises:
        CommandError: one has, or nginx refuses its configuration as it is.
    """
    others = [server for server in servers(nginx.dump()) if server.file != str(SITE_FILE)]
    taken = clashes(others, site.addresses, (*site.ports, site.status_port), site.names)
    if taken:
        raise CommandError(
            "another site of this machine's nginx has what ours needs:\n  " + "\n  ".join(taken),
            hint=f"change that site, or set {_ROOM} or CLAWSTEAD_DOMAIN",
        )


def exchange(nginx: MachineNginx, files: Files, site: Site | None = None) -> None:
    """Put both files in place and have nginx load them, to serve ``site``; everything is as before if that fails.

    Raises:
        CommandError: sudo or nginx refuses, or the site does not come to be served.
    """
    if rule := files[RULE_FILE]:
        check_rule(rule)
    before, reloaded = present(), False
    try:
        _put(files)
        log, reloaded = NginxLog(nginx.dump()), True
        _load(nginx, site, log)
    except BaseException as error:
        _put(before)
        if reloaded:
            _load_again(nginx)
        if isinstance(error, CommandError):
            raise CommandError(f"{error}; everything is as it was", hint=error.hint) from error
        raise


def status(nginx: MachineNginx, site: Site, user: pwd.struct_passwd) -> EdgeStatus:
    """Return how it is. Only root may see the rule."""
    there, should = present(), wanted(site, user)
    if should[RULE_FILE] is None:
        rule = "not needed" if there[RULE_FILE] is None else "another"
    else:
        rule = "missing" if there[RULE_FILE] is None else "another"
        rule = "in place" if there[RULE_FILE] == should[RULE_FILE] else rule
    installed = "installed" if there[SITE_FILE] == should[SITE_FILE] else "stale"
    return EdgeStatus(
        site="missing" if there[SITE_FILE] is None else installed,
        rule=rule,
        nginx_pid=nginx.pid,
        revision=site.revision,
        served=served_revision(site.status_port),
    )


def _put(files: Files) -> None:
    for path, text in files.items():
        put(path, text, _MODES[path])


def _load(nginx: MachineNginx, site: Site | None, log: NginxLog) -> None:
    running = nginx.pid is not None
    nginx.reload()
    if not (running and site):
        return
    deadline = Deadline.after(_LOAD_SECONDS)
    while served_revision(site.status_port) != site.revision:
        if deadline.passed or log.given_up:
            why = log.complaint() or f"not within {_LOAD_SECONDS:.0f} s, and {log.path} does not say why"
            raise CommandError(
                f"nginx goes on without this site: {why}",
                hint=f"stop what is in the way, or set {_ROOM} to what is free, and type the command again",
            )
        time.sleep(_LOOK_SECONDS)


def _load_again(nginx: MachineNginx) -> None:
    # What runs is what was there before, unless nginx was only late. If it refuses now, that goes on, too.
    with contextlib.suppress(CommandError):
        nginx.reload()
