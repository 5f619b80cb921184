"""The verdict on a chaos run finds what is wrong: each check is shown a world where it is."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.e2e.chaos import verdict
from tests.e2e.chaos.customers import Customers, Made, Order
from tests.e2e.chaos.plan import Do


class FakeClient:
    """An API and sites that answer what they are told to."""

    def __init__(self, *views: dict[str, Any], sites: dict[str, tuple[int, str]] | None = None) -> None:
        self._views = views
        self._sites = sites or {}

    async def api(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(status_code=200, json=lambda: {"items": list(self._views)})

    async def site(self, instance_id: str, _: str) -> Any:
        status, text = self._sites[instance_id]
        return SimpleNamespace(status_code=status, text=text)


def customers(*made: Made) -> Customers:
    known = Customers(FakeClient(), ["image"])  # type: ignore[arg-type]
    known.made.extend(made)
    return known


def instance(name: str, desired_state: str = "running", generation: int = 2) -> Made:
    return Made(name, desired_state, [Order(Do.CREATE, 1, 0.0), Order(Do.RESTART, generation, 1.0)])


def view(name: str, **overrides: Any) -> dict[str, Any]:
    shown = {"id": name, "generation": 2, "observed_generation": 2, "desired_state": "running", "phase": "running"}
    return {**shown, "reason": None, "message": None, "progress": None, **overrides}


async def findings_of(check: Any) -> list[str]:
    return [finding async for finding in check]


async def test_a_world_as_it_was_asked_for_has_no_findings() -> None:
    asked = customers(instance("a"), instance("b", "deleted"))
    client: Any = FakeClient(view("a"), sites={"a": (200, "a\n"), "b": (404, "")})
    assert await findings_of(verdict.states(client, asked)) == []
    assert await findings_of(verdict.sites(client, asked)) == []


@pytest.mark.parametrize(
    "views",
    [
        pytest.param([], id="lost"),
        pytest.param([view("a"), view("ghost")], id="a ghost"),
        pytest.param([view("a", observed_generation=1)], id="behind"),
        pytest.param([view("a", generation=3, observed_generation=3)], id="a generation that nobody asked for"),
        pytest.param([view("a", phase="failed")], id="failed"),
        pytest.param([view("a", desired_state="stopped", phase="stopped")], id="another state than was accepted"),
    ],
)
async def test_what_is_listed_otherwise_is_found(views: list[dict[str, Any]]) -> None:
    client: Any = FakeClient(*views)
    assert len(await findings_of(verdict.states(client, customers(instance("a"))))) == 1


@pytest.mark.parametrize(
    ("desired_state", "answer"),
    [("running", (200, "b\n")), ("running", (503, "")), ("stopped", (200, "a\n")), ("deleted", (200, "a\n"))],
    ids=["another instance answers", "no answer", "a stopped one answers", "a deleted one answers"],
)
async def test_a_route_that_leads_elsewhere_is_found(desired_state: str, answer: tuple[int, str]) -> None:
    client: Any = FakeClient(sites={"a": answer})
    assert len(await findings_of(verdict.sites(client, customers(instance("a", desired_state))))) == 1


async def test_an_order_ends_with_its_effect_or_with_what_replaced_it() -> None:
    behind, there = instance("a"), instance("b")
    gone = instance("c", "deleted")
    known = customers(behind, there, gone)
    known._client = FakeClient(view("a", observed_generation=1), view("b"))  # type: ignore[assignment]
    await known.look()
    assert [(made, order.generation) for made, order in known.waiting] == [("a", 2)]
