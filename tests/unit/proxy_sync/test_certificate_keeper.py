"""The keeper of the certificate: what is served, when another is ordered, what operators hear and are answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from clawstead_proxy_sync.certificates import keeper as keeper_module
from clawstead_proxy_sync.certificates.failures import CertificateError, Reason
from clawstead_proxy_sync.certificates.keeper import CertificateKeeper
from clawstead_proxy_sync.certificates.order import Source
from clawstead_proxy_sync.errors import EdgeRefusedError
from clawstead_shared.control import CertificateReport, CertificateRequest
from clawstead_shared.errors import HandlingError
from clawstead_shared.messaging.control import RefusedError
from tests.support.fake_certificates import CertificateWorld, make_certificate
from tests.support.wait import wait_until

ISSUED, FAILED, EXPIRES = "certificate.issued", "certificate.failed", "certificate.expires"


@pytest.fixture
def world() -> CertificateWorld:
    return CertificateWorld()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "_PROOF_SECONDS", 0.05)
    monkeypatch.setattr(keeper_module, "_PROOF_STEP_SECONDS", 0.005)
    monkeypatch.setattr(keeper_module, "_LONGEST_SLEEP_SECONDS", 0.01)


async def up() -> None:
    """An edge that runs."""


@asynccontextmanager
async def working(world: CertificateWorld, **options: Any) -> AsyncIterator[CertificateKeeper]:
    keeper = world.keeper(**options)
    task = asyncio.create_task(keeper.run(up))
    yield keeper
    assert not task.done(), task.result()
    task.cancel()
    await asyncio.wait({task})


async def ask(keeper: CertificateKeeper, action: Any = "status", **options: bool) -> CertificateReport:
    async with asyncio.timeout(5):
        return await keeper.answer(CertificateRequest(action=action, **options))


async def settled(world: CertificateWorld, *, orders: int) -> None:
    """Wait until that many orders were made and remembered."""
    await wait_until(lambda: len(world.source.orders) >= orders and world.memory.next_at, timeout=2)


async def test_the_first_certificate_is_ordered_at_once_and_served_and_told(world: CertificateWorld) -> None:
    async with working(world) as keeper:
        await settled(world, orders=1)
        report = await ask(keeper)
    assert world.served == ["local", "1"], "the local one until there is another"
    assert world.told == [(ISSUED, None)]
    assert (report.serial, report.served, report.failure, report.source) == ("1", True, None, "cloudflare")
    assert report.authority == "https://acme-v02.api.letsencrypt.org/directory"
    assert report.next_check_at
    assert abs(report.next_check_at - world.now - timedelta(hours=12)) <= timedelta(hours=1.2)


async def test_a_restart_neither_orders_nor_tells_again(world: CertificateWorld) -> None:
    async with working(world):
        await settled(world, orders=1)
    async with working(world) as keeper:
        assert (await ask(keeper)).serial == "1"
        world.now += timedelta(hours=1)
        await asyncio.wait_for(keeper.look(), 1)
    assert (len(world.source.orders), world.told) == (1, [(ISSUED, None)])


async def test_the_check_comes_round_and_a_certificate_that_is_not_due_is_kept(world: CertificateWorld) -> None:
    async with working(world):
        await settled(world, orders=1)
        world.now += timedelta(hours=14)
        await wait_until(lambda: len(world.source.orders) == 2, timeout=2)
        await wait_until(lambda: world.memory.succeeded_at == world.now, timeout=2)
    assert world.served == ["local", "1"]
    assert world.told == [(ISSUED, None)]


async def test_a_failure_keeps_the_old_one_and_is_told_once_however_often_it_comes(world: CertificateWorld) -> None:
    world.fail(*(CertificateError(Reason.CA_DOWN, "down") for _ in range(3)))
    async with working(world) as keeper:
        for orders, pause in enumerate((timedelta(minutes=3), timedelta(minutes=11)), start=1):
            await settled(world, orders=orders)
            report = await ask(keeper)
            assert report.failure
            assert (report.failure.reason, report.serial, report.authority) == ("ca_down", "local", None)
            world.now += pause
        await settled(world, orders=3)
        world.now += timedelta(hours=2)
        await wait_until(lambda: world.told[-1] == (ISSUED, None), timeout=2)
        await wait_until(lambda: world.memory.failure is None, timeout=2)
    assert world.told == [(FAILED, "ca_down"), (ISSUED, None)]
    assert world.memory.told is None, "another failure is news again"


async def test_a_limit_is_not_asked_again_over_a_restart_nor_for_an_operator(world: CertificateWorld) -> None:
    until = world.now + timedelta(days=2)
    world.fail(CertificateError(Reason.RATE_LIMITED, "too many", retry_at=until))
    async with working(world):
        await settled(world, orders=1)
    async with working(world, settings="changed") as keeper:
        report = await ask(keeper, "issue")
        assert report.failure
        assert (report.failure.reason, report.changed) == ("rate_limited", False)
        world.now += timedelta(days=1)
        assert (await ask(keeper, "renew")).failure
        assert len(world.source.orders) == 1, "nobody was asked"
        assert (await ask(keeper, "renew", force=True)).changed, "an operator may know better"


async def test_a_slip_is_asked_again_at_once(world: CertificateWorld) -> None:
    world.fail(CertificateError(Reason.CA_DOWN, "badNonce", at_once=True))
    async with working(world):
        await wait_until(lambda: world.told, timeout=2)
    assert (world.told, len(world.source.orders)) == ([(ISSUED, None)], 2)


async def test_what_visitors_do_not_see_is_a_failure(world: CertificateWorld) -> None:
    world.blind = True
    async with working(world) as keeper:
        await settled(world, orders=1)
        report = await ask(keeper)
        assert (report.served, world.told) == (False, [(FAILED, "not_served")])
        assert report.failure


async def test_a_certificate_that_the_edge_refuses_is_a_failure_and_offered_again(world: CertificateWorld) -> None:
    async with working(world) as keeper:
        await settled(world, orders=1)
        world.refusals.append(EdgeRefusedError("nginx refuses it"))
        world.source.due = True
        report = await ask(keeper, "renew")
        assert report.failure
        assert report.failure.reason == "not_served"
        await wait_until(lambda: world.served[-1] == "2", timeout=2, what="offered again")


async def test_a_disk_that_takes_nothing_is_a_failure_with_a_reason(world: CertificateWorld) -> None:
    world.fail(OSError(28, "No space left on device"))
    async with working(world):
        await settled(world, orders=1)
    assert world.told == [(FAILED, "storage")]


async def test_a_lost_certificate_is_replaced_by_the_local_one_and_ordered_anew(world: CertificateWorld) -> None:
    async with working(world):
        await settled(world, orders=1)
        world.source.certificate, world.source.due = make_certificate("local", world.now, local=True), True
        await wait_until(lambda: len(world.source.orders) == 2 and world.served[-1] == "2", timeout=2)
    assert world.served == ["local", "1", "local", "2"]


async def test_a_dry_run_changes_nothing_and_its_failure_is_the_askers_alone(world: CertificateWorld) -> None:
    async with working(world) as keeper:
        await settled(world, orders=1)
        before = world.memory
        assert (await ask(keeper, "renew", dry_run=True)).failure is None
        world.fail(CertificateError(Reason.BAD_TOKEN, "no"))
        report = await ask(keeper, "renew", dry_run=True)
        assert report.failure
        assert (report.failure.reason, report.failure.retry_at, report.changed) == ("bad_token", None, False)
        assert (await ask(keeper)).failure is None
    assert (world.memory, world.told, world.served) == (before, [(ISSUED, None)], ["local", "1"])


async def test_one_order_at_a_time_and_a_second_is_told_so(world: CertificateWorld) -> None:
    async with working(world) as keeper:
        await settled(world, orders=1)
        world.source.open.clear()
        first = asyncio.create_task(ask(keeper, "renew", force=True))
        await wait_until(lambda: len(world.source.orders) == 2, timeout=2)
        with pytest.raises(RefusedError, match="being ordered right now") as refused:
            await ask(keeper, "issue")
        assert refused.value.hint
        assert (await ask(keeper)).serial == "1", "the status is always answered"
        world.source.open.set()
        assert (await first).changed


async def test_an_asker_who_goes_away_takes_nothing_with_him(world: CertificateWorld) -> None:
    async with working(world) as keeper:
        await settled(world, orders=1)
        world.source.open.clear()
        asking = asyncio.create_task(ask(keeper, "renew", force=True))
        await wait_until(lambda: len(world.source.orders) == 2, timeout=2)
        asking.cancel()
        await asyncio.wait({asking})
        world.source.open.set()
        await wait_until(lambda: world.served[-1] == "2", timeout=2)
        assert (await ask(keeper, "renew", force=True)).changed, "and the next is answered"


async def test_nothing_is_ordered_before_the_edge_runs(world: CertificateWorld) -> None:
    edge = asyncio.Event()

    async def edge_up() -> None:
        await edge.wait()

    task = asyncio.create_task(world.keeper().run(edge_up))
    await wait_until(lambda: world.served == ["local"], timeout=2)
    assert world.source.orders == []
    edge.set()
    await wait_until(lambda: world.served[-1] == "1", timeout=2)
    task.cancel()
    await asyncio.wait({task})


async def test_the_end_is_told_as_it_comes_nearer_once_each(world: CertificateWorld) -> None:
    async with working(world):
        await settled(world, orders=1)
    keeper = world.keeper()
    for days, told in ((60, 0), (69.5, 1), (70, 1), (83.5, 2), (89.5, 3), (91, 4), (92, 4)):
        world.now = world.source.certificate.facts.not_before + timedelta(days=days)
        await keeper.look()
        keeper = world.keeper()
        assert [kind for kind, _ in world.told].count(EXPIRES) == told
    assert "ended at" in world.notices[-1].message


async def test_the_local_authority_orders_nothing_and_makes_another_only_when_told(world: CertificateWorld) -> None:
    world.source.due = False
    async with working(world, source=Source.LOCAL) as keeper:
        await wait_until(lambda: world.served == ["local"], timeout=2)
        report = await ask(keeper, "renew")
        assert (report.changed, report.failure, report.authority, report.next_check_at) == (False, None, None, None)
        assert (await ask(keeper, "renew", force=True)).changed
    assert [order["force"] for order in world.source.orders] == [False, True]
    assert world.told == [(ISSUED, None)], "the one of the installation itself is no news"


async def test_a_local_one_that_cannot_be_renewed_is_told_once_and_tried_until_it_is(world: CertificateWorld) -> None:
    ends = world.now + timedelta(days=25)
    world.source.certificate = make_certificate("local", ends, local=True, overdue=True)
    world.fail(*(OSError(28, "No space left on device") for _ in range(2)))
    async with working(world, source=Source.LOCAL) as keeper:
        await settled(world, orders=1)
        report = await ask(keeper)
        assert report.failure
        assert (report.serial, report.served, report.failure.reason) == ("local", True, "storage")
        world.now += timedelta(minutes=3)
        await settled(world, orders=2)
        world.source.certificate = make_certificate("renewed", world.now + timedelta(days=397), local=True)
        world.source.due = False
        await wait_until(lambda: world.memory.failure is None, timeout=2, what="told that it is by now")
        assert (await ask(keeper)).serial == "renewed"
        world.now += timedelta(days=1)
        await asyncio.wait_for(keeper.look(), 1)
    assert world.told == [(FAILED, "storage"), (ISSUED, None)]
    assert len(world.source.orders) == 3, "while all is well nothing is ordered"


async def test_whoever_asks_is_told_why_there_is_no_answer(world: CertificateWorld) -> None:
    world.source.unreadable = OSError(5, "Input/output error", "/x/site.pem")
    with pytest.raises(HandlingError, match=r"cannot be found out.*/x/site\.pem"):
        await ask(world.keeper())
