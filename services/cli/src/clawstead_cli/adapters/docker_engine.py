"""The two questions we ask the Docker engine before anything starts: are you there, do you have this image?"""

import os
import socket
from http.client import HTTPConnection, HTTPException
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

    def _status(self, path: str) -> int:
        connection = _UnixConnection(urlsplit(self.host).path)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
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
