"""Gathered publishing: at once when quiet, few reloads in a storm, urgent when a route must not wait."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

import pytest

from clawstead_proxy_sync.nginx_map import RouteMap, Upstream
from clawstead_proxy_sync.publisher import MapPublisher
from clawstead_shared.errors import TransientError
from tests.support.fake_edge import FakeEdge
from tests.support.wait import wait_until

HERE, THERE = Upstream("127.0.0.1", 1), Upstream("127.0.0.1", 2)
LONG = timedelta(hours=1)


class Bench:
    """A publisher at work on a fake edge, and the table that it should publish."""

    def __init__(self, interval: timedelta, check: timedelta) -> None:
        self.edge = FakeEdge()
        self.wanted: dict[str, Upstream] = {}
        self.publisher = MapPublisher(self.edge, lambda: dict(self.wanted), interval=interval, check=check)

    def want(self, **routes: Upstream) -> None:
        self.wanted.update(routes)
        self.publisher.wake()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the edge from finishing a publication."""
        self.edge.publishing.clear()
        yield
        self.edge.publishing.set()


@asynccontextmanager
async def working(*, interval: timedelta = timedelta(milliseconds=1), check: timedelta = LONG) -> AsyncIterator[Bench]:
    bench = Bench(interval, check)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(bench.edge.run(lambda _: None)), group.create_task(bench.publisher.run())]
        await bench.edge.up()
        yield bench
        for task in tasks:
            task.cancel()


async def test_a_change_is_published_at_once_when_it_was_quiet() -> None:
    async with working(interval=LONG) as bench:
        bench.want(a=HERE)
        await wait_until(lambda: bench.edge.published, timeout=1)
        assert bench.edge.published == [RouteMap(2, {"a": HERE})]


async def test_changes_in_quick_succession_are_gathered() -> None:
    async with working(interval=timedelta(milliseconds=200)) as bench:
        bench.want(a=HERE)
        await wait_until(lambda: bench.edge.published)
        for number in range(50):
            bench.want(**{f"a{number}": HERE})
            await asyncio.sleep(0)
        await wait_until(lambda: len(bench.edge.published) > 1)
        assert bench.edge.published[1].routes == bench.wanted


async def test_draining_workers_slow_the_next_publication_down() -> None:
    async with working(interval=timedelta(milliseconds=20)) as bench:
        bench.want(a=HERE)
        await wait_until(lambda: bench.edge.published)
        bench.edge.draining = 5
        begun = asyncio.get_running_loop().time()
        bench.want(b=HERE)
        await wait_until(lambda: len(bench.edge.published) > 1)
        assert asyncio.get_running_loop().time() - begun >= 0.1


async def test_where_another_table_would_end_connections_only_an_urgent_one_comes_before_they_ended() -> None:
    async with working() as bench:
        bench.want(a=HERE)
        await wait_until(lambda: bench.edge.published)
        bench.edge.crowded = True
        bench.want(b=HERE)
        await asyncio.sleep(0.05)
        assert len(bench.edge.published) == 1
        await bench.publisher.settled()
        assert len(bench.edge.published) == 2
        bench.want(c=HERE)
        bench.edge.crowded = False
        await wait_until(lambda: len(bench.edge.published) == 3)


async def test_an_urgent_change_does_not_wait_its_turn() -> None:
    async with working(interval=LONG) as bench:
        bench.want(a=HERE)
        await wait_until(lambda: bench.edge.published)
        bench.want(b=HERE)
        await asyncio.wait_for(bench.publisher.settled(), 1)
        assert bench.edge.served
        assert bench.edge.served.routes == {"a": HERE, "b": HERE}


async def test_nothing_is_published_when_nothing_changed() -> None:
    async with working() as bench:
        await asyncio.wait_for(bench.publisher.settled(), 1)
        assert bench.edge.published == []


async def test_settled_means_a_table_newer_than_the_question() -> None:
    async with working() as bench:
        with bench.held():
            bench.want(a=HERE)
            await asyncio.sleep(0.02)
            bench.want(b=HERE)
            settled = asyncio.create_task(bench.publisher.settled())
            await asyncio.sleep(0.02)
        await asyncio.wait_for(settled, 1)
        assert bench.edge.served
        assert "b" in bench.edge.served.routes


async def test_a_damaged_table_is_published_again() -> None:
    async with working(check=timedelta(milliseconds=20)) as bench:
        await bench.publisher.settled()
        bench.edge.damaged = True
        await wait_until(lambda: bench.edge.published)
        assert not bench.edge.damaged


async def test_an_unknown_table_is_published_again() -> None:
    async with working(check=timedelta(milliseconds=20)) as bench:
        await bench.publisher.settled()
        bench.edge.served = None
        await wait_until(lambda: bench.edge.served)


async def test_a_refused_table_is_tried_again_and_whoever_waits_is_told() -> None:
    async with working() as bench:
        bench.edge.refusals = 1
        bench.want(a=HERE)
        with pytest.raises(TransientError, match="told to refuse"):
            await bench.publisher.settled()
        await wait_until(lambda: bench.edge.published)


async def test_a_label_leads_elsewhere_only_if_a_worker_has_another_upstream_for_it() -> None:
    async with working() as bench:
        bench.edge.served = RouteMap(5, {"a": HERE})
        assert not bench.publisher.leads_elsewhere("a", HERE)
        assert bench.publisher.leads_elsewhere("a", THERE)
        bench.edge.stored = RouteMap(4, {"b": HERE})
        assert bench.publisher.leads_elsewhere("b", THERE), "after a loss of power"
        assert not bench.publisher.leads_elsewhere("missing", THERE)
        bench.edge.served = None
        assert bench.publisher.leads_elsewhere("a", HERE)


async def test_a_table_on_its_way_counts_as_served() -> None:
    async with working() as bench:
        with bench.held():
            bench.want(a=HERE)
            await wait_until(lambda: bench.publisher.leads_elsewhere("a", THERE))


async def test_before_anybody_said_what_the_table_should_be_the_one_that_is_served_stays() -> None:
    async with working(check=timedelta(milliseconds=5)) as bench:
        bench.edge.served = RouteMap(7, {"a": HERE})
        await asyncio.sleep(0.05)
        assert bench.edge.published == []
        bench.want(a=HERE, b=THERE)
        await wait_until(lambda: bench.edge.published)
