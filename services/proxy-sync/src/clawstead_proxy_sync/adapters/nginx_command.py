"""Runs the nginx binary: to test a configuration, or to start the daemon."""

import asyncio
import re
from pathlib import Path

from clawstead_proxy_sync.adapters.port_holder import holder
from clawstead_proxy_sync.errors import EdgeRefusedError, EdgeUnavailableError

_TIMEOUT_SECONDS = 15.0
_TAKEN = re.compile(r"bind\(\) to \S+:(?P<port>\d+) failed \(98")
# nginx would hand our environment, with the bus's password in it, to a process that outlives us.
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class NginxCommand:
    """The binary, always with ``directory`` as working directory and prefix."""

    def __init__(self, binary: str, directory: Path) -> None:
        self._binary = binary
        self._directory = directory

    async def describe(self) -> str:
        """Return what the binary says of how it was built.

        Raises:
            EdgeUnavailableError: nginx is missing or hangs.
        """
        return (await self._run("-V"))[1]

    async def test(self, config: Path) -> None:
        """Check a configuration and all that it includes.

        Raises:
            EdgeRefusedError: nginx would refuse it.
            EdgeUnavailableError: nginx is missing or hangs.
        """
        code, complaint = await self._run("-t", "-q", "-c", self._relative(config))
        if code:
            raise EdgeRefusedError(f"nginx refuses the configuration: {decisive_line(complaint)}")

    async def start(self, config: Path) -> None:
        """Start the daemon. Its sockets are open when this returns; its process id may not be written yet.

        Raises:
            EdgeUnavailableError: it cannot start, for example because a port is taken.
        """
        code, complaint = await self._run("-c", self._relative(config))
        if code:
            why = decisive_line(complaint)
            raise EdgeUnavailableError(f"nginx does not start: {why}{await asyncio.to_thread(_in_the_way, why)}")

    def _relative(self, config: Path) -> str:
        return str(config.relative_to(self._directory))

    async def _run(self, *arguments: str) -> tuple[int, str]:
        try:
            process = await asyncio.create_subprocess_exec(
                self._binary,
                "-p",
                "./",
                *arguments,
                cwd=self._directory,
                env=_ENVIRONMENT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except (FileNotFoundError, PermissionError) as error:
            raise EdgeUnavailableError(
                f"nginx cannot be run ({error}): install Debian's package nginx-light"
            ) from error
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                _, complaint = await process.communicate()
        except TimeoutError as error:
            raise EdgeUnavailableError(f"nginx did not answer within {_TIMEOUT_SECONDS:.0f} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, complaint.decode(errors="replace")


def _in_the_way(complaint: str) -> str:
    taken = _TAKEN.search(complaint)
    if taken is None:
        return ""
    who = holder(int(taken["port"])) or "another process, which root can see with `ss -ltnp`"
    return f"; port {taken['port']} is held by {who}: stop that, or set another port"


def decisive_line(text: str) -> str:
    """Return what nginx finally stumbled over, without time and process."""
    lines = [line for line in text.splitlines() if "[emerg]" in line or "[error]" in line or "[alert]" in line]
    # "still could not bind()" follows the lines that say which address it was.
    telling = [line for line in lines if "still could not" not in line] or lines or text.splitlines()[-1:]
    return telling[-1].partition("] ")[2] or telling[-1] if telling else "no reason given"
