"""How Alembic runs our migrations: always on a connection that `migrate.py` opened.

The files in `versions/`, oldest first, are never changed once released.
"""

from alembic import context

from understudy.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
