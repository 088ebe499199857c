"""Who was shown which prompt; an index in the order in which items are handed out."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table, and put the index in the place of one that no query could follow in order."""
    op.create_table(
        "prompt_views",
        sa.Column("prompt_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("page", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_prompt_views_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["prompt_id"],
            ["prompts.id"],
            name=op.f("fk_prompt_views_prompt_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "prompt_id", "account_id", "page", "at", name=op.f("pk_prompt_views")
        ),
    )
    op.create_index(
        op.f("ix_prompt_views_account_id"), "prompt_views", ["account_id", "at"], unique=False
    )
    op.drop_index("ix_items_queue", table_name="items")
    op.create_index("ix_items_next", "items", ["state", "kind", "priority", "id"], unique=False)
