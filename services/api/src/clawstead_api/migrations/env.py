"""Runs migrations on the connection that the caller opened, in the caller's transaction."""

from alembic import context

from clawstead_api.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
