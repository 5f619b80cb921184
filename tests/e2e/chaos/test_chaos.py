"""Thirty customers change their minds while everything around them is killed, frozen and lied to.

``CLAWSTEAD_CHAOS_SECONDS`` makes it longer, ``CLAWSTEAD_CHAOS_SEED`` has other operations and faults: those of
another run, or with ``random`` those that no run had before.
"""

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import docker
import httpx
import pytest
from nats.errors import Error as NatsError

from clawstead_shared.streams import CONSUMERS
from tests.e2e.bus import connected
from tests.e2e.chaos import verdict
from tests.e2e.chaos.customers import API_KEY, BOT_TOKEN, Customers
from tests.e2e.chaos.plan import Plan, make_plan
from tests.e2e.chaos.report import report
from tests.e2e.chaos.saboteur import NGINX, Saboteur
from tests.e2e.conftest import require_image
from tests.e2e.engine import Engine
from tests.e2e.platform import SERVICES, TOKEN, EdgeClient, Platform
from tests.e2e.seed import chosen_seed
from tests.support.factories import STANDIN_IMAGE
from tests.support.registry import Registry
from tests.support.wait import wait_until

SECONDS = float(os.environ.get("CLAWSTEAD_CHAOS_SECONDS", "75"))
SEED = chosen_seed()
SETTLE_SECONDS = 150
EDGE_SECONDS = 30
"""Until lines without a use have left the table: reloads are spread out while old workers drain.

And until an old observation that was stored again is answered by the provisioner's next sweep: the edge follows it.
"""
REDELIVERY_SECONDS = EDGE_SECONDS + max(consumer.ack_wait.total_seconds() for consumer in CONSUMERS)
"""Until somebody else gets the message that one was handed when it was killed."""
PROCESSES = (*SERVICES, "nats", NGINX)
TELLS_ITS_NAME = (
    "#!/bin/sh\nmkdir -p /home/node/site\ncp /srv/* /home/node/site/\nhostname > /home/node/site/hostname\n"
    "exec httpd -f -p 0.0.0.0:18789 -h /home/node/site -c /etc/httpd.conf\n"
)


@pytest.fixture
def stormy(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Platform]:
    """A platform of this test's own: what it goes through is nothing for others."""
    require_image(STANDIN_IMAGE)
    installation = f"chaos-{uuid.uuid4().hex[:12]}"
    platform = Platform(
        tmp_path_factory.mktemp("chaos"),
        image=STANDIN_IMAGE,
        CLAWSTEAD_INSTALLATION=installation,
        CLAWSTEAD_PROBATION_SECONDS="2",
        CLAWSTEAD_MEMORY_OVERCOMMIT="50",
        CLAWSTEAD_CPU_OVERCOMMIT="100",
        CLAWSTEAD_RECONCILE_INTERVAL_SECONDS="15",
    )
    try:
        platform.up()
        yield platform
    finally:
        platform.down()
        engine.remove_leftovers(installation)


@pytest.fixture
def images(stormy: Platform, registry: Registry) -> list[str]:
    """Two versions of a gateway that answers with its own name; asked for after the platform, removed before it."""
    for tag in ("a", "b"):
        registry.push(f"chaos-{tag}", TELLS_ITS_NAME)
    return [f"{registry.repository}:chaos-{tag}" for tag in ("a", "b")]


async def storm(plan: Plan, customers: Customers, saboteur: Saboteur) -> None:
    """Carry the plan out; every part at its time, however long the parts before it take."""
    began = time.monotonic()

    async def at(moment: float, act: Any) -> None:
        await asyncio.sleep(max(began + moment - time.monotonic(), 0))
        await act()

    async with asyncio.TaskGroup() as tasks:
        for operation in plan.operations:
            tasks.create_task(at(operation.at, lambda operation=operation: customers.perform(operation)))
        for strike in plan.strikes:
            tasks.create_task(at(strike.at, lambda strike=strike: saboteur.strike(strike)))


async def settled(customers: Customers) -> float:
    """Wait until everything that was asked for is there; return the seconds that it took."""
    began = time.monotonic()
    with contextlib.suppress(AssertionError):  # what is not there in time is told with everything else
        await wait_until(lambda: not customers.waiting, timeout=SETTLE_SECONDS)
    return time.monotonic() - began


@contextlib.asynccontextmanager
async def running(*background: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(coroutine) for coroutine in background]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def settles(condition: Callable[[], Awaitable[bool]], seconds: float = EDGE_SECONDS) -> None:
    """Wait for a condition; what is not there in time is told with everything else."""

    async def met() -> bool:
        # What was struck last may be on its way back yet, and a file be replaced while it is read.
        with contextlib.suppress(httpx.TransportError, NatsError, OSError):
            return await condition()
        return False

    with contextlib.suppress(AssertionError):
        await wait_until(met, timeout=seconds)


async def nothing_in(check: AsyncIterator[str]) -> bool:
    return not [finding async for finding in check]


async def findings(*checks: AsyncIterator[str]) -> list[str]:
    return [finding for check in checks async for finding in check]


@pytest.mark.timeout(SECONDS + 400)
async def test_whatever_happens_everything_ends_as_it_was_asked_for(
    stormy: Platform, images: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(SEED, SECONDS, PROCESSES)
    with capsys.disabled():
        print(f"\nchaos: seed {SEED}, {SECONDS:.0f} s; again with CLAWSTEAD_CHAOS_SEED={SEED}")
    since = datetime.now(UTC)
    engine = docker.from_env(timeout=60)
    async with (
        stormy.client() as client,
        connected(stormy) as operator,
        connected(stormy, "api") as api,
        connected(stormy, "provisioner") as provisioner,
    ):
        customers = Customers(client, images)
        saboteur = Saboteur(
            stormy.data_dir,
            reader=operator,
            writers={"desired": api, "observed": provisioner},
            instance_of=customers.instance_of,
        )
        async with running(customers.watch()):
            await storm(plan, customers, saboteur)
            seconds = await settled(customers)
            await settles(lambda: nothing_in(verdict.edge(stormy.data_dir, customers)))
            await settles(lambda: verdict.caught_up(operator), REDELIVERY_SECONDS)
            await settles(lambda: nothing_in(verdict.sites(client, customers)))
        with capsys.disabled():
            print(report(plan, customers.orders, saboteur, seconds))
        installation = stormy.environment["CLAWSTEAD_INSTALLATION"]
        tokens = await gateway_tokens(client, customers)
        logs = list((stormy.data_dir / "logs").glob("*.log*"))
        found = await findings(
            verdict.states(client, customers),
            verdict.sites(client, customers),
            verdict.objects(operator, engine, installation, stormy.data_dir, customers),
            verdict.secrets_kept(operator, customers),
            verdict.nothing_lost(operator, customers),
            verdict.dead_letters(operator, saboteur.poisoned),
            verdict.rebuilds(operator),
            verdict.secrecy(operator, engine, installation, logs, since, {TOKEN, BOT_TOKEN, API_KEY, *tokens}),
        )
    engine.close()
    assert not found, f"seed {SEED}:\n" + "\n".join(found)


async def gateway_tokens(client: EdgeClient, customers: Customers) -> list[str]:
    bodies = [await client.instance(made.id) for made in customers.living]
    return [body["gateway_token"] for body in bodies]
