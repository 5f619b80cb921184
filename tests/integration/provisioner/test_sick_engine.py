"""An engine that answers, but only with faults: what asks it all the time bears that."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from clawstead_provisioner.adapters.docker_engine import DockerEngine
from clawstead_provisioner.errors import EngineUnavailableError


@pytest.fixture
async def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DockerEngine]:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/version":
            return web.json_response({"ApiVersion": "1.41", "MinAPIVersion": "1.12"})
        return web.json_response({"message": "the engine is shutting down"}, status=503)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "engine.sock")).start()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'engine.sock'}")
    yield DockerEngine("test")
    await runner.cleanup()


async def test_a_faulty_answer_to_what_is_never_refused_counts_as_an_outage(engine: DockerEngine) -> None:
    with pytest.raises(EngineUnavailableError, match="shutting down"):
        await engine.ping()
    with pytest.raises(EngineUnavailableError, match="shutting down"):
        await engine.list()
