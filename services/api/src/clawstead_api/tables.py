"""The API's tables: what owners want, what the bus reported, and what still has to be told to the bus.

``instance``, ``secret``, ``token`` and ``idempotency_key`` are the truth; ``status`` and ``event`` are
projections of the stream that can be dropped and rebuilt (in ``status_staged`` and ``event_staged``); ``outbox``
is the bridge between the two; ``audit`` is the chain of all changes.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Column, DateTime, Dialect, Index, Integer, LargeBinary, MetaData, Text, text
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from clawstead_shared.events import DesiredState, InstanceSpec, Observed, Phase


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC, also on SQLite, which stores no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC."""
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Add the zone that SQLite left out."""
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


Sequence = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts a primary key up only if its type is exactly INTEGER."""


class Table(SQLModel):
    """Base of our tables; the names of constraints are fixed so that migrations can refer to them."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def _time(*, nullable: bool = False) -> Any:
    return Field(default=None, sa_column=Column(UtcDateTime, nullable=nullable))


def _json() -> Any:
    return Field(default=None, sa_type=JSON(none_as_null=True), nullable=True)


def _shared_time() -> Any:
    # A type, not a column: a base of two tables cannot share a column.
    return Field(default=None, sa_type=UtcDateTime, nullable=True)


class Instance(Table, table=True):
    """What an owner wants of one instance. Kept as a tombstone after removal, so that ids stay unique."""

    __tablename__ = "instance"
    __table_args__ = (
        Index(
            "uq_instance_subdomain_living",
            "subdomain",
            unique=True,
            sqlite_where=text("removed_at IS NULL"),
            postgresql_where=text("removed_at IS NULL"),
        ),
        Index("ix_instance_owner_id_id", "owner_id", "id"),
        Index("ix_instance_subdomain", "subdomain"),
    )

    id: str = Field(primary_key=True, max_length=26)
    owner_id: str
    name: str
    plan: str
    subdomain: str = Field(max_length=63)
    desired_state: str
    generation: int
    spec: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """``InstanceSpec`` of the newest generation."""
    own_image: str | None = None
    """The image that the owner named; None follows the platform's default at each update."""
    cpus: float
    """Like ``memory_bytes`` from ``spec``, so that the database can add them up."""
    memory_bytes: int = Field(sa_type=BigInteger)
    secret_revision: int
    restart_count: int = 0
    restart_judged_start: datetime | None = _time(nullable=True)
    created_at: datetime = _time()
    updated_at: datetime = _time()
    hidden_at: datetime | None = _time(nullable=True)
    """Since when its owner is rid of it, by a forced deletion, although it may not be removed yet."""
    removed_at: datetime | None = _time(nullable=True)

    @property
    def wanted(self) -> DesiredState:
        """``desired_state`` as its type."""
        return DesiredState(self.desired_state)

    @property
    def specification(self) -> InstanceSpec:
        """``spec`` as its type."""
        return InstanceSpec.model_validate(self.spec, extra="ignore")

    def specify(self, spec: InstanceSpec) -> None:
        """Set ``spec`` and what is kept beside it."""
        self.spec = spec.model_dump(mode="json")
        self.cpus = spec.limits.cpus
        self.memory_bytes = spec.limits.memory_bytes


class StatusColumns(Table):
    """The newest that the bus said of one instance, by topic."""

    instance_id: str = Field(primary_key=True, max_length=26)
    phase: str = Phase.PENDING
    observed: dict[str, Any] | None = _json()
    route: dict[str, Any] | None = _json()
    health: dict[str, Any] | None = _json()
    terminal: dict[str, Any] | None = _json()
    observed_at: datetime | None = _shared_time()
    """Since when ``observed`` says what it says; saying the same again does not count."""
    updated_at: datetime | None = _shared_time()
    """Time of the newest event that was taken in."""


class StagedStatus(StatusColumns, table=True):
    """A status that is being made anew from the log, beside the one that is read."""

    __tablename__ = "status_staged"


class Status(StatusColumns, table=True):
    """The newest that the bus said of one instance; a projection."""

    __tablename__ = "status"

    @property
    def observation(self) -> Observed | None:
        """``observed`` as its type."""
        return Observed.model_validate(self.observed, extra="ignore") if self.observed else None


class EventColumns(Table):
    """One event of the stream, as owners may see it."""

    id: str = Field(primary_key=True, max_length=64)
    sequence: int = Field(sa_type=BigInteger)
    owner_id: str | None = None
    instance_id: str = Field(max_length=26)
    topic: str
    type: str
    time: datetime = Field(sa_type=UtcDateTime)
    data: dict[str, Any] = Field(sa_type=JSON)


class StagedEvent(EventColumns, table=True):
    """An event that is being read anew from the log, beside the history that is read."""

    __tablename__ = "event_staged"


class Event(EventColumns, table=True):
    """One event of the stream, as owners may see it; a projection."""

    __tablename__ = "event"
    __table_args__ = (
        Index("ix_event_sequence", "sequence"),
        Index("ix_event_instance_id_sequence", "instance_id", "sequence"),
    )


class Audit(Table, table=True):
    """One change of a desired state, chained to the one before it; see ``audit``."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_instance_id_number", "instance_id", "number"),)

    number: int = Field(sa_column=Column(Sequence, primary_key=True, autoincrement=False))
    event_id: str = Field(unique=True, max_length=64)
    time: datetime = _time()
    actor: str
    request_id: str | None = None
    type: str
    instance_id: str = Field(max_length=26)
    generation: int
    payload: str = Field(max_length=64)
    """SHA-256 of what the event says."""
    previous: str = Field(max_length=64)
    digest: str = Field(max_length=64)


class Outbox(Table, table=True):
    """One thing to tell the bus, in the order of ``id``; deleted once the bus has it."""

    __tablename__ = "outbox"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, sa_column=Column(Sequence, primary_key=True, autoincrement=True))
    action: str
    instance_id: str = Field(max_length=26)
    event_id: str | None = None
    event_type: str | None = None
    payload: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    sealed: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    traceparent: str | None = None
    created_at: datetime = _time()
    attempts: int = 0
    error: str | None = None
    quarantined_at: datetime | None = _time(nullable=True)


class Secret(Table, table=True):
    """An instance's secrets, sealed to the provisioner, and the gateway token that the owner may see again."""

    __tablename__ = "secret"

    instance_id: str = Field(primary_key=True, foreign_key="instance.id", max_length=26)
    owner_id: str
    revision: int
    sealed: bytes
    """JSON of the parts, each sealed alone; see ``sealing.packed``."""
    gateway_token: bytes
    """Encrypted with the API's own key."""


class Token(Table, table=True):
    """A bearer token, as the SHA-256 of what its holder presents."""

    __tablename__ = "token"

    id: str = Field(primary_key=True, max_length=26)
    owner_id: str
    name: str
    digest: str = Field(unique=True, max_length=64)
    created_at: datetime = _time()
    revoked_at: datetime | None = _time(nullable=True)


class IdempotencyKey(Table, table=True):
    """What was answered to a request with an ``Idempotency-Key``, written with the request's own changes."""

    __tablename__ = "idempotency_key"
    __table_args__ = (Index("ix_idempotency_key_created_at", "created_at"),)

    owner_id: str = Field(primary_key=True)
    key: str = Field(primary_key=True, max_length=255)
    fingerprint: str = Field(max_length=64)
    response: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    created_at: datetime = _time()


class Setting(Table, table=True):
    """A small value that outlives the process, such as a public key last seen on the bus."""

    __tablename__ = "setting"

    key: str = Field(primary_key=True)
    value: str
