"""Proxy-sync's own one-shot commands, run as a subprocess: this command line never imports a service."""

import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from clawstead_cli.errors import CommandError, MissingError
from clawstead_cli.programs import environment
from clawstead_cli.settings import Settings

_TIMEOUT_SECONDS = 60
_SHOWN_CHARACTERS = 2000
_CONFIDENTIAL = ("TOKEN", "SEED", "SECRET", "KEY", "DATABASE_URL")


class Site(BaseModel):
    """The site for the machine's nginx, and what it takes for itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    directory: str
    text: str
    revision: str
    addresses: tuple[str, ...]
    ports: tuple[int, ...]
    status_port: int
    names: tuple[str, ...]
    reload: tuple[str, ...]
    """What proxy-sync runs through sudo."""


class ProxySyncProgram:
    """``clawstead-proxy-sync site``."""

    def __init__(self, settings: Settings) -> None:
        self._program: Path = settings.bin_dir / "clawstead-proxy-sync"
        passed = environment(settings, os.environ)
        self._environment = {
            name: value for name, value in passed.items() if not any(word in name for word in _CONFIDENTIAL)
        }

    def site(self) -> Site:
        """Return the site that the settings ask for.

        Raises:
            CommandError: there can be none; the message says why.
        """
        return Site.model_validate_json(self._run("site").splitlines()[-1])

    def prepare(self, user: pwd.struct_passwd) -> None:
        """Have everything made that the site points at, as the user who will change it later.

        Raises:
            CommandError: that is not possible; the message says why.
        """
        self._run("site", "--prepare", user=user)

    def _run(self, *arguments: str, user: pwd.struct_passwd | None = None) -> str:
        identity: dict[str, Any] = {}
        if user and user.pw_uid != os.geteuid():
            identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        try:
            done = subprocess.run(  # noqa: S603 - a program of ours, by its full path
                [self._program, *arguments],
                cwd="/",
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
                **identity,
            )
        except FileNotFoundError as missing:
            raise MissingError(f"{self._program} is missing", hint="run `make setup`") from missing
        except PermissionError as denied:
            who = user.pw_name if user else "this user"
            raise CommandError(
                f"{who} cannot run {self._program}: {denied.strerror}",
                hint="install Clawstead where that user gets to, for example in /opt",
            ) from denied
        except subprocess.TimeoutExpired as late:
            raise CommandError(f"clawstead-proxy-sync {arguments[0]} took over {_TIMEOUT_SECONDS} s") from late
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip())[-_SHOWN_CHARACTERS:]
            raise CommandError(said or f"clawstead-proxy-sync {arguments[0]} failed")
        return str(done.stdout)
