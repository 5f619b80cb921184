"""The control server of nginx: changes the routes that all workers share.

On a socket in a folder that lets nobody else in; in the machine's nginx on a port, with a key from such a folder.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from clawstead_proxy_sync.adapters.status import StatusAddress, connect
from clawstead_proxy_sync.errors import EdgeRefusedError, EdgeUnavailableError, UnroutableError
from clawstead_proxy_sync.nginx_map import RouteMap, Upstream

Changes = Mapping[str, Upstream | None]
"""Where names lead from now on; None for nowhere."""

MOST_CHANGES = 5000
"""At once; nginx keeps a request's body in memory up to a megabyte."""

_TIMEOUT_SECONDS = 3.0
_LOAD_SECONDS = 15.0
_OK = 200
_FULL = 507


class Control:
    """The routes as nginx has them in memory."""

    def __init__(self, address: StatusAddress, key_file: Path | None = None) -> None:
        self._address = address
        self._key_file = key_file

    def there(self) -> bool:
        """Say whether there may be somebody to talk to."""
        return not isinstance(self._address, Path) or self._address.exists()

    async def change(self, before: int, after: int, changes: Changes) -> None:
        """Change single lines of generation ``before``, which makes it ``after``.

        Raises:
            EdgeRefusedError: they do not fit in.
            EdgeUnavailableError: nginx has another generation, or did not answer: nobody knows what it has.
        """
        body = "".join(f"{label} {upstream or '-'}\n" for label, upstream in changes.items())
        await self._post(f"/change?from={before}&to={after}", body, _TIMEOUT_SECONDS)

    async def load(self, generation: int) -> None:
        """Replace all lines by those of the stored map, which has this generation. Raises as ``change`` does."""
        await self._post(f"/load?to={generation}", "", _LOAD_SECONDS)

    async def table(self) -> RouteMap | None:
        """Return what nginx has, None if that is not whole.

        Raises:
            EdgeUnavailableError: it does not answer, or what it has are no routes.
        """
        status, text = await self._ask("GET", "/table", "", _LOAD_SECONDS)
        if status != _OK:
            raise EdgeUnavailableError(f"nginx does not show its routes: {status}")
        generation, *lines = text.splitlines()
        if not generation.isdecimal():
            return None
        try:
            found = dict(line.split(" ") for line in lines)
            return RouteMap(int(generation), {label: Upstream.parse(it) for label, it in found.items()})
        except (ValueError, UnroutableError) as error:
            raise EdgeUnavailableError(f"what nginx has are no routes: {error}") from error

    async def _post(self, target: str, body: str, seconds: float) -> None:
        status, text = await self._ask("POST", target, body, seconds)
        if status == _FULL:
            raise EdgeRefusedError(f"the routes do not fit into nginx's memory: {text}")
        if status != _OK:
            raise EdgeUnavailableError(f"nginx does not take the routes: {status} {text}")

    async def _ask(self, method: str, target: str, body: str, seconds: float) -> tuple[int, str]:
        length = f"Content-Length: {len(body)}"
        try:
            async with asyncio.timeout(seconds):
                key = f"X-Clawstead-Key: {self._key_file.read_text()}\r\n" if self._key_file else ""
                reader, writer = await connect(self._address)
                try:
                    writer.write(f"{method} {target} HTTP/1.0\r\nHost: control\r\n{key}{length}\r\n\r\n{body}".encode())
                    head, _, text = (await reader.read()).decode(errors="replace").partition("\r\n\r\n")
                finally:
                    writer.close()
            return int(head.split(" ")[1]), text
        except (OSError, TimeoutError, ValueError, IndexError) as error:
            raise EdgeUnavailableError(f"nginx does not answer on its control socket: {error!r}") from error
