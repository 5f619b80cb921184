"""What is said of repairs when the bus stops answering in the middle of them."""

from collections.abc import AsyncIterator
from typing import cast

import pytest

from clawstead_keeper.ports import Bus
from clawstead_keeper.repairs import Repairs
from clawstead_shared.errors import TransientError
from clawstead_shared.notices import Notice, NoticeKind
from clawstead_shared.topology import Change


class FailingBus:
    """Makes these changes, and then no longer answers if it was told so."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.fails = False

    async def apply(self) -> AsyncIterator[Change]:
        for change in self.changes:
            yield change
        if self.fails:
            raise TransientError("no answer")


class Told(list[Notice]):
    tell = list[Notice].append


async def test_what_was_repaired_before_the_bus_went_away_is_told() -> None:
    bus, told = FailingBus(), Told()
    repairs = Repairs(cast("Bus", bus), told)
    await repairs.round()
    bus.changes, bus.fails = [Change("consumer", "api", "created"), Change("stream", "X", "refused")], True
    with pytest.raises(TransientError):
        await repairs.round()
    assert {(notice.kind, notice.about) for notice in told} == {
        (NoticeKind.BUS_REPAIRED, "api"),
        (NoticeKind.BUS_REFUSED, "X"),
    }
