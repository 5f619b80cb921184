"""A Docker engine of a test's own, to be killed, stopped and hung; the machine's engine never notices.

It runs in a network namespace of its own, because two engines in one would take each other's bridge and rules away.
The thread that makes it moves into that namespace: whatever that thread opens or starts from then on is there too.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import psutil

_CLONE_NEWNET = 0x40000000
_OWN_NAMESPACE = "/proc/thread-self/ns/net"
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def network_namespace() -> Iterator[str]:
    """Move this thread into a new network namespace that has loopback only, and back at the end.

    Yields what the one outside is called.
    """
    outside = os.readlink(_OWN_NAMESPACE)
    before = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_LIBC.unshare(_CLONE_NEWNET))
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield outside
    finally:
        _checked(_LIBC.setns(before, _CLONE_NEWNET))
        os.close(before)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class PrivateEngine:
    """One dockerd and its containers. Make it inside ``network_namespace``."""

    def __init__(self, outside: str) -> None:
        assert os.readlink(_OWN_NAMESPACE) != outside, "not in a namespace of its own"
        self.directory = Path(tempfile.mkdtemp(prefix="claw-engine-"))
        self.url = f"unix://{self.directory}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def started(self) -> bool:
        """Whether its process was started, and not ended since."""
        return self._process is not None

    def start(self) -> None:
        """Start it; it answers a little later."""
        # A killed one leaves them, and dockerd then waits for a containerd that died with it.
        for name in ("pid", "exec/containerd/containerd.pid"):
            (self.directory / name).unlink(missing_ok=True)
        command = ["dockerd", "--host", self.url]
        for option, name in (("data-root", "data"), ("exec-root", "exec"), ("pidfile", "pid")):
            command += [f"--{option}", str(self.directory / name)]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def answers(self) -> bool:
        try:
            with contextlib.closing(docker.DockerClient(self.url, timeout=5)) as client:
                return bool(client.ping())
        except (docker.errors.DockerException, OSError):
            return False

    def client(self) -> Any:
        return docker.DockerClient(self.url, timeout=60)

    def take_image(self, name: str) -> None:
        """Copy an image from the machine's engine."""
        with contextlib.closing(docker.from_env()) as machines, contextlib.closing(self.client()) as ours:
            ours.images.load(b"".join(machines.images.get(name).save(named=True)))

    def send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def end(self, number: signal.Signals) -> None:
        """End it and wait for that. Killed, it leaves its containers running; asked, it stops them."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(60)

    def remove(self) -> None:
        """End it, whatever it left running, and remove everything it wrote."""
        if self.started:
            self.send(signal.SIGCONT)
            self.end(signal.SIGTERM)
        # Containers may have outlived it: their shims name our directory.
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(str(self.directory) in argument for argument in process.cmdline()):
                    for one in (*process.children(recursive=True), process):
                        one.kill()
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            target = line.split()[4]
            if target.startswith(f"{self.directory}/"):
                subprocess.run(["umount", "--lazy", target], check=True)
        shutil.rmtree(self.directory)
