"""An image registry (Docker Registry HTTP API v2) on loopback, which engines use without TLS.

It serves versions of the stand-in: the layers of the local image with one more on top.
"""

import hashlib
import io
import json
import tarfile
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_CHUNK = 16 * 1024
NAME = "clawstead-standin"

_START = "#!/bin/sh\necho {version} > /home/node/.openclaw/state\n"
SERVES = f"{_START}exec httpd -f -p 0.0.0.0:18789 -h /srv -c /etc/httpd.conf\n"
BREAKS = f"{_START}echo 'fatal error: cannot migrate' >&2\nexit {{code}}\n"
HANGS = f"{_START}exec sleep 3600\n"
"""Versions that change the state at their start, then serve, end, or never get ready."""


@dataclass
class Registry:
    """One registry; use as a context manager."""

    base: bytes
    """What ``docker save`` says of the stand-in."""
    bytes_per_second: int | None = None
    """How fast blobs are sent; as fast as can be if None."""
    failing: bool = False
    """Answers every request with an error."""
    requests: list[str] = field(default_factory=list)
    images: set[str] = field(default_factory=set)
    """Ids of the images that were ever pushed: what an engine may have pulled."""
    _blobs: dict[str, bytes] = field(default_factory=dict)
    _manifests: dict[str, bytes] = field(default_factory=dict)

    def __enter__(self) -> "Registry":
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                registry._answer(self, with_body=False)

            def do_GET(self) -> None:
                registry._answer(self, with_body=True)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="registry", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def repository(self) -> str:
        """The repository's name, as an engine needs it."""
        return f"127.0.0.1:{self._server.server_port}/{NAME}"

    def push(self, tag: str, script: str, *, version: str = "", code: int = 1, ballast: int = 0) -> str:
        """Let ``tag`` name a stand-in that starts with ``script``; return the image's id."""
        version = version or tag
        layers, config = _unpacked(self.base)
        files = {
            "usr/local/bin/node": script.format(version=version, code=code).encode(),
            "srv/version": version.encode(),
            "srv/ballast": hashlib.shake_128(version.encode()).digest(ballast),
        }
        layers.append(_layer(files))
        config["rootfs"]["diff_ids"] = [_digest(layer) for layer in layers]
        config["author"] = self.repository  # so that no other registry has the same image
        config["history"] = [{"created_by": "a test"}] * len(layers)
        document = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._described(_CONFIG, document),
            "layers": [self._described(_LAYER, layer) for layer in layers],
        }
        content = json.dumps(manifest).encode()
        self._manifests[tag] = self._manifests[_digest(content)] = content
        self.images.add(_digest(document))
        return _digest(document)

    def _described(self, media_type: str, content: bytes) -> dict[str, Any]:
        self._blobs[_digest(content)] = content
        return {"mediaType": media_type, "size": len(content), "digest": _digest(content)}

    def _answer(self, request: BaseHTTPRequestHandler, *, with_body: bool) -> None:
        path = request.path.removeprefix("/v2/")
        self.requests.append(f"{request.command} {path}")
        kind, _, name = path.removeprefix(f"{NAME}/").partition("/")
        known = {"manifests": self._manifests, "blobs": self._blobs}.get(kind, {})
        content = b"{}" if not path else known.get(name)
        if self.failing:
            request.send_response(503)
            content = b'{"errors":[{"code":"UNAVAILABLE","message":"the registry is told to fail"}]}'
        elif content is None:
            request.send_response(404)
            content = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such image"}]}'
        else:
            request.send_response(200)
            request.send_header("Docker-Content-Digest", _digest(content))
        request.send_header("Content-Type", _MANIFEST if kind == "manifests" else "application/json")
        request.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if with_body:
            self._send(request, content, slowly=kind == "blobs")

    def _send(self, request: BaseHTTPRequestHandler, content: bytes, *, slowly: bool) -> None:
        try:
            for start in range(0, len(content), _CHUNK):
                request.wfile.write(content[start : start + _CHUNK])
                if slowly and self.bytes_per_second:
                    time.sleep(_CHUNK / self.bytes_per_second)
        except OSError:
            request.close_connection = True  # the engine ended the pull


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _unpacked(saved: bytes) -> tuple[list[bytes], dict[str, Any]]:
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:

        def read(name: str) -> bytes:
            member = archive.extractfile(name)
            assert member
            return member.read()

        (described,) = json.loads(read("manifest.json"))
        return [read(name) for name in described["Layers"]], json.loads(read(described["Config"]))


def _layer(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
