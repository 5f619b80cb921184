"""Runs certbot: in a folder and a session of its own, never for longer than a deadline.

    tls/certbot/<directory>/
      config/ work/ logs/ tmp/   certbot's own
      deploy                     run by certbot once it has a certificate: joins key and chain
      new.pem                    what it joined; not served before it was judged

When proxy-sync dies, certbot goes on to its own end; the deadline is kept by ``timeout``, which outlives us.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from clawstead_proxy_sync.adapters import credentials
from clawstead_proxy_sync.adapters.files import make_directory, write_atomically
from clawstead_proxy_sync.certificates.failures import CertificateError, Reason, classify
from clawstead_proxy_sync.certificates.order import (
    CONFIG,
    DEPLOY_HOOK,
    TEMPORARY,
    Command,
    Order,
    Source,
    arguments,
    environment,
)

log = structlog.get_logger()

DEADLINE = timedelta(seconds=300)

_PRIVATE = 0o700
_GRACE_SECONDS = 5
_TIMED_OUT = 124
_KILLED = (128 + signal.SIGKILL, -signal.SIGKILL)
_CANNOT_RUN = (126, 127)
_OUTPUT_BYTES = 256 * 1024
_HOOK = b"""#!/bin/sh
# certbot runs this once it has a new certificate: key and chain go into one file, so that they change together.
set -eu
umask 077
cd "$(dirname "$0")"
cat "$RENEWED_LINEAGE/privkey.pem" "$RENEWED_LINEAGE/fullchain.pem" > "new.$$"
sync "new.$$"
mv -f "new.$$" new.pem
"""


class Certbot:
    """Certbot for one order, in ``folder``."""

    def __init__(
        self, order: Order, folder: Path, *, binary: str | None = None, deadline: timedelta = DEADLINE
    ) -> None:
        self._order = order
        self._folder = folder.resolve()
        self._binary = binary
        self._deadline = deadline.total_seconds()

    async def run(self, command: Command, *, dry_run: bool = False, force: bool = False) -> None:
        """Have certbot do ``command``. What it got afterwards is in ``obtained``.

        Raises:
            CertificateError: it got nothing.
            OSError: its folder cannot be written.
        """
        await asyncio.to_thread(self._prepare)
        line = arguments(self._order, command, dry_run=dry_run, force=force)
        log.info("certbot runs", command=command, dry_run=dry_run, authority=self._order.authority)
        begun = time.monotonic()
        code, output = await self._run(self._found_binary(), *line)
        if code == _TIMED_OUT or (code in _KILLED and time.monotonic() - begun >= self._deadline):
            raise CertificateError(Reason.TIMED_OUT, f"certbot did not end within {self._deadline:.0f} s")
        if code in _CANNOT_RUN:
            raise CertificateError(Reason.CERTBOT_MISSING, f"certbot cannot be run: {output.strip()[-300:]}")
        if code:
            raise classify(output, datetime.now(UTC))

    @property
    def ordered(self) -> bool:
        """Whether certbot keeps a certificate of this name, which it can renew.

        Its notes hold absolute paths: a folder that was moved, or restored elsewhere, holds none.
        """
        notes, live, archive = self._lineage
        try:
            known = f"archive_dir = {archive}\n" in notes.read_text()
        except (FileNotFoundError, UnicodeDecodeError):
            return False
        return known and all((live / f"{name}.pem").exists() for name in ("cert", "chain", "fullchain", "privkey"))

    @property
    def _lineage(self) -> tuple[Path, Path, Path]:
        config, name = self._folder / CONFIG, self._order.domain
        return config / "renewal" / f"{name}.conf", config / "live" / name, config / "archive" / name

    def obtained(self) -> bytes | None:
        """Return the newest key and chain that certbot keeps, None before the first.

        Not what the hook joined: a hook that failed leaves no trace in certbot's exit code. While certbot runs
        key and chain may be of two certificates.

        Raises:
            OSError: they cannot be read.
        """
        live = self._lineage[1]
        key, chain = (_content(live / name) for name in ("privkey.pem", "fullchain.pem"))
        return None if key is None or chain is None else key + chain

    def joined(self) -> bytes | None:
        """Return the key and chain that the hook joined last, None before the first.

        Raises:
            OSError: they cannot be read.
        """
        return _content(self._new)

    def stamp(self) -> int | None:
        """Return what changes with ``joined``.

        Raises:
            OSError: that cannot be found out.
        """
        try:
            return self._new.stat().st_mtime_ns
        except FileNotFoundError:
            return None

    @property
    def _new(self) -> Path:
        return self._folder / "new.pem"

    def _prepare(self) -> None:
        for folder in (self._folder.parent, self._folder, self._folder / TEMPORARY):
            make_directory(folder, mode=_PRIVATE)
        hook = self._folder / DEPLOY_HOOK
        if not hook.is_file() or hook.read_bytes() != _HOOK:
            write_atomically(hook, _HOOK, mode=_PRIVATE)
        if self._order.credentials:
            credentials.check(self._order.credentials)
        for program in (self._order.auth_hook, self._order.cleanup_hook):
            if program and self._order.source is Source.MANUAL:
                _check_hook(program)
        if not self._busy():
            self._clear_remains()

    def _clear_remains(self) -> None:
        for leftover in self._folder.glob("new.*[0-9]"):
            leftover.unlink(missing_ok=True)
        # Whenever it cannot begin, it leaves a log in a new folder there.
        for leftover in (self._folder / TEMPORARY).iterdir():
            shutil.rmtree(leftover, ignore_errors=True)
        if not self.ordered:
            # Certbot would stumble over what is left of a certificate, or get the new one under another name.
            notes, live, archive = self._lineage
            notes.unlink(missing_ok=True)
            for remains in (live, archive):
                shutil.rmtree(remains, ignore_errors=True)

    def _busy(self) -> bool:
        try:
            with (self._folder / CONFIG / ".certbot.lock").open("ab") as file:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def _found_binary(self) -> str:
        # Beside the environment that we run in, where the installation puts its tools; else wherever it is.
        installed = Path(sys.prefix).parent / ".tools" / "certbot" / "bin" / "certbot"
        named = self._binary or (str(installed) if installed.is_file() else "certbot")
        if found := shutil.which(named):
            return str(Path(found).absolute())
        raise CertificateError(Reason.CERTBOT_MISSING, f"certbot is not installed ({named} cannot be found)")

    async def _run(self, *line: str) -> tuple[int, str]:
        # ``timeout`` leads its own group and ends it as a whole: certbot with its hooks.
        limited = ("timeout", f"--kill-after={_GRACE_SECONDS}", f"{self._deadline}", *line)
        # Into a file of this run: a pipe would break when we die, and certbot with it, in the middle of storing.
        said = self._folder / "output"
        said.unlink(missing_ok=True)
        try:
            with said.open("xb") as output:
                process = await asyncio.create_subprocess_exec(
                    *limited,
                    cwd=self._folder,
                    env=environment(self._order, os.environ, self._folder),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=asyncio.subprocess.STDOUT,
                    start_new_session=True,
                )
        except FileNotFoundError as error:
            raise CertificateError(Reason.CERTBOT_MISSING, f"certbot cannot be run: {error}") from error
        try:
            async with asyncio.timeout(self._deadline + 2 * _GRACE_SECONDS):
                code = await process.wait()
        except TimeoutError:
            code = _TIMED_OUT
        finally:
            await _end(process)
        return code, await asyncio.to_thread(_tail, said)


def _check_hook(program: Path) -> None:
    # Certbot goes on without it, to a proof that fails: an authority forgives only a few of them an hour.
    if not os.access(program, os.X_OK) or not program.is_file():
        message = f"the hook {program} is missing, or user {os.geteuid()} may not run it"
        raise CertificateError(Reason.HOOK_UNUSABLE, message)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _OUTPUT_BYTES))
        return file.read().decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End what still runs of the process's group: certbot takes its DNS records back when it is asked to end."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                await process.wait()
