"""How Alembic runs our migrations: always on a connection that `migrate.py` opened.

The files in `versions/`, oldest first, are never changed once released. A new one changes what
`tables.py` and `labeling_tables.py` then say; a dump of a filled store of the schema before it goes
to `tests/unit/store/released/`, which a test upgrades.
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
