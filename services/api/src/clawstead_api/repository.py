"""Every query, by what it is for. Each takes the session of its caller's transaction.

A query for an owner's things always names the owner: what is another's does not exist.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import and_, delete, or_, text
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api.errors import InstanceNotFoundError
from clawstead_api.feed import Interest
from clawstead_api.tables import Event, IdempotencyKey, Instance, Secret, Setting, Status
from clawstead_shared.events import DesiredState, Phase
from clawstead_shared.ids import is_instance_id
from clawstead_shared.subjects import Topic

Known = tuple[Instance, Status | None]

_SHOWN = (col(Instance.removed_at).is_(None), col(Instance.hidden_at).is_(None))
_ROUTE_GONE_WITHIN = timedelta(days=1)
_ADMISSION_LOCK = 0x61646D69  # any number of our own, other than those of the relay and the migrations


@dataclass(frozen=True, slots=True)
class Filters:
    """Which instances a list shows; None does not narrow."""

    phase: Phase | None = None
    desired_state: DesiredState | None = None
    plan: str | None = None
    name: str | None = None


async def instance_for(session: AsyncSession, owner_id: str, instance_id: str, *, lock: bool = False) -> Known:
    """Return a living instance and its status; ``lock`` keeps others from changing it until the commit.

    Raises:
        InstanceNotFoundError: the owner has no such instance, or it is removed.
    """
    if not is_instance_id(instance_id):
        raise InstanceNotFoundError
    statement = (
        select(Instance, Status)
        .join(Status, col(Status.instance_id) == col(Instance.id), isouter=True)
        .where(Instance.id == instance_id, Instance.owner_id == owner_id, *_SHOWN)
    )
    row = (await session.exec(statement.with_for_update(of=Instance) if lock else statement)).first()
    if row is None:
        raise InstanceNotFoundError
    return row[0], row[1]


async def instances_of(
    session: AsyncSession, owner_id: str, filters: Filters, *, limit: int, before: str | None
) -> list[Known]:
    """Return at most ``limit`` living instances, newest first, made before the instance ``before``."""
    statement = (
        select(Instance, Status)
        .join(Status, col(Status.instance_id) == col(Instance.id), isouter=True)
        .where(Instance.owner_id == owner_id, *_SHOWN)
        .order_by(col(Instance.id).desc())
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(Instance.id < before)
    if filters.phase is not None:
        statement = statement.where(func.coalesce(Status.phase, Phase.PENDING.value) == filters.phase)
    if filters.desired_state is not None:
        statement = statement.where(Instance.desired_state == filters.desired_state)
    if filters.plan is not None:
        statement = statement.where(Instance.plan == filters.plan)
    if filters.name is not None:
        statement = statement.where(Instance.name == filters.name)
    return [(instance, status) for instance, status in (await session.exec(statement)).all()]


async def subdomain_holder(session: AsyncSession, subdomain: str) -> Instance | None:
    """Return the instance, of any owner, that keeps others from having ``subdomain``; None if it is free.

    That is a living one, or one removed within the last day that the edge still has a route to: whoever came next
    would be reached by another's visitors. Later the word that the route is gone must have been lost.
    """
    still_routed = and_(
        col(Instance.removed_at) > datetime.now(UTC) - _ROUTE_GONE_WITHIN,
        col(Status.route)["active"].as_boolean(),
    )
    statement = (
        select(Instance)
        .join(Status, col(Status.instance_id) == col(Instance.id), isouter=True)
        .where(Instance.subdomain == subdomain, or_(col(Instance.removed_at).is_(None), still_routed))
        .order_by(col(Instance.removed_at).is_not(None))
        .limit(1)
    )
    return (await session.exec(statement)).first()


async def one_admission_at_a_time(session: AsyncSession) -> None:
    """Wait until no other transaction admits, and keep others waiting until the commit."""
    connection = await session.connection()
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyway
        await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _ADMISSION_LOCK})


async def running_besides(session: AsyncSession, instance_id: str) -> tuple[int, float]:
    """Return the sums of the memory in bytes and of the CPUs of all other instances that shall run."""
    statement = select(
        func.coalesce(func.sum(Instance.memory_bytes), 0), func.coalesce(func.sum(Instance.cpus), 0.0)
    ).where(
        Instance.id != instance_id,
        Instance.desired_state == DesiredState.RUNNING,
        col(Instance.removed_at).is_(None),
    )
    memory_bytes, cpus = (await session.exec(statement)).one()
    return int(memory_bytes), float(cpus)


async def count_besides(session: AsyncSession, instance_id: str) -> int:
    """Return how many other instances there are, also such as are still to be removed: each holds a port."""
    statement = select(func.count()).where(Instance.id != instance_id, col(Instance.removed_at).is_(None))
    return (await session.exec(statement)).one()


async def events_after(session: AsyncSession, interest: Interest, sequence: int, limit: int) -> Sequence[Event]:
    """Return at most ``limit`` events after ``sequence``, oldest first."""
    statement = select(Event).where(Event.owner_id == interest.owner_id, Event.sequence > sequence)
    if interest.instance_id:
        statement = statement.where(Event.instance_id == interest.instance_id)
    return (await session.exec(statement.order_by(col(Event.sequence)).limit(limit))).all()


async def history_of(
    session: AsyncSession,
    instance_id: str,
    *,
    limit: int,
    before: int | None = None,
    topic: Topic | None = None,
    since: datetime | None = None,
) -> Sequence[Event]:
    """Return at most ``limit`` events of an instance, newest first, before a sequence, of one topic, since a time."""
    statement = select(Event).where(Event.instance_id == instance_id)
    if before is not None:
        statement = statement.where(Event.sequence < before)
    if topic is not None:
        statement = statement.where(Event.topic == topic)
    if since is not None:
        statement = statement.where(Event.time >= since)
    return (await session.exec(statement.order_by(col(Event.sequence).desc()).limit(limit))).all()


async def events_since(session: AsyncSession, sequence: int) -> Sequence[Event]:
    """Return all events after ``sequence``, oldest first."""
    return (await session.exec(select(Event).where(Event.sequence > sequence).order_by(col(Event.sequence)))).all()


async def newest_sequence(session: AsyncSession) -> int:
    """Return the sequence of the newest stored event, 0 if there is none."""
    return (await session.exec(select(func.max(Event.sequence)))).one() or 0


async def tombstone(session: AsyncSession, instance: Instance, when: datetime) -> None:
    """Record that an instance is gone: its subdomain is free, its secrets are deleted, its id stays taken."""
    instance.removed_at = when
    await session.exec(delete(Secret).where(col(Secret.instance_id) == instance.id))


async def setting(session: AsyncSession, key: str) -> str | None:
    """Return a remembered value."""
    row = await session.get(Setting, key)
    return row.value if row else None


async def remember_setting(session: AsyncSession, key: str, value: str) -> None:
    """Remember ``value``, replacing an earlier one."""
    await session.merge(Setting(key=key, value=value))


async def drop_idempotency_keys(session: AsyncSession, before: datetime) -> None:
    """Forget the idempotency keys that were used before a time."""
    await session.exec(delete(IdempotencyKey).where(col(IdempotencyKey.created_at) < before))
