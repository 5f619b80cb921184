"""The database's schema, step by step (alembic), and the ways to bring a database up to date."""
