"""Datasets of users' feedback: a dataset's record may be a thumb."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column and its index, in words that both databases understand."""
    op.execute(
        "ALTER TABLE dataset_records ADD COLUMN feedback_id TEXT "
        "CONSTRAINT fk_dataset_records_feedback_id "
        "REFERENCES feedback (id) ON DELETE CASCADE"
    )
    op.execute("CREATE INDEX ix_dataset_records_feedback_id ON dataset_records (feedback_id)")
