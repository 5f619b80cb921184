"""Two-way recovery: what the database lost comes back from the log, what the log lost from the database.

    look whether it is the same log -> compare every instance -> adopt what the log knows better
    -> fill the history and the audit chain -> put orders that wait on top -> secrets -> republish

Repeating it is harmless, and it ends at once where both sides agree. Runs at every start before events are
consumed, when the log or the secrets turn out to be made anew, and when an operator asks.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api import audit, outbox, repository
from clawstead_api.adoption import Logged, Verdict, decide, new_row, take_over
from clawstead_api.desires import desired_of
from clawstead_api.desk import Desk
from clawstead_api.errors import DatabaseUnavailableError
from clawstead_api.outbox import Action
from clawstead_api.ports import SecretStore
from clawstead_api.projector import Projector
from clawstead_api.reordering import reorder
from clawstead_api.sealing import deposited, withdrawn
from clawstead_api.tables import Instance, Outbox, Secret
from clawstead_shared.control import ResyncReport
from clawstead_shared.errors import TransientError
from clawstead_shared.events import (
    Desired,
    DesiredState,
    Event,
    EventType,
    MalformedEventError,
    Observed,
    Payload,
    Phase,
)
from clawstead_shared.ids import new_event_id
from clawstead_shared.messaging import EventReader, Stored
from clawstead_shared.subjects import Topic

log = structlog.get_logger()

_PAGE = 500
_AT_ONCE = 100
_WATCH_SECONDS = 5.0


class Recovery:
    """Brings database and log together."""

    def __init__(self, desk: Desk, projector: Projector, reader: EventReader, secrets: SecretStore) -> None:
        self._desk = desk
        self._database = desk.database
        self._archive = desk.archive
        self._projector = projector
        self._reader = reader
        self._secrets = secrets
        self._turn = asyncio.Lock()
        self._secrets_made: datetime | None = None

    async def answer(self, _: bytes) -> ResyncReport:
        """Answer ``resync``; see ``recover``.

        Raises:
            TransientError: the bus did not answer.
            DatabaseUnavailableError: the database did not answer.
        """
        return await self.recover()

    async def recover(self) -> ResyncReport:
        """Compare everything and mend what differs.

        Raises:
            TransientError: the bus did not answer; what was mended before stays.
            DatabaseUnavailableError: the database did not answer; likewise.
        """
        async with self._turn:
            await self._projector.numbering.look()
            made = await self._secrets.created()
            logged = await self._logged()
            verdicts = await self._verdicts(logged)
            deposits = {instance_id: sealed async for instance_id, sealed in self._secrets.deposits()}
            adopted = [instance_id for instance_id, verdict in verdicts.items() if verdict is Verdict.ADOPT]
            # First what is gone, so that its subdomain is free; then the oldest, which keeps a contested one.
            adopted.sort(key=lambda instance_id: (logged[instance_id].removed_at is None, instance_id))
            await self._adopt(adopted, logged, deposits)
            filled = await self._fill_history()
            await reorder(self._database, logged, default_image=self._desk.image)
            secrets = await self._deposit(deposits)
            republished = await self._republish(verdicts)
            self._secrets_made = made
            self._desk.wake()
            counts = {"adopted": len(adopted), "republished": republished, "secrets": secrets, "events": filled}
            (log.warning if adopted or republished else log.info)("database and log compared", **counts)
            return ResyncReport(republished=republished, already_there=len(verdicts) - republished)

    async def again(self) -> None:
        """Recover from the loss of the log while running.

        Raises:
            TransientError: the bus or the database did not answer.
        """
        try:
            await self.recover()
        except DatabaseUnavailableError as error:
            raise TransientError("the database did not answer") from error

    async def watch_secrets(self) -> None:
        """Recover whenever the store of the secrets is another one than before; for ever."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                if await self._secrets.created() != self._secrets_made:
                    await self.recover()
            except (TransientError, DatabaseUnavailableError) as error:
                log.debug("the secrets were not looked at", error=str(error))

    async def _logged(self) -> dict[str, Logged]:
        desired = await self._reader.snapshot(Topic.DESIRED)
        observed = await self._reader.snapshot(Topic.OBSERVED)
        return {
            instance_id: Logged(event.data, event.time, _removal(event.data, observed.get(instance_id)))
            for instance_id, event in desired.items()
            if isinstance(event.data, Desired)
        }

    async def _verdicts(self, logged: Mapping[str, Logged]) -> dict[str, Verdict]:
        """Return what to do about each instance that either side knows."""
        verdicts = dict.fromkeys(logged, Verdict.ADOPT)
        after = ""
        while True:
            async with self._database.read() as session:
                statement = select(Instance).where(Instance.id > after).order_by(col(Instance.id)).limit(_PAGE)
                rows = (await session.exec(statement)).all()
                waiting = await _waiting(session, [row.id for row in rows])
            for row in rows:
                verdicts[row.id] = decide(row, logged.get(row.id), waiting=row.id in waiting)
            if len(rows) < _PAGE:
                return verdicts
            after = rows[-1].id

    async def _adopt(self, ids: Sequence[str], logged: Mapping[str, Logged], deposits: Mapping[str, bytes]) -> None:
        for begin in range(0, len(ids), _AT_ONCE):
            chunk = ids[begin : begin + _AT_ONCE]

            async def work(session: AsyncSession, chunk: Sequence[str] = chunk) -> None:
                for instance_id in chunk:
                    await self._adopt_one(session, logged[instance_id], deposits.get(instance_id))

            await self._database.transact(work)

    async def _adopt_one(self, session: AsyncSession, known: Logged, deposit: bytes | None) -> None:
        desired = known.desired
        instance = await session.get(Instance, desired.instance_id, with_for_update=True)
        if decide(instance, known, waiting=True) is not Verdict.ADOPT:
            return  # it was changed a moment ago
        log.info("instance taken from the log", instance_id=desired.instance_id, generation=desired.generation)
        moving = None if known.removed_at else await _contested(session, desired.instance_id, desired.spec.subdomain)
        if moving is not None and moving.id > desired.instance_id:
            await self._move(session, moving)
        instance = instance or new_row(desired)
        take_over(instance, desired, known.time, default_image=self._desk.image)
        instance.removed_at = None
        if moving is not None and moving.id < desired.instance_id:
            await self._move(session, instance)
        session.add(instance)
        await session.flush()
        if known.removed_at:
            await repository.tombstone(session, instance, known.removed_at)
        else:
            await _keep_secrets(session, instance, deposit)

    async def _move(self, session: AsyncSession, instance: Instance) -> None:
        """Give an instance whose subdomain another has its id as subdomain."""
        log.error("subdomain given up, an older instance has it", instance_id=instance.id, subdomain=instance.subdomain)
        instance.subdomain = instance.id
        change = {"subdomain": instance.id, "origin": self._desk.edge.origin(instance.id)}
        instance.specify(instance.specification.model_copy(update=change))
        instance.generation += 1
        session.add(instance)
        await session.flush()
        desired = desired_of(instance, actor=audit.SYSTEM, request_id=new_event_id())
        await audit.record(session, EventType.RECONFIGURED, desired)

    async def _fill_history(self) -> int:
        """Take in what the log holds beyond what was taken in, as after a loss of the database."""
        numbering = self._projector.numbering
        async with self._database.read() as session:
            start = max(0, await repository.newest_sequence(session) - numbering.offset) + 1
        last, filled = (await self._archive.identity()).last_sequence, 0
        while start <= last:
            page = await self._archive.page(start=start, up_to=last)
            events = [event for event in map(_event, page.messages) if event]
            async with self._database.write() as session:
                await audit.restore(session, events)
            await self._projector.take_in_batch(events)
            filled += len(events)
            if not page.left or not page.messages:
                break
            start = page.messages[-1].sequence + 1
        return filled

    async def _deposit(self, deposits: Mapping[str, bytes]) -> int:
        """Have the bus keep the secrets that it lacks, or has without the owner's copy."""
        after, count = "", 0
        while True:
            async with self._database.write() as session:
                statement = select(Secret).where(Secret.instance_id > after).order_by(col(Secret.instance_id))
                rows = (await session.exec(statement.limit(_PAGE))).all()
                waiting = await _waiting(session, [row.instance_id for row in rows])
                for row in rows:
                    wanted = deposited(row.sealed, row.gateway_token)
                    if row.instance_id not in waiting and wanted not in (deposits.get(row.instance_id), b"{}"):
                        outbox.deposit_secrets(session, row.instance_id, wanted)
                        count += 1
            if len(rows) < _PAGE:
                return count
            after = rows[-1].instance_id

    async def _republish(self, verdicts: Mapping[str, Verdict]) -> int:
        ids = sorted(instance_id for instance_id, verdict in verdicts.items() if verdict is Verdict.REPUBLISH)
        run = new_event_id()
        for begin in range(0, len(ids), _AT_ONCE):
            async with self._database.write() as session:
                chunk = ids[begin : begin + _AT_ONCE]
                for row in (await session.exec(select(Instance).where(col(Instance.id).in_(chunk)))).all():
                    desired = desired_of(row, actor=audit.SYSTEM, request_id=run)
                    outbox.publish(session, EventType.RESYNCED, desired)
        return len(ids)


