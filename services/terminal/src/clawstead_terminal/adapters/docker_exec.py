"""Programs in instances, by ``docker exec``.

The engine never ends an exec: not when its connection closes, not when we die, and it has no call for it.
So every program carries its session in its environment, and ``reap`` looks for that mark inside the container.
"""

import asyncio
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from clawstead_terminal.adapters.engine import Engine, RawStream
from clawstead_terminal.errors import EngineError, GoneError
from clawstead_terminal.frames import STDOUT, Demultiplexer
from clawstead_terminal.protocol import Size

INSTANCE_LABEL = "ing.clawstead.instance"
MARK = "CLAWSTEAD_TERMINAL"

_CONTAINER_ID = re.compile(r"[0-9a-f]{12,64}")
# The engine starts an exec with a screen of 0x0 and only then takes a size; a program may look before that.
_SHELL = 'stty rows "$1" cols "$2" 2>/dev/null; command -v bash >/dev/null 2>&1 && exec bash; exec sh'
# The engine detaches on a sequence of keys, which cannot be turned off, and holds back keys that may begin it: with
# the default, ctrl-p (the shell's previous line) would only take effect with the next key. Nobody types this one.
_DETACH_KEYS = ",".join(["ctrl-@", "ctrl-^"] * 8)
_REAP = resources.files(__package__).joinpath("reap.sh").read_text(encoding="utf-8")
_REAP_SECONDS = 5.0
_REAP_TRIES = 8
_REAP_PAUSE_SECONDS = 0.1
_OUTPUT_BYTES = 256 * 1024
_EXIT_LOOKS = 20
_EXIT_LOOK_SECONDS = 0.05


class ExecShell:
    """Keeps the promises of ``Shell``."""

    def __init__(self, engine: Engine, exec_id: str, stream: RawStream) -> None:
        self._engine = engine
        self._exec_id = exec_id
        self._stream = stream
        self.read = stream.read
        self.write = stream.write
        self.close = stream.close

    async def resize(self, size: Size) -> None:
        """See ``Shell.resize``."""
        try:
            await self._engine.call("POST", f"/exec/{self._exec_id}/resize?h={size.rows}&w={size.cols}")
        except GoneError:
            return

    async def exit_code(self) -> int | None:
        """See ``Shell.exit_code``."""
        return await _exit_code(self._engine, self._exec_id)


class DockerExec:
    """Keeps the promises of ``Containers``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def open_shell(self, container_id: str, instance_id: str, session_id: str, size: Size) -> ExecShell:
        """See ``Containers.open_shell``."""
        await self._require_ours(container_id, instance_id)
        command = ["sh", "-c", _SHELL, "clawstead-shell", str(size.rows), str(size.cols)]
        exec_id = await self._create(
            container_id,
            command,
            Tty=True,
            AttachStdin=True,
            DetachKeys=_DETACH_KEYS,
            Env=[_mark(session_id), "TERM=xterm-256color", "COLORTERM=truecolor"],
        )
        stream = await self._engine.upgrade(f"/exec/{exec_id}/start", {"Detach": False, "Tty": True})
        return ExecShell(self._engine, exec_id, stream)

    async def run(self, container_id: str, instance_id: str, session_id: str, command: Sequence[str]) -> str:
        """See ``Containers.run``."""
        await self._require_ours(container_id, instance_id)
        return await self._run(container_id, command, Env=[_mark(session_id)])

    async def reap(self, container_id: str, session_id: str) -> None:
        """See ``Containers.reap``."""
        command = ["sh", "-c", _REAP, "clawstead-reap", _mark(session_id)]
        try:
            async with asyncio.timeout(_REAP_SECONDS):
                await self._reap(container_id, command)
        except GoneError:
            return
        except TimeoutError as error:
            raise EngineError(f"programs still run {_REAP_SECONDS:g} s after they were told to end") from error

    async def _reap(self, container_id: str, command: Sequence[str]) -> None:
        # In a container without a free process id an exec sometimes starts, and sometimes does not.
        for _ in range(_REAP_TRIES - 1):
            try:
                await self._run(container_id, command)
            except GoneError:
                raise
            except EngineError:
                await asyncio.sleep(_REAP_PAUSE_SECONDS)
            else:
                return
        await self._run(container_id, command)

    async def _require_ours(self, container_id: str, instance_id: str) -> None:
        container = await self._engine.call("GET", f"{container_path(container_id)}/json")
        if (container["Config"].get("Labels") or {}).get(INSTANCE_LABEL) != instance_id:
            raise GoneError("the container is not the instance's")
        if not container["State"]["Running"]:
            raise GoneError("the container does not run")

    async def _create(self, container_id: str, command: Sequence[str], **options: Any) -> str:
        body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, **options}
        created = await self._engine.call("POST", f"{container_path(container_id)}/exec", body)
        return str(created["Id"])

    async def _run(self, container_id: str, command: Sequence[str], **options: Any) -> str:
        exec_id = await self._create(container_id, command, **options)
        stream = await self._engine.upgrade(f"/exec/{exec_id}/start", {"Detach": False, "Tty": False})
        try:
            output = await _stdout_of(stream)
        finally:
            await stream.close()
        code = await _exit_code(self._engine, exec_id)
        if code != 0:
            raise EngineError(f"{command[0]} exited with {code}")
        return output.decode(errors="replace")


async def _exit_code(engine: Engine, exec_id: str) -> int | None:
    # The stream may end a moment before the engine has noted the end of the process.
    for _ in range(_EXIT_LOOKS):
        try:
            details = await engine.call("GET", f"/exec/{exec_id}/json")
        except GoneError:
            return None
        if not details["Running"]:
            code: int | None = details["ExitCode"]
            return code
        await asyncio.sleep(_EXIT_LOOK_SECONDS)
    return None


async def _stdout_of(stream: RawStream) -> bytes:
    frames, output = Demultiplexer(), bytearray()
    while data := await stream.read():
        output += b"".join(content for channel, content in frames.feed(data) if channel == STDOUT)
        if len(output) + frames.pending > _OUTPUT_BYTES:
            raise EngineError("the command wrote too much")
    return bytes(output)


def container_path(container_id: str) -> str:
    """Return where the engine's API has a container.

    Raises:
        GoneError: that cannot be the id of one.
    """
    if not _CONTAINER_ID.fullmatch(container_id):
        raise GoneError(f"not a container id: {container_id!r}")
    return f"/containers/{container_id}"


def _mark(session_id: str) -> str:
    return f"{MARK}={session_id}"
