"""The nginx and the sudo of this machine: their files, and their own checks of those."""

import contextlib
import http.client
import os
import subprocess
import tempfile
import urllib.request
from pathlib import Path

from clawstead_cli.errors import CommandError, MissingError

SITE_FILE = Path("/etc/nginx/conf.d/clawstead.conf")
RULE_FILE = Path("/etc/sudoers.d/clawstead")
SITE_MODE, RULE_MODE = 0o644, 0o440
_PID_FILE = Path("/run/nginx.pid")
_TIMEOUT_SECONDS = 30
_STATUS_SECONDS = 2
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MachineNginx:
    """The nginx that serves other sites, too."""

    def __init__(self, binary: str) -> None:
        self._binary = binary

    def dump(self) -> str:
        """Check the configuration as it lies there now, and return all of it.

        Raises:
            CommandError: nginx refuses it.
        """
        return _run([self._binary, "-T"])

    def reload(self) -> None:
        """Have it read its configuration again, if it runs. Whether it then takes it, this does not say.

        Raises:
            CommandError: it refuses.
        """
        if self.pid is not None:
            _run([self._binary, "-s", "reload"])

    @property
    def pid(self) -> int | None:
        """Process id of the master, None when none runs."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(_PID_FILE.read_text())
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"nginx: master process"):
                return pid
        return None


def served_revision(port: int) -> str | None:
    """Return which site file nginx has loaded, None when it serves none of ours."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/generation", timeout=_STATUS_SECONDS) as answer:
            words = answer.read(200).decode(errors="replace").split()
    except (OSError, http.client.HTTPException):
        return None
    return words[-1] if words else None


def check_rule(text: str) -> None:
    """Have sudo itself check a file of rules before it is put in place: a bad one locks everybody out.

    Raises:
        CommandError: it is refused.
        MissingError: there is no sudo.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".sudoers") as candidate:
        Path(candidate.name).chmod(RULE_MODE)
        candidate.write(text)
        candidate.flush()
        _run(["visudo", "-cqf", candidate.name])


def read(path: Path) -> str | None:
    """Return what a file holds, None when there is none."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def put(path: Path, text: str | None, mode: int) -> None:
    """Replace a file at once by one that is root's, or remove it.

    Raises:
        CommandError: it cannot be written.
    """
    # A dot before and an ending of its own: neither nginx nor sudo takes the half written one for theirs.
    candidate = path.with_name(f".{path.name}.new")
    try:
        if text is None:
            path.unlink(missing_ok=True)
            return
        candidate.unlink(missing_ok=True)
        descriptor = os.open(candidate, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        candidate.replace(path)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs of the machine, found in the system's folders
            command,
            env={"PATH": _PATH},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError as missing:
        package = "sudo" if command[0] == "visudo" else "nginx"
        raise MissingError(f"{command[0]} is not installed", hint=f"apt-get install {package}") from missing
    except subprocess.TimeoutExpired as late:
        raise CommandError(f"{' '.join(command)} took over {_TIMEOUT_SECONDS} s") from late
    if done.returncode:
        raise CommandError(f"{' '.join(command[:2])}: {_decisive(done.stderr or done.stdout)}")
    return done.stdout


def _decisive(text: str) -> str:
    lines = [line for line in text.splitlines() if "[emerg]" in line] or text.splitlines()[-3:]
    return " ".join(lines).strip() or "no reason given"
