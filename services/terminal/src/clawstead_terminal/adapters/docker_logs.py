"""What an instance's container wrote, read from the engine; bounded in lines, bytes and time."""

from clawstead_shared.control import InstanceLogs
from clawstead_terminal.adapters.docker_exec import INSTANCE_LABEL, container_path
from clawstead_terminal.adapters.engine import Engine
from clawstead_terminal.errors import GoneError
from clawstead_terminal.frames import STDOUT, Demultiplexer
from clawstead_terminal.log_text import Tail

INSTALLATION_LABEL = "ing.clawstead.installation"
_SECONDS = 8.0


class DockerLogs:
    """Keeps the promises of ``Output``."""

    def __init__(self, engine: Engine, installation: str | None) -> None:
        self._engine = engine
        self._installation = installation

    async def tail(self, container_id: str, instance_id: str, lines: int) -> InstanceLogs:
        """See ``Output.tail``."""
        path = container_path(container_id)
        container = await self._engine.call("GET", f"{path}/json")
        labels = container["Config"].get("Labels") or {}
        theirs = self._installation not in {None, labels.get(INSTALLATION_LABEL)}
        if labels.get(INSTANCE_LABEL) != instance_id or theirs:
            raise GoneError("the container is not the instance's")
        tail, frames, rest = Tail(), Demultiplexer(), bytearray()

        def take(data: bytes) -> None:
            if container["Config"].get("Tty"):
                *whole, last = bytes(rest + data).split(b"\n")
                rest[:] = last
                entries = [(STDOUT, entry) for entry in whole]
            else:
                entries = frames.feed(data)
            for channel, entry in entries:
                tail.take(channel, entry)

        query = f"stdout=1&stderr=1&timestamps=1&tail={lines}"
        await self._engine.feed(f"{path}/logs?{query}", take, timeout=_SECONDS)
        return tail.result()
