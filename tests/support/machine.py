"""A machine within this one: mounts and processes of its own, the network of this one.

It has its own /etc/nginx, /run, /var/log/nginx, /etc/sudoers.d and users; nothing of this machine's is touched, and
all of its processes end with it.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.contract.source_tree import ROOT

USER = "clawkeeper"
_UID = 64_321
_OTHERS_PASS = 0o001
_PASSED = ("PATH", "LANG", "HOME")

_SETUP = f"""
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /srv
mkdir /run/keep /run/nginx.d /run/sudo.d /run/accounts /run/sudo
cp -a /etc/nginx/. /run/nginx.d
rm -f /run/nginx.d/sites-enabled/* /run/nginx.d/conf.d/*
cp -a /etc/sudoers.d/. /run/sudo.d
for file in passwd group shadow; do cp -a /etc/$file /run/accounts/; done
echo '{USER}:x:{_UID}:{_UID}::/nonexistent:/usr/sbin/nologin' >>/run/accounts/passwd
echo '{USER}:x:{_UID}:' >>/run/accounts/group
echo '{USER}:*:19000:0:99999:7:::' >>/run/accounts/shadow
for file in passwd group shadow; do mount --bind /run/accounts/$file /etc/$file; done
mount --bind /run/nginx.d /etc/nginx
mount --bind /run/sudo.d /etc/sudoers.d
mount -t tmpfs -o mode=755 tmpfs /var/log/nginx
install -d -o {_UID} -g {_UID} -m 755 /srv/clawstead
"""


class Machine:
    """One such machine; needs root, and nginx and sudo of this one."""

    def __init__(self) -> None:
        self._init: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def start(self) -> None:
        script = f"{_SETUP}{_passable([ROOT, Path(sys.prefix), Path(sys.base_prefix)])}echo ready\nexec cat\n"
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]
        self._init = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._init.stdout
        assert self._init.stdout.readline() == b"ready\n"
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text()
        self._pid = int(children.split()[0])

    def stop(self) -> None:
        if self._init:
            self._init.kill()
            self._init.wait(10)
            for stream in (self._init.stdin, self._init.stdout):
                if stream:
                    stream.close()
            self._init = None

    def path(self, path: str) -> Path:
        """Return where a file of the machine is seen from here."""
        return Path(f"/proc/{self._pid}/root{path}")

    def inside(self, *, user: str | None = None) -> list[str]:
        """Return what goes before a command so that it runs there; it is killed with the one who started it."""
        enter = ["nsenter", "--target", str(self._pid), "--mount", "--pid", "--wd=/", "setpriv", "--pdeathsig", "KILL"]
        identity = [f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all"] if user else []
        return [*enter, *identity]

    def run(
        self, *command: str, environment: dict[str, str] | None = None, user: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there and return what it said."""
        done = subprocess.run(
            [*self.inside(user=user), *command],
            env={**{name: os.environ[name] for name in _PASSED if name in os.environ}, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
        return done


def _passable(folders: Sequence[Path]) -> str:
    # A checkout or a Python below root's home: there, another user gets to these folders and to nothing beside them.
    hidden: dict[Path, list[Path]] = {}
    for folder in folders:
        closed = [parent for parent in folder.parents if not parent.stat().st_mode & _OTHERS_PASS]
        if closed and not any(folder.is_relative_to(other) for other in hidden.get(closed[-1], [])):
            hidden.setdefault(closed[-1], []).append(folder)
    lines = []
    for number, (closed_folder, inside) in enumerate(hidden.items()):
        keep = [(f"/run/keep/{number}-{index}", folder) for index, folder in enumerate(inside)]
        lines += [f"mkdir -p {place}; mount --bind '{folder}' {place}" for place, folder in keep]
        lines.append(f"mount -t tmpfs -o mode=755 tmpfs '{closed_folder}'")
        lines += [f"mkdir -p '{folder}'; mount --move {place} '{folder}'" for place, folder in keep]
    return "".join(f"{line}\n" for line in lines)
