"""What operators may see beyond their own instances, and what an owner may read of an instance's own output."""

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import col, select

from clawstead_api import audit_check, repository
from clawstead_api.audit_views import AuditPage, AuditVerdict, entry_of
from clawstead_api.auth import ADMIN
from clawstead_api.desk import Caller, Desk
from clawstead_api.errors import NotFoundError
from clawstead_api.tables import Audit, Secret
from clawstead_shared.control import InstanceLogs, LogsRequest

_MASK = "[hidden]"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records of the audit chain are shown; None does not narrow."""

    actor: str | None = None
    instance_id: str | None = None
    since: datetime | None = None


async def audit_page(desk: Desk, caller: Caller, wanted: Wanted, *, limit: int, before: int | None) -> AuditPage:
    """Return a page of the audit chain, newest first.

    Raises:
        ApiError: the caller is no operator, or the database is away.
    """
    _require_operator(caller)
    statement = select(Audit)
    if wanted.actor is not None:
        statement = statement.where(Audit.actor == wanted.actor)
    if wanted.instance_id is not None:
        statement = statement.where(Audit.instance_id == wanted.instance_id)
    if wanted.since is not None:
        statement = statement.where(Audit.time >= wanted.since)
    if before is not None:
        statement = statement.where(Audit.number < before)
    async with desk.database.read() as session:
        rows = (await session.exec(statement.order_by(col(Audit.number).desc()).limit(limit + 1))).all()
    items = [entry_of(row) for row in rows[:limit]]
    return AuditPage(items=items, next_before=items[-1].number if len(rows) > limit else None)


async def audit_verdict(desk: Desk, caller: Caller) -> AuditVerdict:
    """Check the audit chain.

    Raises:
        ApiError: the caller is no operator, or the database is away.
    """
    _require_operator(caller)
    return await audit_check.verify(desk.database, desk.archive)


async def logs(desk: Desk, caller: Caller, instance_id: str, *, tail: int) -> InstanceLogs:
    """Return the newest lines that an instance's container wrote, without its gateway token.

    Raises:
        ApiError: there is no such instance, the database is away, or the terminal service does not answer.
    """
    async with desk.database.read() as session:
        _, status = await repository.instance_for(session, caller.owner_id, instance_id)
        secret = await session.get(Secret, instance_id)
    observed = status.observation if status else None
    container_id = observed.container_id if observed else None
    found = await desk.output.read(LogsRequest(instance_id=instance_id, container_id=container_id, tail=tail))
    token = desk.vault.unlock(secret.gateway_token) if secret else None
    return found if token is None else _without(token, found)


def _without(token: str, found: InstanceLogs) -> InstanceLogs:
    lines = [line.model_copy(update={"text": line.text.replace(token, _MASK)}) for line in found.lines]
    return found.model_copy(update={"lines": tuple(lines)})


def _require_operator(caller: Caller) -> None:
    if caller.owner_id != ADMIN:
        raise NotFoundError("there is nothing at this address")
