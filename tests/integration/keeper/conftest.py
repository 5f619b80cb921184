"""A keeper's parts on a real nats-server."""

import pytest

from clawstead_keeper.adapters.nats_bus import NatsBus
from clawstead_shared.messaging import Bus
from clawstead_shared.notices import Notice, NoticeKind


class Told:
    """A noticeboard that remembers."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def tell(self, notice: Notice) -> None:
        self.notices.append(notice)

    def of(self, kind: NoticeKind) -> list[Notice]:
        return [notice for notice in self.notices if notice.kind is kind]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def nats_bus(bus: Bus) -> NatsBus:
    return NatsBus(bus)
