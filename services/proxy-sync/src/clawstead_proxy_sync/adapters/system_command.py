"""What proxy-sync may do to the machine's nginx: have it read its files again, and nothing else."""

import asyncio
import os
import pwd
import shutil
from pathlib import Path

from clawstead_proxy_sync.adapters.nginx_command import decisive_line
from clawstead_proxy_sync.errors import EdgeUnavailableError

PID_FILE = Path("/run/nginx.pid")
_TIMEOUT_SECONDS = 15.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def reload_command(binary: str) -> tuple[str, str, str]:
    """Return the one command that the rule of sudo lets through: an absolute path, and no choice of arguments."""
    return shutil.which(binary, path=_PATH) or f"/usr/sbin/{Path(binary).name}", "-s", "reload"


class SystemCommand:
    """Reloads the machine's nginx: directly as root, else through sudo, which never asks for a password."""

    def __init__(self, binary: str, *, install: str) -> None:
        self._reload = reload_command(binary)
        self._install = install

    async def reload(self) -> None:
        """Have it begin to read its files again.

        Raises:
            EdgeUnavailableError: sudo or nginx refuses; what to type then is in the message.
        """
        command = self._reload if os.geteuid() == 0 else ("sudo", "-n", *self._reload)
        code, said = await _run(command)
        if code == 0:
            return
        if "sudo:" in said:
            user = pwd.getpwuid(os.geteuid()).pw_name
            raise EdgeUnavailableError(
                f"sudo does not let {user} reload nginx: type `{self._install}` ({said.splitlines()[-1]})"
            )
        raise EdgeUnavailableError(f"the machine's nginx refuses its configuration: {decisive_line(said)}")


async def _run(command: tuple[str, ...]) -> tuple[int, str]:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={"PATH": _PATH},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise EdgeUnavailableError(f"{command[0]} cannot be run ({error}): install Debian's package of it") from error
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            _, said = await process.communicate()
    except TimeoutError as error:
        raise EdgeUnavailableError(f"{command[0]} did not answer within {_TIMEOUT_SECONDS:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said.decode(errors="replace").strip()
