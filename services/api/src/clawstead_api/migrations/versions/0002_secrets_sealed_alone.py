"""Secrets sealed one by one: what was sealed as one is kept as the part that the others replace."""

import base64
import json
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SECRET = sa.table("secret", sa.column("instance_id", sa.String), sa.column("sealed", sa.LargeBinary))


def upgrade() -> None:
    connection = op.get_bind()
    for instance_id, sealed in connection.execute(sa.select(_SECRET.c.instance_id, _SECRET.c.sealed)).all():
        parts = json.dumps({"all": base64.b64encode(sealed).decode()}).encode()
        connection.execute(_SECRET.update().where(_SECRET.c.instance_id == instance_id).values(sealed=parts))


def downgrade() -> None:
    raise NotImplementedError("secrets that were replaced since cannot be sealed as one again")
