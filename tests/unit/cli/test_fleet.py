"""The fold over the log: the state of any moment, and what differs between two."""

from hypothesis import given
from hypothesis import strategies as st

from clawstead_cli.fleet import Fleet, differences
from clawstead_shared.events import DesiredState, Event, Health, Observed, Payload, Phase, Route, Verdict
from clawstead_shared.events.envelope import EventType
from clawstead_shared.messaging.log import Stored
from clawstead_shared.subjects import Topic
from tests.support.factories import desired_event, make_desired, make_observed, make_spec, observed_event
from tests.support.stored_log import BEGIN, poison, stored

IDS = [f"01j0000000000000000000000{digit}" for digit in "012"]


def event_of(topic: Topic, instance_id: str, number: int) -> Event[Payload]:
    match topic:
        case Topic.DESIRED:
            return desired_event(make_desired(instance_id, generation=number))
        case Topic.OBSERVED:
            return observed_event(make_observed(instance_id, generation=number))
        case Topic.ROUTE:
            route = Route(instance_id=instance_id, generation=number, hostname="x", active=False, map_generation=number)
            return Event(EventType.ROUTE_CHANGED, "proxy-sync", route)
    health = Health(instance_id=instance_id, verdict=Verdict.HEALTHY, since=BEGIN, failures=number)
    return Event(EventType.VERDICT_CHANGED, "health", health)


@st.composite
def logs(draw: st.DrawFn) -> list[Stored]:
    topics = st.sampled_from([Topic.DESIRED, Topic.OBSERVED, Topic.ROUTE, Topic.HEALTH, None])
    kinds = draw(st.lists(st.tuples(topics, st.sampled_from(IDS)), max_size=25))
    return [
        poison(number) if topic is None else stored(event_of(topic, instance_id, number), number)
        for number, (topic, instance_id) in enumerate(kinds, 1)
    ]


def newest(messages: list[Stored]) -> dict[str, int]:
    return {message.subject: message.sequence for message in messages if not message.subject.endswith(".x")}


def folded(fleet: Fleet) -> dict[str, int | None]:
    return {event.subject: event.sequence for one in fleet.instances() for event in one.events.values()}


@given(logs(), st.data())
def test_any_prefix_folds_to_the_newest_of_each_subject(log: list[Stored], data: st.DataObject) -> None:
    prefix = log[: data.draw(st.integers(0, len(log)))]
    fleet = Fleet(prefix)
    assert folded(fleet) == newest(prefix)
    assert set(fleet.unreadable) == {message.sequence for message in prefix if message.subject.endswith(".x")}


@given(logs(), st.randoms())
def test_order_and_repetition_change_nothing(log: list[Stored], chance: object) -> None:
    shuffled = log + log[::2]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert folded(Fleet(shuffled)) == folded(Fleet(log))


@given(logs(), st.data())
def test_two_moments_differ_just_where_their_documents_do(log: list[Stored], data: st.DataObject) -> None:
    before, after = Fleet(log[: data.draw(st.integers(0, len(log)))]), Fleet(log)
    found = {one.id for one in differences(before, after)}
    assert found == {one for one in IDS if before.get(one).fields() != after.get(one).fields()}
    assert differences(after, after) == []


def test_a_row_says_what_was_wanted_and_what_was() -> None:
    desired = make_desired(IDS[0], generation=2, spec=make_spec(IDS[0], name="ada", image="openclaw:2"))
    observed = make_observed(IDS[0], phase=Phase.UPDATING, image={"reference": "openclaw:1"})
    fleet = Fleet([stored(desired_event(desired), 1), stored(observed_event(observed), 2)])
    assert fleet.instances()[0].row() == {
        "id": IDS[0],
        "name": "ada",
        "desired": "running",
        "phase": "updating",
        "generation": 2,
        "observed_generation": 1,
        "image": "openclaw:1",
        "route": None,
        "verdict": None,
    }


def test_what_was_never_observed_is_pending_and_what_is_gone_removed() -> None:
    deleted = make_desired(IDS[1], desired_state=DesiredState.DELETED)
    gone: Observed = make_observed(IDS[1], phase=Phase.REMOVED)
    fleet = Fleet(
        [
            stored(desired_event(make_desired(IDS[0])), 1),
            stored(desired_event(deleted), 2),
            stored(observed_event(gone), 3),
        ]
    )
    assert [(one.row()["phase"], one.removed) for one in fleet.instances()] == [("pending", False), ("removed", True)]


def test_a_difference_names_each_field() -> None:
    before, after = make_desired(IDS[0]), make_desired(IDS[0], generation=2, desired_state=DesiredState.STOPPED)
    log = [stored(desired_event(before), 1), stored(desired_event(after), 2)]
    (changed,) = differences(Fleet(log[:1]), Fleet(log))
    assert [change.text for change in changed.changes] == [
        "desired.generation: 1 -> 2",
        "desired.desired_state: running -> stopped",
    ]
    kinds = [differences(*pair)[0].kind for pair in ((Fleet(), Fleet(log)), (Fleet(log), Fleet()))]
    assert (changed.kind, kinds) == ("changed", ["appeared", "vanished"])
