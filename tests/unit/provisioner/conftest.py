"""A provisioner on fakes: nothing outside this process, nothing that waits."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.fake_bus import FakeBus
from tests.support.fake_engine import FakeEngine
from tests.support.profiles import PROFILES
from tests.support.provisioner_rig import FakeGateway, FakeSecrets, Rig, provisioner


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with provisioner(
        tmp_path,
        bus=FakeBus(),
        engine=FakeEngine(),
        gateway=FakeGateway(),
        secrets=FakeSecrets(),
        profiles=PROFILES,
        installation="test",
        orphan_grace_seconds=0,
    ) as assembled:
        yield assembled
