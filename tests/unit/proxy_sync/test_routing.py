"""From observations to claims, and from claims to the table."""

import itertools

import pytest

from clawstead_proxy_sync.errors import UnroutableError
from clawstead_proxy_sync.nginx_map import Page, Upstream
from clawstead_proxy_sync.routing import RouteTable, claim_of
from clawstead_shared.events import Observed, Phase
from clawstead_shared.ids import new_instance_id
from tests.support.factories import make_observed

GATEWAY = Upstream("127.0.0.1", 12345)


@pytest.mark.parametrize(
    ("phase", "page", "ready"),
    [
        (Phase.PROVISIONING, Page.STARTING, False),
        (Phase.STARTING, Page.STARTING, False),
        (Phase.UPDATING, Page.STARTING, False),
        (Phase.RUNNING, Page.STARTING, True),
        (Phase.STOPPING, Page.STOPPED, False),
        (Phase.STOPPED, Page.STOPPED, False),
        (Phase.DELETING, Page.STOPPED, False),
        (Phase.FAILED, Page.FAILED, False),
    ],
)
def test_each_phase_claims_what_its_visitors_should_see(phase: Phase, page: Page, ready: bool) -> None:
    claim = claim_of(make_observed(phase=phase))
    assert claim
    assert (claim.target, claim.page, claim.ready) == (GATEWAY, page, ready), "one port for a whole life"
    assert claim.upstream == (GATEWAY if ready else None)


def test_a_removed_instance_claims_nothing() -> None:
    assert claim_of(make_observed(phase=Phase.REMOVED)) is None


@pytest.mark.parametrize("phase", [Phase.PROVISIONING, Phase.RUNNING])
def test_without_a_port_nothing_is_ready(phase: Phase) -> None:
    claim = claim_of(make_observed(phase=phase, host=None, port=None))
    assert claim
    assert (claim.target, claim.page) == (None, Page.STARTING)
    assert claim.upstream is None


@pytest.mark.parametrize("overrides", [{"host": "evil; include"}, {"subdomain": "default"}])
def test_what_must_not_reach_the_table_is_refused(overrides: dict[str, str]) -> None:
    with pytest.raises(UnroutableError):
        claim_of(make_observed(**overrides))


def put(table: RouteTable, observed: Observed) -> None:
    table.put(observed.instance_id, claim_of(observed))


def test_the_table_names_every_claimed_label_and_forgets_what_is_gone() -> None:
    table = RouteTable()
    first, second = make_observed(), make_observed(phase=Phase.STOPPED)
    put(table, first)
    put(table, second)
    assert table.routes() == {first.subdomain: GATEWAY, second.subdomain: GATEWAY}
    put(table, first.model_copy(update={"phase": Phase.REMOVED}))
    put(table, second.model_copy(update={"subdomain": "renamed"}))
    assert table.routes() == {"renamed": GATEWAY}
    assert table.page("renamed") is Page.STOPPED
    assert table.page(first.subdomain) is None
    assert table.labels() == ["renamed"]


def test_a_newcomer_cannot_take_a_name_over_whatever_the_order() -> None:
    ids = sorted(new_instance_id() for _ in range(2))
    older = make_observed(ids[0], subdomain="blue", phase=Phase.STOPPED)
    newer = make_observed(ids[1], subdomain="blue", port=2)
    for order in itertools.permutations([older, newer]):
        table = RouteTable()
        for observed in order:
            put(table, observed)
        assert table.routes() == {"blue": GATEWAY}
        assert (table.upstream("blue"), table.page("blue")) == (None, Page.STOPPED)


def test_a_name_is_free_for_the_next_while_its_holder_is_deleted() -> None:
    ids = sorted(new_instance_id() for _ in range(2))
    table = RouteTable()
    put(table, make_observed(ids[0], subdomain="blue", phase=Phase.DELETING))
    put(table, make_observed(ids[1], subdomain="blue", port=2))
    assert table.routes() == {"blue": Upstream("127.0.0.1", 2)}
    assert table.claimants("blue") == set(ids)