def _removal(desired: Desired, observed: Event[Payload] | None) -> datetime | None:
    if observed is None or not isinstance(observed.data, Observed):
        return None
    if desired.desired_state is not DesiredState.DELETED:
        return None
    return observed.time if observed.data.phase is Phase.REMOVED else None


def _event(message: Stored) -> Event[Payload] | None:
    try:
        return message.event()
    except MalformedEventError:
        return None


async def _waiting(session: AsyncSession, ids: Sequence[str]) -> set[str]:
    statement = select(Outbox.instance_id).where(
        col(Outbox.instance_id).in_(ids),
        Outbox.action != Action.FORGET_SECRETS,
        col(Outbox.quarantined_at).is_(None),
    )
    return set((await session.exec(statement)).all())


async def _contested(session: AsyncSession, instance_id: str, subdomain: str) -> Instance | None:
    statement = select(Instance).where(
        Instance.subdomain == subdomain, Instance.id != instance_id, col(Instance.removed_at).is_(None)
    )
    return (await session.exec(statement)).first()


async def _keep_secrets(session: AsyncSession, instance: Instance, deposit: bytes | None) -> None:
    stored = await session.get(Secret, instance.id)
    sealed, owner_copy = b"{}", b""
    if deposit:
        try:
            sealed, owner_copy = withdrawn(deposit)
        except (ValueError, TypeError):
            log.warning("the secrets of an instance cannot be read", instance_id=instance.id)
    if stored is None:
        stored = Secret(
            instance_id=instance.id, owner_id=instance.owner_id, revision=1, sealed=sealed, gateway_token=owner_copy
        )
        session.add(stored)
    elif deposit:
        stored.sealed, stored.gateway_token = sealed, owner_copy or stored.gateway_token
    stored.revision = instance.secret_revision
