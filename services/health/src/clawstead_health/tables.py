"""The history of probes: table ``instance_health``, one row per probe."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, String, Text, func
from sqlmodel import Field, SQLModel


class InstanceHealth(SQLModel, table=True):
    """What one probe saw."""

    __tablename__ = "instance_health"
    __table_args__ = (Index("idx_instance_health_customer", "customer_id"),)

    id: int | None = Field(
        default=None,
        # 64 bits: at 5000 instances, 32 would be used up in ten weeks. SQLite counts up only in INTEGER.
        sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    )
    customer_id: str = Field(sa_column=Column(String(255), nullable=False))
    """Owner of the instance; the instance itself where an old observation does not name the owner."""
    healthy: bool
    response_time: int | None = None
    """Milliseconds."""
    error: str | None = Field(default=None, sa_column=Column(Text))
    checked_at: datetime = Field(sa_column=Column(DateTime, nullable=False, server_default=func.now()))
    """UTC, without a zone."""
    instance_id: str = Field(sa_column=Column(String(26), nullable=False))


Index("idx_instance_health_time", InstanceHealth.__table__.c.checked_at.desc())  # type: ignore[attr-defined]
