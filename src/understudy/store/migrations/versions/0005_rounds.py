"""Several items that rank one prompt's responses; the instructions a label was begun under.

SQLite cannot change a constraint: the table is made anew (`migrate.upgrade` has the foreign keys
off meanwhile, or dropping the old one would delete all that hangs on it).
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ITEMS = sa.Table(
    "items",
    sa.MetaData(),
    sa.Column("id", sa.Text(), nullable=False),
    sa.Column("kind", sa.Text(), nullable=False),
    sa.Column("prompt_id", sa.Text(), nullable=True),
    sa.Column("purpose", sa.Text(), nullable=False),
    sa.Column("pool", sa.Text(), nullable=False),
    sa.Column("wanted", sa.Integer(), nullable=False),
    sa.Column("max_wanted", sa.Integer(), nullable=False),
    sa.Column("num_done", sa.Integer(), nullable=False),
    sa.Column("num_live", sa.Integer(), nullable=False),
    sa.Column("num_skips", sa.Integer(), nullable=False),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("priority", sa.Integer(), nullable=False),
    sa.Column("brief", sa.Text(), nullable=True),
    sa.Column("created_at", sa.Text(), nullable=False),
    sa.CheckConstraint("(kind = 'write') = (prompt_id IS NULL)", name="ck_items_prompt"),
    sa.CheckConstraint("kind IN ('demonstrate', 'rank', 'write')", name="ck_items_kind"),
    sa.CheckConstraint("pool IN ('single', 'calibration', 'gold')", name="ck_items_pool"),
    sa.CheckConstraint("purpose IN ('training', 'evaluation')", name="ck_items_purpose"),
    sa.CheckConstraint("state IN ('open', 'done', 'set_aside', 'closed')", name="ck_items_state"),
    sa.ForeignKeyConstraint(
        ["prompt_id"], ["prompts.id"], name="fk_items_prompt_id", ondelete="CASCADE"
    ),
    sa.PrimaryKeyConstraint("id", name="pk_items"),
    sa.UniqueConstraint("kind", "prompt_id", "purpose", name="uq_items_kind"),
    sa.Index("ix_items_prompt_id", "prompt_id"),
    sa.Index("ix_items_next", "state", "kind", "priority", "id"),
)


def upgrade() -> None:
    """Add both columns."""
    with op.batch_alter_table("items", copy_from=ITEMS) as batch:
        batch.add_column(sa.Column("round", sa.Integer(), nullable=False, server_default="0"))
        batch.drop_constraint(op.f("uq_items_kind"), type_="unique")
        batch.create_unique_constraint(
            op.f("uq_items_kind"), ["kind", "prompt_id", "purpose", "round"]
        )
    op.add_column("labels", sa.Column("rubric_begun", sa.Text(), nullable=True))
