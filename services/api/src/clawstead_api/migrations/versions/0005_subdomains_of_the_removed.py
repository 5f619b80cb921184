"""To find who had a subdomain, also among the removed."""

from collections.abc import Sequence

from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("ix_instance_subdomain", "instance", ["subdomain"])


def downgrade() -> None:
    op.drop_index("ix_instance_subdomain", table_name="instance")
