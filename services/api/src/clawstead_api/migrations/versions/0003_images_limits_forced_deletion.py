"""Own images, limits that can be added up, forced deletion, and since when an observation holds."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_DEFAULT_IMAGE = "openclaw:local"
"""Until now it was not kept whether an owner had named the image; whoever has another one has."""

_INSTANCE = sa.table(
    "instance",
    sa.column("id", sa.String),
    sa.column("spec", sa.JSON),
    sa.column("own_image", sa.String),
    sa.column("cpus", sa.Float),
    sa.column("memory_bytes", sa.BigInteger),
)


def upgrade() -> None:
    # Columns are only added: making the table anew, as SQLite needs for more, would break what refers to it.
    op.add_column("instance", sa.Column("own_image", sa.String(), nullable=True))
    op.add_column("instance", sa.Column("cpus", sa.Float(), nullable=False, server_default="0"))
    op.add_column("instance", sa.Column("memory_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("instance", sa.Column("hidden_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("status", sa.Column("observed_at", sa.DateTime(timezone=True), nullable=True))
    _fill()


def _fill() -> None:
    connection = op.get_bind()
    for instance_id, spec in connection.execute(sa.select(_INSTANCE.c.id, _INSTANCE.c.spec)).all():
        values = {
            "own_image": None if spec["image"] == _DEFAULT_IMAGE else spec["image"],
            "cpus": spec["limits"]["cpus"],
            "memory_bytes": spec["limits"]["memory_bytes"],
        }
        connection.execute(_INSTANCE.update().where(_INSTANCE.c.id == instance_id).values(**values))


def downgrade() -> None:
    op.drop_column("status", "observed_at")
    for column in ("hidden_at", "memory_bytes", "cpus", "own_image"):
        op.drop_column("instance", column)
