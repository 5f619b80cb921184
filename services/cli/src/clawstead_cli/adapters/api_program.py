"""The API's own one-shot commands, run as a subprocess: this command line never imports a service."""

import json
import os
import subprocess
from pathlib import Path

from clawstead_cli.errors import CommandError, MissingError
from clawstead_cli.programs import Service, environment_of
from clawstead_cli.settings import Settings

_TIMEOUT_SECONDS = 60
_SHOWN_CHARACTERS = 2000


class ApiProgram:
    """``clawstead-api migrate`` and ``clawstead-api admin-token``."""

    def __init__(self, settings: Settings) -> None:
        self._program: Path = settings.bin_dir / "clawstead-api"
        self._environment = environment_of(Service.API, settings, os.environ)
        self._directory = settings.data_dir

    def migrate(self) -> None:
        """Bring the database to today's schema; done already is success.

        Raises:
            CommandError: the migration failed; what it says is in the message.
        """
        self._run("migrate")

    def first_token(self) -> str | None:
        """Return the admin token if this call made it, None if there was one already.

        Raises:
            CommandError: the command failed.
        """
        return self._token("admin-token")

    def new_token(self) -> str:
        """Make another admin token.

        Raises:
            CommandError: the command failed.
        """
        token = self._token("admin-token", "--new")
        if token is None:
            raise CommandError("clawstead-api made no token")
        return token

    def _token(self, *arguments: str) -> str | None:
        answer = self._run(*arguments)
        try:
            # The last line, since libraries may print before it.
            token: str | None = json.loads(answer.strip().splitlines()[-1])["token"]
        except (IndexError, ValueError, KeyError, TypeError) as malformed:
            # The answer is left out on purpose: it may hold the token.
            raise CommandError("clawstead-api admin-token did not answer with a token") from malformed
        return token

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - a program of ours, by its full path
                [self._program, *arguments],
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        except FileNotFoundError as missing:
            raise MissingError(f"{self._program} or its directory is missing", hint="run `make setup`") from missing
        except subprocess.TimeoutExpired as late:
            raise CommandError(f"clawstead-api {arguments[0]} took over {_TIMEOUT_SECONDS} s") from late
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip())[-_SHOWN_CHARACTERS:]
            raise CommandError(f"clawstead-api {arguments[0]} failed (exit code {done.returncode}): {said}")
        return done.stdout
