"""What we ask the Docker engine: are you there, do you have this image, how are our containers? Reads only."""

import json
import os
import socket
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote, urlsplit

from clawstead_cli.errors import MissingError

DEFAULT_HOST = "unix:///var/run/docker.sock"
_TIMEOUT_SECONDS = 10.0
_OK = 200
_NOT_FOUND = 404


class _UnixConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket file."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class DockerEngine:
    """The engine that ``DOCKER_HOST`` names; only a unix socket is asked, since a TCP one needs certificates."""

    def __init__(self) -> None:
        self.host = os.environ.get("DOCKER_HOST") or DEFAULT_HOST

    @property
    def local(self) -> bool:
        """Whether the engine is on a unix socket."""
        return self.host.startswith("unix://")

    def require(self) -> None:
        """Check that the engine answers.

        Raises:
            MissingError: it does not.
        """
        if self._status("/_ping") != _OK:
            raise MissingError(f"the Docker engine at {self.host} is not well", hint="look at its log: dockerd")

    def has_image(self, image: str) -> bool:
        """Say whether the engine has ``image``.

        Raises:
            MissingError: the engine does not answer.
        """
        return self._status(f"/images/{quote(image)}/json") != _NOT_FOUND

    def info(self) -> dict[str, Any]:
        """Return what the engine says of itself.

        Raises:
            MissingError: the engine does not answer.
        """
        found: dict[str, Any] = self._document("/info")
        return found

    def labelled(self, label: str, value: str) -> list[dict[str, Any]]:
        """Return every container with a label, running or not, as the engine inspects it.

        Raises:
            MissingError: the engine does not answer.
        """
        filters = quote(json.dumps({"label": [f"{label}={value}"]}))
        listed = self._document(f"/containers/json?all=1&filters={filters}")
        inspected = (self._document(f"/containers/{each['Id']}/json") for each in listed)
        # One that was removed since is no container any more.
        return [document for document in inspected if document is not None]

    def _document(self, path: str) -> Any:
        status, body = self._answer(path)
        if status == _NOT_FOUND:
            return None
        if status != _OK:
            raise MissingError(f"the Docker engine at {self.host} answers {status} to {path.partition('?')[0]}")
        try:
            return json.loads(body)
        except ValueError as error:
            raise MissingError(f"what is at {self.host} does not answer as a Docker engine") from error

    def _status(self, path: str) -> int:
        return self._answer(path)[0]

    def _answer(self, path: str) -> tuple[int, bytes]:
        connection = _UnixConnection(urlsplit(self.host).path)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except FileNotFoundError as missing:
            raise MissingError(
                f"there is no Docker engine at {self.host}",
                hint="install and start it: `make setup`, or `apt-get install docker.io`; or set DOCKER_HOST",
            ) from missing
        except PermissionError as denied:
            raise MissingError(
                f"this user may not use the Docker engine at {self.host}", hint="run as root, or join group docker"
            ) from denied
        except (OSError, HTTPException) as error:
            raise MissingError(
                f"the Docker engine at {self.host} does not answer ({error})", hint="start it: `make setup`"
            ) from error
        finally:
            connection.close()
