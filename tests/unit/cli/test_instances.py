"""Finding instances by id or name, and waiting until one is what was ordered."""

from typing import Any

import pytest

from clawstead_cli.adapters.api_http import NotThereError, RefusedError
from clawstead_cli.arrival import NotArrivedError, Order, wait
from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import CommandError, UnreachableError, UsageError
from clawstead_cli.instance import Instance
from clawstead_cli.instance_tables import document
from clawstead_cli.instances import Instances, chosen, require_choice
from tests.support.fake_api import FakeApi


def test_an_instance_is_found_by_its_id_and_by_its_name() -> None:
    known = Instances(FakeApi("shop", "blog"))
    shop = known.find("shop")
    assert known.find(shop.id) == shop
    assert shop.name == "shop"


def test_a_name_that_several_have_is_refused_with_their_ids() -> None:
    api = FakeApi("shop", "blog", "shop")
    with pytest.raises(UsageError) as refused:
        Instances(api).find("shop")
    ids = [each["id"] for each in api.instances.values() if each["name"] == "shop"]
    assert all(each in str(refused.value) for each in ids)


@pytest.mark.parametrize("reference", ["nobody", "../plans", "", "01m7zkv5sydnffx2f2g9t4319e"])
def test_what_nobody_is_called_is_not_there(reference: str) -> None:
    api = FakeApi("shop")
    with pytest.raises(NotThereError):
        Instances(api).find(reference)
    assert not [path for path in api.asked if ".." in path]


def test_every_page_is_read() -> None:
    api = FakeApi("a", "b", "c")
    api.page_size = 2
    assert [each.name for each in Instances(api).everyone()] == ["a", "b", "c"]


def test_something_else_in_the_place_of_the_api_is_said() -> None:
    class Other(FakeApi):
        def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
            return {"hello": "world"}

    for ask in (Instances(Other()).everyone, lambda: Instances(Other()).look("x")):
        with pytest.raises(CommandError, match="API"):
            ask()


def test_one_or_all_must_be_chosen_and_what_is_being_deleted_is_left_out() -> None:
    known = Instances(FakeApi("a", "b"))
    known.delete(known.find("a"))
    assert [each.name for each in chosen(known, None)] == ["b"]
    for reference, every in ((None, False), ("b", True)):
        with pytest.raises(UsageError):
            require_choice(reference, every=every)


def test_the_same_order_of_one_run_has_the_same_key_and_another_run_another() -> None:
    api = FakeApi("shop")
    for known in (Instances(api), Instances(api)):
        shop = known.find("shop")
        known.order(shop, "stop")
        known.order(shop, "stop")
    assert len(api.keys) == 4
    assert len(set(api.keys)) == 2


def test_the_gateway_token_is_shown_on_demand_only() -> None:
    shop = Instances(FakeApi("shop")).find("shop")
    assert "gateway-secret" not in str(document(shop))
    assert "gateway-secret" not in repr(shop)
    assert document(shop, show_token=True)["gateway_token"] == "gateway-secret"


def arrived(api: FakeApi, order: Order, seconds: float = 60) -> tuple[Instance | None, list[str]]:
    moves: list[str] = []
    known = Instances(api)
    end = wait(known.look, order, Deadline.after(seconds), lambda seen: moves.append(seen.now), sleep=lambda _: None)
    return end, moves


def test_waiting_ends_when_it_runs_and_shows_the_way() -> None:
    api = FakeApi()
    made = Instances(api).create({"name": "shop"})
    end, moves = arrived(api, Order(made.id, "running", 1))
    assert end is not None
    assert end.phase == "running"
    assert moves == ["provisioning", "starting"]


def test_waiting_for_a_deletion_ends_when_it_is_gone() -> None:
    api = FakeApi("shop")
    known = Instances(api)
    ordered = known.delete(known.find("shop"))
    assert arrived(api, Order(ordered.id, "deleted", ordered.generation)) == (None, ["deleting"])


def test_a_phase_of_an_earlier_generation_is_not_taken_for_the_goal() -> None:
    api = FakeApi("shop")
    known = Instances(api)
    ordered = known.order(known.find("shop"), "restart")
    _, moves = arrived(api, Order(ordered.id, "running", ordered.generation))
    assert moves == ["provisioning", "starting"]


def test_a_failure_ends_the_wait_with_its_reason() -> None:
    api = FakeApi()
    api.fails_with = {"phase": "failed", "reason": "image_missing", "message": "no such image"}
    made = Instances(api).create({"name": "shop"})
    with pytest.raises(NotArrivedError, match=r"image_missing.*no such image"):
        arrived(api, Order(made.id, "running", 1))


def test_another_order_meanwhile_ends_the_wait() -> None:
    api = FakeApi("shop")
    known = Instances(api)
    shop = known.find("shop")
    ordered = known.order(shop, "restart")
    known.order(shop, "stop")
    with pytest.raises(NotArrivedError, match="shall be stopped by now"):
        arrived(api, Order(shop.id, "running", ordered.generation))


def test_what_is_late_says_how_far_it_is_and_what_holds_it() -> None:
    api = FakeApi()
    api.fails_with = {"phase": "starting", "stalled_hint": "the provisioner is away"}
    made = Instances(api).create({"name": "shop"})
    with pytest.raises(NotArrivedError, match="not running in time: provisioning"):
        arrived(api, Order(made.id, "running", 1), seconds=0)


def test_an_api_that_is_away_for_a_while_is_waited_for_and_a_refusal_is_not() -> None:
    api = FakeApi("shop")
    shop = next(iter(api.instances))
    api.errors = [UnreachableError("away")] * 3
    end, _ = arrived(api, Order(shop, "running", 1))
    assert end is not None
    api.errors = [UnreachableError("away")] * 3
    with pytest.raises(UnreachableError):
        arrived(api, Order(shop, "running", 1), seconds=0)
    api.errors = [RefusedError("no")]
    with pytest.raises(RefusedError):
        arrived(api, Order(shop, "running", 1))
