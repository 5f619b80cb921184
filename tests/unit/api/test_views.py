"""What clients see, and what they never do."""

from datetime import UTC, datetime, timedelta

from clawstead_api.tables import Instance, Status
from clawstead_api.views import instance_detail, instance_view, public_data
from clawstead_shared.events import Event, EventType, Phase, SecretRef, Terminal
from clawstead_shared.ids import new_instance_id
from clawstead_shared.settings import EdgeSettings
from tests.support.factories import (
    desired_event,
    make_desired,
    make_observed,
    make_spec,
    observed_event,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
EDGE = EdgeSettings(domain="example.test", https_port=443)


def make_instance(instance_id: str) -> Instance:
    return Instance(
        id=instance_id,
        owner_id="me",
        name="claw",
        plan="pro",
        subdomain="ada",
        desired_state="running",
        generation=3,
        spec=make_spec(instance_id, subdomain="ada").model_dump(mode="json"),
        cpus=0.5,
        memory_bytes=256 * 1024**2,
        secret_revision=1,
        created_at=NOW,
        updated_at=NOW,
    )


def make_status(instance_id: str, **fields: object) -> Status:
    observed = make_observed(instance_id, **fields)
    return Status(
        instance_id=instance_id,
        phase=observed.phase,
        observed=observed.model_dump(mode="json"),
        updated_at=NOW + timedelta(seconds=5),
    )


def test_before_the_first_observation_an_instance_is_pending() -> None:
    view = instance_view(make_instance(new_instance_id()), None, EDGE)
    assert (view.phase, view.observed_generation, view.health, view.route_active) == (Phase.PENDING, None, None, False)
    assert view.url == "https://ada.example.test"
    assert view.updated_at == NOW


def test_an_observation_shows_how_far_it_is() -> None:
    instance_id = new_instance_id()
    status = make_status(instance_id, phase=Phase.STARTING, generation=2)
    view = instance_view(make_instance(instance_id), status, EDGE)
    assert (view.phase, view.generation, view.observed_generation) == (Phase.STARTING, 3, 2)
    assert view.updated_at == NOW + timedelta(seconds=5)


def test_the_token_and_the_port_are_in_the_detail_alone() -> None:
    instance_id = new_instance_id()
    status = make_status(instance_id, port=12345)
    instance = make_instance(instance_id)
    assert not {"gateway_token", "port"} & set(instance_view(instance, status, EDGE).model_dump())
    detail = instance_detail(instance, status, EDGE, gateway_token="secret")
    assert (detail.gateway_token, detail.port) == ("secret", 12345)


def test_a_field_of_a_newer_version_does_no_harm() -> None:
    instance_id = new_instance_id()
    status = make_status(instance_id)
    status.observed = {**(status.observed or {}), "from_the_future": 1}
    assert instance_view(make_instance(instance_id), status, EDGE).phase is Phase.RUNNING


def test_events_show_no_internals() -> None:
    desired = make_desired(secrets=SecretRef(key="k", revision=1))
    assert public_data(desired_event(desired)) == {
        "generation": 1,
        "desired_state": "running",
        "actor": "test",
        "plan": "free",
    }
    observed = make_observed(container_id="abc", image_digest="sha256:x", message="hello")
    assert public_data(observed_event(observed)) == {
        "generation": 1,
        "phase": "running",
        "message": "hello",
        "restart_count": 0,
    }
    session = Terminal(
        instance_id=desired.instance_id,
        session_id="s",
        owner_id="me",
        remote="192.0.2.1",
        opened_at=NOW,
        open_sessions=1,
    )
    assert "owner_id" not in public_data(Event(EventType.SESSION_OPENED, "terminal", session))
