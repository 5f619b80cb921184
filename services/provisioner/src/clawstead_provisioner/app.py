"""The composition root: the only place that sees both the rules and the adapters."""

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from clawstead_provisioner.adapters.docker_engine import DockerEngine
from clawstead_provisioner.adapters.gateway_http import HttpGateway
from clawstead_provisioner.adapters.host_budget import host_budget, keep_budget_published, publish_budget
from clawstead_provisioner.adapters.sealed_secrets import SealedSecrets, publish_sealing_key
from clawstead_provisioner.background import Background
from clawstead_provisioner.blueprint import Blueprints
from clawstead_provisioner.boot_slots import BootSlots
from clawstead_provisioner.boot_watch import BootWatch
from clawstead_provisioner.config_schema import load_schema
from clawstead_provisioner.crashpoints import Place, arm, crashpoint
from clawstead_provisioner.deadlines import Deadlines
from clawstead_provisioner.departures import Departures
from clawstead_provisioner.engine_lock import acquire_engine
from clawstead_provisioner.engine_watch import watch_answers, watch_engine
from clawstead_provisioner.image_profiles import ImageProfiles, load_profiles
from clawstead_provisioner.observations import Observations
from clawstead_provisioner.orphans import Orphans
from clawstead_provisioner.port_allocation import PortTable, is_free
from clawstead_provisioner.ports import Engine, Gateway, Images, Secrets
from clawstead_provisioner.pulls import Pulls
from clawstead_provisioner.reconcile import Reconciler
from clawstead_provisioner.rehearsal import Rehearsal
from clawstead_provisioner.settings import ProvisionerSettings
from clawstead_provisioner.snapshots import Snapshots
from clawstead_provisioner.spec import Site
from clawstead_provisioner.storage import Storage
from clawstead_provisioner.subscribers import on_desired
from clawstead_provisioner.sweep import Sweep
from clawstead_provisioner.vault import SealingKey
from clawstead_provisioner.work import Patience, Tools
from clawstead_provisioner.work_queue import WorkQueue
from clawstead_provisioner.workspace_scan import Bounds
from clawstead_provisioner.workspaces import Workspaces
from clawstead_shared.hosts import HostBudget
from clawstead_shared.messaging import Bus, EventReader, EventSink, LogWatch
from clawstead_shared.service import Service
from clawstead_shared.streams import PROVISIONER
from clawstead_shared.subjects import Topic

_LONGEST_KILL_SECONDS = 60


class BusPorts(EventSink, EventReader, Protocol):
    """The bus, as the rules see it."""


class EnginePorts(Engine, Images, Protocol):
    """The engine, as the rules see it."""


async def run(service: Service, settings: ProvisionerSettings) -> None:
    """Run the provisioner until cancelled."""
    arm(os.environ)
    lock = await acquire_engine(settings.own_dir / "lock", service.readiness)
    crashpoint(Place.LOCK_TAKEN)
    key = SealingKey.load(settings.own_dir / "seal.key")
    profiles = load_profiles(settings.image_profiles_file)
    for profile in profiles.root:
        load_schema(profile.config.schema_name)
    engine = DockerEngine(
        settings.installation_id,
        timeout_seconds=settings.engine_timeout_seconds,
        pull_timeout_seconds=settings.pull_timeout_seconds,
    )
    async with AsyncExitStack() as stack:
        stack.enter_context(lock)
        background = await stack.enter_async_context(Background())
        reconciler, queue, workspaces = assemble(
            settings,
            bus=service.bus,
            engine=engine,
            gateway=HttpGateway(settings.gateway_host),
            secrets=SealedSecrets(service.bus, key),
            key=key,
            background=background,
            storage=Storage(settings.instances_dir),
            profiles=profiles,
        )
        await stack.enter_async_context(queue)
        plan = Rehearsal(reconciler, queue).plan
        service.bus.consume(PROVISIONER, {Topic.DESIRED: on_desired(queue)}, plan=plan)
        await service.connect()
        log_watch = LogWatch(lambda: service.bus.jetstream)
        await log_watch.look()
        budget = _budget(settings)
        introduce = partial(_introduce, service.bus, key, settings.host_name, budget)
        await introduce()
        since = datetime.now(UTC)
        orphans = Orphans(grace_seconds=settings.orphan_grace_seconds, most_at_once=settings.orphans_per_sweep)
        sweep = Sweep(service.bus, engine, reconciler, queue, service.readiness, orphans=orphans, log_age=log_watch)
        await sweep.boot()
        await service.run(
            watch_engine(engine, reconciler, sweep, service.readiness, since),
            watch_answers(engine, sweep, service.readiness),
            sweep.run(settings.reconcile_interval_seconds),
            workspaces.run(),
            keep_budget_published(service.bus, settings.host_name, budget),
            log_watch.run(partial(_renew, introduce, reconciler)),
        )


