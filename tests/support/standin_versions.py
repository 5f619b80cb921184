"""Further versions of the stand-in gateway, as small images on top of it."""

import io
import tarfile
import uuid
from typing import Any

import docker

from tests.support.factories import STANDIN_IMAGE

_NODE = "/usr/local/bin/node"
_PAGE = "/srv/index.html"


class StandinVersions:
    """Images that a test makes, all removed by ``close``."""

    def __init__(self, engine: docker.DockerClient) -> None:
        self._engine = engine
        self._tags: list[str] = []

    def make(self, page: str) -> str:
        """Make a version that works and shows ``page``; return its tag."""
        return self._build({_PAGE: (page.encode(), 0o644)})

    def make_broken(self, ending: str = "exit 1") -> str:
        """Make a version that changes its config directory, then does ``ending`` instead of serving."""
        script = f"#!/bin/sh\necho migrated > /home/node/.openclaw/migrated\necho broken version >&2\n{ending}\n"
        return self._build({_NODE: (script.encode(), 0o755)})

    def close(self) -> None:
        """Remove what was made."""
        for tag in self._tags:
            self._engine.images.remove(tag, force=True)

    def _build(self, files: dict[str, tuple[bytes, int]]) -> str:
        tag = f"clawstead-standin:{uuid.uuid4().hex[:12]}"
        copies = "".join(f"COPY {path.lstrip('/')} {path}\n" for path in files)
        files = {"Dockerfile": (f"FROM {STANDIN_IMAGE}\n{copies}".encode(), 0o644), **files}
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as archive:
            for path, (content, mode) in files.items():
                member = tarfile.TarInfo(path.lstrip("/"))
                member.size, member.mode = len(content), mode
                archive.addfile(member, io.BytesIO(content))
        context.seek(0)
        options: dict[str, Any] = {"fileobj": context, "custom_context": True, "tag": tag, "rm": True}
        self._engine.images.build(**options)
        self._tags.append(tag)
        return tag
