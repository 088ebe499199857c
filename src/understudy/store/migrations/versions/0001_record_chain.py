"""The record chain: users, labelers, rubrics, prompts, responses, labels, datasets."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables and the triggers that keep labels as they were written."""
    op.create_table(
        "datasets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("num_records", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "purpose IN ('training', 'evaluation')", name=op.f("ck_datasets_purpose")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("id", "purpose", name=op.f("uq_datasets_id")),
    )
    op.create_table(
        "labelers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("labeler_group", sa.Text(), nullable=True),
        sa.Column("screening", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "role IN ('training', 'held_out', 'researcher')", name=op.f("ck_labelers_role")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labelers")),
        sa.UniqueConstraint("id", "role", name=op.f("uq_labelers_id")),
    )
    op.create_table(
        "rubrics",
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("instructions", sa.Text(), nullable=False),
        sa.Column("priorities", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_rubrics")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("organization_id", sa.Text(), nullable=True),
        sa.Column("consent", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_table(
        "dataset_files",
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_dataset_files_dataset_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("dataset_id", "path", "sha256", name=op.f("pk_dataset_files")),
    )
    op.create_index(op.f("ix_dataset_files_sha256"), "dataset_files", ["sha256"], unique=False)
    op.create_table(
        "prompts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("organization_id", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("use_case", sa.Text(), nullable=True),
        sa.Column("split", sa.Text(), nullable=True),
        sa.Column("dropped_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "split IS NULL OR split IN ('train', 'valid', 'test')", name=op.f("ck_prompts_split")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_prompts_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompts")),
    )
    op.create_index(op.f("ix_prompts_user_id"), "prompts", ["user_id"], unique=False)
    op.create_table(
        "responses",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("prompt_id", sa.Text(), nullable=False),
        sa.Column("response", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("temperature", sa.Float(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("finished", sa.Boolean(), nullable=False),
        sa.Column("logprob", sa.Float(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompts.id"], name=op.f("fk_responses_prompt_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_responses")),
    )
    op.create_index(op.f("ix_responses_prompt_id"), "responses", ["prompt_id"], unique=False)
    op.create_table(
        "labels",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("prompt_id", sa.Text(), nullable=False),
        sa.Column("response_id", sa.Text(), nullable=True),
        sa.Column("labeler_id", sa.Text(), nullable=False),
        sa.Column("labeler_role", sa.Text(), nullable=False),
        sa.Column("rubric", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("revises", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "(kind = 'rating') = (response_id IS NOT NULL)", name=op.f("ck_labels_response")
        ),
        sa.CheckConstraint(
            "kind IN ('demonstration', 'rating', 'ranking')", name=op.f("ck_labels_kind")
        ),
        sa.CheckConstraint("(revision = 0) = (revises IS NULL)", name=op.f("ck_labels_revision")),
        sa.ForeignKeyConstraint(
            ["labeler_id", "labeler_role"],
            ["labelers.id", "labelers.role"],
            name=op.f("fk_labels_labeler_id"),
        ),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompts.id"], name=op.f("fk_labels_prompt_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["response_id"],
            ["responses.id"],
            name=op.f("fk_labels_response_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["revises"], ["labels.id"], name=op.f("fk_labels_revises"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["rubric"], ["rubrics.version"], name=op.f("fk_labels_rubric")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labels")),
        sa.UniqueConstraint("id", "labeler_role", name=op.f("uq_labels_id")),
        sa.UniqueConstraint("revises", name=op.f("uq_labels_revises")),
    )
    op.create_index(op.f("ix_labels_labeler_id"), "labels", ["labeler_id"], unique=False)
    op.create_index(op.f("ix_labels_prompt_id"), "labels", ["prompt_id"], unique=False)
    op.create_index(op.f("ix_labels_response_id"), "labels", ["response_id"], unique=False)
    op.create_table(
        "dataset_records",
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("prompt_id", sa.Text(), nullable=False),
        sa.Column("label_id", sa.Text(), nullable=True),
        sa.Column("labeler_role", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "purpose <> 'training' OR labeler_role IS NULL OR labeler_role = 'training'",
            name=op.f("ck_dataset_records_training_labelers_only"),
        ),
        sa.CheckConstraint(
            "(label_id IS NULL) = (labeler_role IS NULL)", name=op.f("ck_dataset_records_role")
        ),
        sa.ForeignKeyConstraint(
            ["dataset_id", "purpose"],
            ["datasets.id", "datasets.purpose"],
            name=op.f("fk_dataset_records_dataset_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["label_id", "labeler_role"],
            ["labels.id", "labels.labeler_role"],
            name=op.f("fk_dataset_records_label_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["prompt_id"],
            ["prompts.id"],
            name=op.f("fk_dataset_records_prompt_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("dataset_id", "place", name=op.f("pk_dataset_records")),
    )
    op.create_index(
        op.f("ix_dataset_records_label_id"), "dataset_records", ["label_id"], unique=False
    )
    op.create_index(
        op.f("ix_dataset_records_prompt_id"), "dataset_records", ["prompt_id"], unique=False
    )
    op.create_table(
        "ranked_responses",
        sa.Column("label_id", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("response_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["label_id"],
            ["labels.id"],
            name=op.f("fk_ranked_responses_label_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["response_id"],
            ["responses.id"],
            name=op.f("fk_ranked_responses_response_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("label_id", "place", name=op.f("pk_ranked_responses")),
    )
    op.create_index(
        op.f("ix_ranked_responses_response_id"), "ranked_responses", ["response_id"], unique=False
    )
    freeze("labels")


def freeze(table: str) -> None:
    """Refuse every UPDATE of a table."""
    says = f"{table} are immutable; append a revision"
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            f"CREATE TRIGGER {table}_immutable BEFORE UPDATE ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{says}'); END"
        )
        return
    op.execute(
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{says}'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_immutable BEFORE UPDATE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_refuse()"
    )
