"""Puts orders that wait in the outbox on top of what the log turned out to know.

They were accepted on an older copy of the database: their generations, and their places in the audit chain, are
taken. Each is given the next of both, in its old order. An order for an instance that was deleted is dropped.
"""

from collections.abc import Mapping

import structlog
from sqlalchemy import exists
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api import audit
from clawstead_api.adoption import Logged, take_over
from clawstead_api.database import Database
from clawstead_api.outbox import SOURCE, Action
from clawstead_api.sealing import withdrawn
from clawstead_api.tables import Audit, Instance, Outbox, Secret
from clawstead_shared.events import Desired, DesiredState, Event, EventType, SecretRef

log = structlog.get_logger()


async def reorder(database: Database, logged: Mapping[str, Logged], *, default_image: str) -> None:
    """Give every waiting order whose record is not in the chain its new place, all in one transaction.

    Raises:
        DatabaseUnavailableError: the database did not answer; nothing is changed.
    """
    async with database.write() as session:
        statement = select(Outbox).where(
            Outbox.action == Action.PUBLISH,
            col(Outbox.quarantined_at).is_(None),
            ~exists().where(col(Audit.event_id) == col(Outbox.event_id)),
        )
        for row in (await session.exec(statement.order_by(col(Outbox.id)))).all():
            desired = Desired.read((row.payload or "").encode())
            if desired.audit is not None:
                await _put_on_top(session, row, desired, logged.get(row.instance_id), default_image)


async def _put_on_top(
    session: AsyncSession, row: Outbox, desired: Desired, known: Logged | None, default_image: str
) -> None:
    instance = await session.get_one(Instance, row.instance_id)
    if instance.removed_at is not None or _revives(desired, instance):
        log.error("order dropped, the instance was deleted meanwhile", instance_id=row.instance_id)
        await session.delete(row)
        return
    if known and known.desired.generation >= desired.generation:
        desired = desired.model_copy(
            update={"generation": instance.generation + 1, "secrets": _secrets(desired, instance, row.sealed)}
        )
        take_over(instance, desired, row.created_at, default_image=default_image)
        if row.sealed:
            secret = await session.get_one(Secret, row.instance_id)
            secret.sealed, secret.gateway_token = withdrawn(row.sealed)
            secret.revision = instance.secret_revision
    event = Event(EventType(row.event_type or ""), SOURCE, desired, id=row.event_id or "", time=row.created_at)
    link = await audit.chain(session, event)
    row.payload = desired.model_copy(update={"audit": link}).model_dump_json()
    await session.flush()
    log.warning("order put on top of the log", instance_id=row.instance_id, generation=desired.generation)


def _revives(desired: Desired, instance: Instance) -> bool:
    return instance.wanted is DesiredState.DELETED and desired.desired_state is not DesiredState.DELETED


def _secrets(desired: Desired, instance: Instance, sealed: bytes | None) -> SecretRef:
    return SecretRef(key=desired.instance_id, revision=instance.secret_revision + (1 if sealed else 0))
