"""The API over TLS, with a certificate that the installation's own authority signed."""

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from clawstead_cli.adapters.api_http import ApiHttp, NotThereError, RefusedError
from clawstead_cli.errors import UnreachableError, UsageError
from clawstead_proxy_sync.adapters.local_ca import LocalAuthority


class Answers(BaseHTTPRequestHandler):
    """Answers with the status that the path names, and tells what it was asked."""

    def do_GET(self) -> None:
        status = int(self.path.rpartition("/")[2].partition("?")[0])
        body = {"path": self.path, "token": self.headers["Authorization"], "detail": "so it is"}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"<html>" if self.path.startswith("/broken") else json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


@pytest.fixture
async def certificate(tmp_path: Path) -> Path:
    return (await LocalAuthority(tmp_path, "claw.localhost").current()).chain


@pytest.fixture
def port(certificate: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_local_authority_is_trusted_and_its_names_are_found(tmp_path: Path, port: int) -> None:
    api = ApiHttp(f"https://claw.localhost:{port}", "t", [tmp_path / "ca.pem"])
    answer = api.get("/instances/200", limit=5, cursor=None)
    assert (answer["path"], answer["token"]) == ("/api/v1/instances/200?limit=5", "Bearer t")
    full = ApiHttp(f"https://claw.localhost:{port}/api/v1/", "t", [tmp_path / "ca.pem"])
    assert full.get("/200")["path"] == "/api/v1/200"


def test_an_authority_that_is_not_known_is_not_trusted(tmp_path: Path, port: int) -> None:
    with pytest.raises(UnreachableError, match="certificate") as refused:
        ApiHttp(f"https://claw.localhost:{port}", "t", [tmp_path / "none.pem"]).get("/200")
    assert "--data-dir" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, UsageError),
        (404, NotThereError),
        (409, RefusedError),
        (422, RefusedError),
        (429, UnreachableError),
        (500, UnreachableError),
        (503, UnreachableError),
    ],
)
def test_a_refusal_says_why_and_whether_to_come_back(
    tmp_path: Path, port: int, status: int, error: type[Exception]
) -> None:
    api = ApiHttp(f"https://claw.localhost:{port}", "t", [tmp_path / "ca.pem"])
    with pytest.raises(error, match="so it is"):
        api.get(f"/{status}")


def test_what_is_no_api_is_unreachable(tmp_path: Path, port: int) -> None:
    api = ApiHttp(f"https://claw.localhost:{port}/broken", "t", [tmp_path / "ca.pem"])
    with pytest.raises(UnreachableError, match="not as an API"):
        api.get("/200")
