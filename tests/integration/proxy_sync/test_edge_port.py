"""What every ``Edge`` promises, on nginx and on the fake that unit tests trust."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clawstead_proxy_sync.errors import UnroutableError
from clawstead_proxy_sync.nginx_map import Page, Routes, Upstream
from clawstead_proxy_sync.ports import Edge
from tests.integration.proxy_sync.conftest import make_edge, make_settings
from tests.support.fake_edge import FakeEdge

HERE, THERE = Upstream("127.0.0.1", 1), Upstream("127.0.0.1", 2)


@pytest.fixture(params=["fake", "map", "live"])
async def stopped(request: pytest.FixtureRequest, tmp_path: Path) -> Edge:
    """An edge that does not run yet."""
    if request.param == "fake":
        return FakeEdge()
    return await make_edge(make_settings(tmp_path, edge_routing=request.param))


@pytest.fixture
async def edge(stopped: Edge) -> AsyncIterator[Edge]:
    """A running edge."""
    reports: list[str | None] = []
    task = asyncio.create_task(stopped.run(reports.append))
    await asyncio.wait_for(stopped.up(), 20)
    assert reports == [None]
    yield stopped
    task.cancel()
    await asyncio.wait({task}, timeout=10)


async def test_a_published_table_is_the_served_one_and_newer_than_all_before(edge: Edge) -> None:
    generations = [edge.served.generation if edge.served else 0]
    tables: list[Routes] = [{"a": HERE}, {"a": HERE, "b": THERE}, {}]
    for routes in tables:
        table = await edge.publish(routes)
        assert table.routes == routes
        assert edge.served == table
        generations.append(table.generation)
    assert generations == sorted(set(generations))
    assert await edge.intact()


@pytest.mark.parametrize("label", ["default", "a;b", "~^.", "x" * 64])
async def test_a_hostile_label_is_refused_and_the_table_stays(edge: Edge, label: str) -> None:
    before = await edge.publish({"a": HERE})
    with pytest.raises(UnroutableError):
        await edge.publish({"a": HERE, label: HERE})
    assert edge.served == before
    assert await edge.intact()


async def test_gates_open_and_close_and_doing_so_again_is_success(edge: Edge) -> None:
    for _ in range(2):
        edge.open_gate("a")
    assert edge.open_gates() == {"a"}
    for _ in range(2):
        edge.close_gate("a")
    assert edge.open_gates() == set()


async def test_a_closed_gate_says_which_page_answers(edge: Edge) -> None:
    edge.close_gate("a", Page.STARTING)
    edge.close_gate("b", Page.FAILED)
    edge.close_gate("a", Page.STOPPED)
    assert edge.pages() == {"a": Page.STOPPED, "b": Page.FAILED}
    edge.close_gate("a")
    assert edge.pages() == {"b": Page.FAILED}


async def test_a_line_is_changed_at_once_or_left_to_the_next_table(edge: Edge) -> None:
    table = await edge.publish({"a": HERE, "gone": HERE})
    at_once = await edge.lead("a", THERE)
    assert await edge.lead("gone", None) == await edge.lead("new", HERE) == at_once
    assert edge.served
    if at_once:
        assert edge.served.generation > table.generation
        assert edge.served.routes == {"a": THERE, "new": HERE}
    else:
        assert edge.served == table
    assert edge.stored == table, "a line alone is on no disk yet"
    assert (await edge.publish({"a": THERE, "new": HERE})).routes == {"a": THERE, "new": HERE}
    assert edge.stored == edge.served
    assert await edge.lead("a", THERE), "done already is success"


@pytest.mark.parametrize("label", ["default", "a b", "_generation"])
async def test_a_hostile_line_is_refused_and_the_others_stay(edge: Edge, label: str) -> None:
    table = await edge.publish({"a": HERE})
    with pytest.raises(UnroutableError):
        await edge.lead(label, THERE)
    assert edge.served == table


async def test_a_hostile_gate_is_never_made(edge: Edge) -> None:
    with pytest.raises(UnroutableError):
        edge.open_gate("../routes")
    assert edge.open_gates() == set()


async def test_concurrent_publications_end_in_one_of_them_whole(edge: Edge) -> None:
    tables = await asyncio.gather(edge.publish({"a": HERE}), edge.publish({"b": HERE}))
    assert edge.served in tables
    assert len({table.generation for table in tables}) == 2
    assert await edge.intact()
