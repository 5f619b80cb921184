"""When a delivered message may be taken for the newest: only as long as nothing later can have come."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nats.aio.msg import Msg

from clawstead_shared.events import encode
from clawstead_shared.messaging.delivery import read
from tests.support.factories import make_observed, observed_event


def delivered(*, age: float = 0.0, pending: int = 0, count: int = 1) -> Msg:
    event = observed_event(make_observed())
    headers, body = encode(event)
    stored = datetime.now(UTC) - timedelta(seconds=age)
    reply = f"$JS.ACK.CLAWSTEAD.proxy-sync.{count}.7.9.{int(stored.timestamp() * 1e9)}.{pending}"
    client: Any = None
    return Msg(client, event.subject, reply, body, headers)


def test_what_came_at_once_with_nothing_behind_it_is_the_last_word() -> None:
    event = read(delivered())
    assert (event.newest, event.sequence) == (True, 7)


@pytest.mark.parametrize(
    "told", [{"age": 2.0}, {"age": -2.0}, {"pending": 1}, {"count": 2}], ids=["late", "other clock", "more", "again"]
)
def test_anything_else_may_have_been_followed_by_another(told: dict[str, Any]) -> None:
    assert not read(delivered(**told)).newest
