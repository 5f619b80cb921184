"""A real PostgreSQL of its own, on a port of its own; thrown away afterwards."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.support.ports import free_port


class PostgresServer:
    """One cluster with one superuser, ``clawstead``, who needs no password on loopback."""

    def __init__(self) -> None:
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="clawstead-pg-"))
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+asyncpg://clawstead@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        as_user = self._as_user()
        data = str(self._directory / "data")
        subprocess.run(
            [*as_user, _binary("initdb"), "-D", data, "-U", "clawstead", "-A", "trust", "-N", "-E", "UTF8"],
            check=True,
            capture_output=True,
            cwd=self._directory,
        )
        options = ["-p", str(self.port), "-h", "127.0.0.1", "-k", str(self._directory), "-F"]
        log = (self._directory / "log").open("ab")
        self._process = subprocess.Popen(
            [*as_user, _binary("postgres"), "-D", data, *options], stdout=log, stderr=log, cwd=self._directory
        )
        ready = [_binary("pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-t", "10"]
        for _ in range(100):
            if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
                return
            self._process.poll()
            assert self._process.returncode is None, (self._directory / "log").read_text()
            signal.sigtimedwait([], 0.05)
        raise AssertionError("PostgreSQL did not start")

    def _as_user(self) -> list[str]:
        # PostgreSQL refuses to run as root.
        if os.geteuid() != 0:
            return []
        user = pwd.getpwnam("postgres")
        os.chown(self._directory, user.pw_uid, user.pw_gid)
        return ["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(10)
        shutil.rmtree(self._directory, ignore_errors=True)


def _binary(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    path = str(found[-1]) if found else shutil.which(name)
    assert path, "PostgreSQL is not installed: run make setup"
    return path