def assemble(
    settings: ProvisionerSettings,
    *,
    bus: BusPorts,
    engine: EnginePorts,
    gateway: Gateway,
    secrets: Secrets,
    key: SealingKey,
    background: Background,
    storage: Storage,
    profiles: ImageProfiles,
) -> tuple[Reconciler, WorkQueue, Workspaces]:
    """Put the rules together around the given outside world."""

    async def look(instance_id: str) -> None:
        await reconciler.reconcile(instance_id)

    queue = WorkQueue(look, concurrency=4 * (os.cpu_count() or 1))
    free = partial(is_free, settings.gateway_host)
    slots = BootSlots(settings.boots_at_once)
    bounds = Bounds(settings.workspace_scan_entries, settings.workspace_scan_seconds)
    workspaces = Workspaces(
        settings.instances_dir, queue.submit, interval_seconds=settings.workspace_scan_interval_seconds, bounds=bounds
    )
    ports = PortTable(settings.first_gateway_port, settings.last_gateway_port, free)
    tools = Tools(
        engine=engine,
        images=engine,
        storage=storage,
        snapshots=Snapshots(settings.instances_dir),
        gateway=gateway,
        blueprints=Blueprints(_site(settings), secrets, key, profiles),
        observations=Observations(bus, bus, settings.gateway_host),
        ports=ports,
        departures=Departures(ports, bus, settings.gateway_host),
        background=background,
        pulls=Pulls(engine, background),
        boots=BootWatch(gateway, background, slots),
        slots=slots,
        queue=queue,
        patience=_patience(settings),
        workspaces=workspaces,
    )
    reconciler = Reconciler(tools, bus)
    return reconciler, queue, workspaces


async def _introduce(bus: Bus, key: SealingKey, host: str, budget: HostBudget) -> None:
    await publish_sealing_key(bus, key)
    await publish_budget(bus, host, budget)


async def _renew(introduce: Callable[[], Awaitable[None]], reconciler: Reconciler) -> None:
    await introduce()
    reconciler.renew()


def _budget(settings: ProvisionerSettings) -> HostBudget:
    return host_budget(
        memory_overcommit=settings.memory_overcommit,
        cpu_overcommit=settings.cpu_overcommit,
        ports=settings.last_gateway_port - settings.first_gateway_port + 1,
    )


def _site(settings: ProvisionerSettings) -> Site:
    return Site(
        installation=settings.installation_id,
        host=settings.gateway_host,
        network_pool=settings.network_pool,
        first_port=settings.first_gateway_port,
        instances_source=settings.instances_source,
        stop_timeout_seconds=settings.stop_grace_seconds,
        otlp_endpoint=settings.gateway_otlp_endpoint,
        cpus=os.cpu_count() or 1,
    )


def _patience(settings: ProvisionerSettings) -> Patience:
    return Patience(
        stop=timedelta(seconds=settings.stop_grace_seconds),
        unresponsive_stop=timedelta(seconds=settings.unresponsive_stop_grace_seconds),
        delete=timedelta(seconds=settings.delete_grace_seconds),
        start_seconds=settings.start_timeout_seconds,
        force_seconds=settings.force_delete_seconds,
        deadlines=Deadlines(
            provisioning=settings.provision_deadline_seconds,
            stopping=max(settings.stop_deadline_seconds, settings.stop_grace_seconds + _LONGEST_KILL_SECONDS),
            deleting=settings.delete_deadline_seconds,
        ),
        probation_seconds=settings.probation_seconds,
    )
