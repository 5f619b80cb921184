"""When certbot is asked again: twice a day, soon after what may pass, never before a limit ends."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clawstead_proxy_sync.certificates.failures import LASTING, CertificateError, Reason
from clawstead_proxy_sync.certificates.schedule import (
    BUSY_RETRIES,
    BUSY_RETRY,
    RETRIES,
    Memory,
    Terms,
    after_failure,
    after_success,
    alarm_level,
    due,
    is_news,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
INTERVAL = timedelta(hours=12)


def terms(now: datetime = NOW, **changes: Any) -> Terms:
    return Terms(now, **{"settings": "s", "interval": INTERVAL, "jitter": 0.0, **changes})


def fail(memory: Memory, reason: Reason, now: datetime = NOW, retry_at: datetime | None = None) -> Memory:
    return after_failure(memory, CertificateError(reason, "it failed", retry_at=retry_at), terms(now))


def test_the_first_check_is_due_at_once_and_the_next_half_a_day_later() -> None:
    assert due(Memory(), terms())
    memory = after_success(Memory(), terms())
    assert not due(memory, terms(NOW + timedelta(hours=11)))
    assert due(memory, terms(NOW + timedelta(hours=12)))


def test_installations_do_not_all_come_at_once() -> None:
    spread = {after_success(Memory(), terms(jitter=jitter)).next_at for jitter in (-1.0, 0.0, 1.0)}
    assert spread == {NOW + INTERVAL + timedelta(minutes=minutes) for minutes in (-72, 0, 72)}


def test_what_may_pass_is_tried_again_ever_later_and_then_at_the_next_check() -> None:
    memory, now, pauses = Memory(), NOW, []
    for _ in range(len(RETRIES) + 2):
        memory = fail(memory, Reason.CA_DOWN, now)
        assert memory.next_at
        pauses.append(memory.next_at - now)
        now = memory.next_at
    assert pauses == [*RETRIES, INTERVAL, RETRIES[0]]


def test_retries_never_wait_longer_than_the_regular_check() -> None:
    error = CertificateError(Reason.CA_DOWN, "down")
    memory = after_failure(Memory(), error, terms(interval=timedelta(seconds=5)))
    assert memory.next_at == NOW + timedelta(seconds=5)


@pytest.mark.parametrize("reason", sorted(LASTING))
def test_what_somebody_must_put_right_is_not_asked_again_until_the_next_check(reason: Reason) -> None:
    assert fail(Memory(), reason).next_at == NOW + INTERVAL


def test_a_fault_is_tried_again_at_once_when_the_settings_changed() -> None:
    memory = fail(Memory(), Reason.BAD_TOKEN)
    assert not due(memory, terms())
    assert due(memory, terms(settings="another token"))


def test_a_limit_holds_over_restarts_and_changed_settings() -> None:
    until = NOW + timedelta(days=2)
    memory = Memory.model_validate_json(fail(Memory(), Reason.RATE_LIMITED, retry_at=until).model_dump_json())
    assert memory.failure
    assert memory.failure.retry_at == memory.next_at == until
    assert not due(memory, terms(until - timedelta(seconds=1), settings="other"))
    assert due(memory, terms(until))


def test_a_limit_that_names_no_time_holds_until_the_next_check() -> None:
    assert fail(Memory(), Reason.RATE_LIMITED).next_at == NOW + INTERVAL


def test_a_busy_folder_is_tried_soon_and_not_for_ever() -> None:
    memory = Memory()
    for _ in range(BUSY_RETRIES):
        memory = fail(memory, Reason.BUSY)
        assert memory.next_at == NOW + BUSY_RETRY
        assert not is_news(memory), "an earlier certbot ends by itself"
    memory = fail(memory, Reason.BUSY)
    assert (memory.next_at, is_news(memory)) == (NOW + INTERVAL, True)


def test_a_time_that_a_wrong_clock_wrote_is_not_waited_for() -> None:
    assert due(Memory(next_at=NOW + timedelta(days=400), settings="s"), terms())


def test_a_success_forgets_the_failure_and_what_was_told_of_it() -> None:
    failed = fail(Memory(announced="a", warned=("a", 1)), Reason.CA_DOWN).model_copy(update={"told": "ca_down"})
    memory = after_success(failed, terms())
    assert (memory.failure, memory.told, memory.retries, memory.succeeded_at) == (None, None, 0, NOW)
    assert (memory.announced, memory.warned) == ("a", ("a", 1))


def test_a_failure_is_news_once_per_reason() -> None:
    memory = fail(Memory(), Reason.CA_DOWN)
    assert is_news(memory)
    told = memory.model_copy(update={"told": Reason.CA_DOWN.value})
    assert not is_news(fail(told, Reason.CA_DOWN))
    assert is_news(fail(told, Reason.POLICY))


@pytest.mark.parametrize(
    ("life", "left", "level"),
    [
        (90, 22, None),
        (90, 21, 0),
        (90, 7, 1),
        (90, 1, 2),
        (90, 0, 3),
        (90, -5, 3),
        (397, 22, None),
        (397, 20, 0),
        (6, 2, None),
        (6, 1.3, 0),
    ],
)
def test_the_alarm_comes_nearer_and_suits_short_lives(life: int, left: float, level: int | None) -> None:
    end = NOW + timedelta(days=left)
    assert alarm_level(end - timedelta(days=life), end, NOW) == level
