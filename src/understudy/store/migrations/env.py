"""How Alembic runs our migrations: always on a connection that `migrate.py` opened.

The files in `versions/` run oldest first and never change once released. A new one comes with a
change of `tables.py` or `labeling_tables.py`, and with a dump of a filled store of the schema
before it in `tests/unit/store/released/`, which a test upgrades.
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
