"""What operators see of the bus, on a real server."""

from clawstead_cli import bus_state
from clawstead_cli.deadline import Deadline
from clawstead_cli.settings import BusAddress
from clawstead_shared.messaging import Bus
from clawstead_shared.notices import Notice, NoticeKind
from clawstead_shared.streams import DEAD_LETTER_STREAM, STATE_STREAM
from clawstead_shared.subjects import dead_letter_subject
from tests.support.factories import desired_event, make_desired
from tests.support.nats_server import NatsServer


async def test_an_untouched_bus_is_declared_and_nobody_is_behind(bus: Bus, nats_server: NatsServer) -> None:
    found = await bus_state.look(BusAddress(nats_server.url), Deadline.after(5))
    assert all(row.declared for row in found.streams)
    assert all(row.declared for row in found.consumers)
    assert {row.oldest_pending_seconds for row in found.consumers} == {None}
    assert (found.dead_letters, found.notices) == (0, [])


async def test_who_is_behind_is_told_with_the_age_of_the_oldest(bus: Bus, nats_server: NatsServer) -> None:
    for generation in (1, 2):
        await bus.publish(desired_event(make_desired(generation=generation)))
    subscription = await bus.jetstream.pull_subscribe_bind("provisioner", STATE_STREAM)
    (first,) = await subscription.fetch(1)
    await first.ack_sync()
    found = await bus_state.look(BusAddress(nats_server.url), Deadline.after(5))
    by_name = {row.name: row for row in found.consumers}
    assert (by_name["api"].pending, by_name["provisioner"].pending, by_name["health"].pending) == (2, 1, 0)
    ages = [by_name["api"].oldest_pending_seconds, by_name["provisioner"].oldest_pending_seconds]
    assert ages[0] is not None
    assert ages[1] is not None
    assert ages[0] > ages[1] >= 0
    assert by_name["health"].oldest_pending_seconds is None


async def test_dead_letters_count_for_who_gave_them_up_and_notices_for_a_day(bus: Bus, nats_server: NatsServer) -> None:
    for _ in range(2):
        subject = dead_letter_subject("health", desired_event(make_desired()).subject)
        await bus.jetstream.publish(subject, b"\xff", stream=DEAD_LETTER_STREAM)
    notice = Notice(kind=NoticeKind.BUS_REPAIRED, about="health", message="it was gone")
    await bus.jetstream.publish(notice.subject, notice.model_dump_json().encode())
    await bus.jetstream.publish(notice.subject, b"poison")
    found = await bus_state.look(BusAddress(nats_server.url), Deadline.after(5))
    assert {row.name: row.dead_letters for row in found.consumers if row.dead_letters} == {"health": 2}
    assert found.dead_letters == 2
    assert found.notices == [notice]
