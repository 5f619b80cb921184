"""What nginx says about itself on its status server, where nobody from outside can ask."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from clawstead_proxy_sync.errors import EdgeUnavailableError

StatusAddress = Path | tuple[str, int]
"""A socket in a folder, or host and port."""

_TIMEOUT_SECONDS = 1.0
_REQUEST = b"GET /generation HTTP/1.0\r\nHost: status\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Serving:
    """Which table a worker serves, and which configuration."""

    generation: int
    revision: str


async def serving(address: StatusAddress) -> Serving:
    """Ask one worker what it serves.

    Raises:
        EdgeUnavailableError: nginx did not answer, or its table is not whole.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            answer = await _get(address)
        generation, revision = answer.split()
        return Serving(int(generation), revision)
    except (OSError, TimeoutError, ValueError) as error:
        raise EdgeUnavailableError(f"nginx does not say what it serves: {error}") from error


async def _get(address: StatusAddress) -> str:
    reader, writer = await connect(address)
    try:
        writer.write(_REQUEST)
        response = await reader.read()
    finally:
        writer.close()
    return response.partition(b"\r\n\r\n")[2].decode(errors="replace")


async def connect(address: StatusAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to a port, or to a socket however deep its folder is.

    Raises:
        OSError: nobody listens there.
    """
    if not isinstance(address, Path):
        return await asyncio.open_connection(*address)
    # A socket address holds 108 bytes, so a deep folder is reached through its descriptor.
    directory = os.open(address.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{directory}/{address.name}")
    finally:
        os.close(directory)
