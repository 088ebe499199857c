"""The record chain as tables, for SQLite and PostgreSQL alike; `migrations/` changes them.

The database itself refuses, whoever asks:

* a label with another role than its labeler's (the foreign key is on id and role), and so
  a change of a labeler's role once they have labeled anything;
* a record of a labeler who is not a training labeler in a training dataset (a check on
  `dataset_records`, whose role is tied to the label's by a foreign key);
* an update of a label (a trigger); an edit is a new row that names the one it revises;
* two revisions of one label.

Deleting a user deletes their prompts and all dependent rows by cascade. Times are ISO 8601 text in
UTC, so that they sort and compare alike on both.
"""

from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    event,
)

from understudy.store.border import CleanText as Text

_ddl: Any = DDL  # SQLAlchemy leaves it untyped
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def frozen(table: Table, says: str, *, also_delete: bool = False) -> None:
    """Make the database refuse every UPDATE of a table, and every DELETE if asked to."""
    name = table.name
    changes = ("UPDATE", "DELETE") if also_delete else ("UPDATE",)
    for change in changes:
        trigger = f"{name}_no_{change.lower()}" if also_delete else f"{name}_immutable"
        refuse = _ddl(
            f"CREATE TRIGGER {trigger} BEFORE {change} ON {name} "
            f"BEGIN SELECT RAISE(ABORT, '{says}'); END"
        )
        event.listen(table, "after_create", refuse.execute_if(dialect="sqlite"))
    for statement in (
        f"CREATE FUNCTION {name}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{says}'; END $$",
        f"CREATE TRIGGER {name}_immutable BEFORE {' OR '.join(changes)} ON {name} "
        f"FOR EACH ROW EXECUTE FUNCTION {name}_refuse()",
    ):
        event.listen(table, "after_create", _ddl(statement).execute_if(dialect="postgresql"))


def text_column(name: str, *, null: bool = False) -> Column[str]:
    """A column of text."""
    return Column(name, Text, nullable=null)


def column_of(name: str, target: str, *, null: bool = False, key: bool = False) -> Column[str]:
    """A column that names a row of another table and is deleted with it."""
    return Column(
        name, Text, ForeignKey(target, ondelete="CASCADE"), nullable=null, primary_key=key
    )


users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    text_column("organization_id", null=True),
    Column("consent", Boolean, nullable=False),
    text_column("created_at"),
)

labelers = Table(
    "labelers",
    metadata,
    Column("id", Text, primary_key=True),
    text_column("role"),
    text_column("labeler_group", null=True),
    text_column("screening"),
    text_column("created_at"),
    UniqueConstraint("id", "role"),
    CheckConstraint("role IN ('training', 'held_out', 'researcher')", name="role"),
)

rubrics = Table(
    "rubrics",
    metadata,
    Column("version", Text, primary_key=True),
    text_column("instructions"),
    text_column("priorities"),
    text_column("evaluation_priorities", null=True),
    text_column("created_at"),
)
"""Versions of the instructions, with priorities, most important first, for training and
evaluation."""

prompts = Table(
    "prompts",
    metadata,
    Column("id", Text, primary_key=True),
    column_of("user_id", "users.id"),
    text_column("organization_id", null=True),
    text_column("body"),
    text_column("digest"),
    text_column("source"),
    text_column("tags"),
    text_column("use_case", null=True),
    text_column("split", null=True),
    text_column("dropped_by", null=True),
    text_column("created_at", null=True),
    Index(None, "user_id"),
    CheckConstraint("split IS NULL OR split IN ('train', 'valid', 'test')", name="split"),
)
"""`split` is null until intake has kept the prompt; `dropped_by` is the step that dropped it.
`digest` is the hash of the prompt as received, before any redaction of `body`."""

responses = Table(
    "responses",
    metadata,
    Column("id", Text, primary_key=True),
    column_of("prompt_id", "prompts.id"),
    text_column("response"),
    text_column("model"),
    Column("temperature", Float, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("finished", Boolean, nullable=False),
    Column("logprob", Float, nullable=True),
    text_column("created_at"),
    Index(None, "prompt_id", "created_at"),
)

labels = Table(
    "labels",
    metadata,
    Column("id", Text, primary_key=True),
    text_column("kind"),
    column_of("prompt_id", "prompts.id"),
    column_of("response_id", "responses.id", null=True),
    text_column("labeler_id"),
    text_column("labeler_role"),
    Column("rubric", Text, ForeignKey("rubrics.version"), nullable=True),
    text_column("rubric_begun", null=True),
    Column("revision", Integer, nullable=False),
    column_of("revises", "labels.id", null=True),
    text_column("body"),
    text_column("created_at"),
    UniqueConstraint("id", "labeler_role"),
    UniqueConstraint("revises"),
    ForeignKeyConstraint(["labeler_id", "labeler_role"], ["labelers.id", "labelers.role"]),
    CheckConstraint("kind IN ('demonstration', 'rating', 'ranking')", name="kind"),
    CheckConstraint("(kind = 'rating') = (response_id IS NOT NULL)", name="response"),
    CheckConstraint("(revision = 0) = (revises IS NULL)", name="revision"),
    Index(None, "prompt_id"),
    Index(None, "response_id"),
    Index(None, "labeler_id", "created_at"),
)
"""Demonstrations, ratings and rankings; `body` holds the kind's own fields as JSON. `rubric` is the
version of the instructions under which a label was sent, `rubric_begun` that under which it was
begun."""
frozen(labels, "labels are immutable; append a revision")

ranked_responses = Table(
    "ranked_responses",
    metadata,
    column_of("label_id", "labels.id", key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("tier", Integer, nullable=False),
    column_of("response_id", "responses.id"),
    Index(None, "response_id"),
)
"""A ranking's responses in the order they were shown, each with its tier, 0 the best."""

datasets = Table(
    "datasets",
    metadata,
    Column("id", Text, primary_key=True),
    text_column("kind"),
    text_column("purpose"),
    text_column("query"),
    Column("num_records", Integer, nullable=False),
    text_column("created_at"),
    UniqueConstraint("id", "purpose"),
    CheckConstraint("purpose IN ('training', 'evaluation')", name="purpose"),
)
"""Frozen exports. `num_records` is the size when frozen."""

dataset_records = Table(
    "dataset_records",
    metadata,
    Column("dataset_id", Text, primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    text_column("purpose"),
    column_of("prompt_id", "prompts.id"),
    text_column("label_id", null=True),
    text_column("labeler_role", null=True),
    column_of("feedback_id", "feedback.id", null=True),
    ForeignKeyConstraint(
        ["dataset_id", "purpose"], ["datasets.id", "datasets.purpose"], ondelete="CASCADE"
    ),
    ForeignKeyConstraint(
        ["label_id", "labeler_role"], ["labels.id", "labels.labeler_role"], ondelete="CASCADE"
    ),
    CheckConstraint("(label_id IS NULL) = (labeler_role IS NULL)", name="role"),
    CheckConstraint(
        "purpose <> 'training' OR labeler_role IS NULL OR labeler_role = 'training'",
        name="training_labelers_only",
    ),
    Index(None, "prompt_id"),
    Index(None, "label_id"),
    Index(None, "feedback_id"),
)
"""The records of a dataset, in order."""

dataset_files = Table(
    "dataset_files",
    metadata,
    column_of("dataset_id", "datasets.id", key=True),
    Column("path", Text, primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("current", Boolean, nullable=False),
    Index(None, "sha256"),
)
"""Every file that a dataset was written to, with every hash it has had: forgetting a user changes
it."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    column_of("user_id", "users.id"),
    text_column("sha256"),
    Column("requests_per_minute", Integer, nullable=True),
    Column("tokens_per_day", Integer, nullable=True),
    text_column("created_at"),
    text_column("expires_at", null=True),
    text_column("revoked_at", null=True),
    Index(None, "user_id"),
)
"""Keys of the gateway: `id` is the public part of a key; the rest is stored only as a hash."""

daily_usage = Table(
    "daily_usage",
    metadata,
    column_of("user_id", "users.id", key=True),
    Column("day", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
)
"""A user's use of the gateway on a day (UTC)."""

feedback = Table(
    "feedback",
    metadata,
    Column("id", Text, primary_key=True),
    column_of("prompt_id", "prompts.id"),
    column_of("response_id", "responses.id"),
    text_column("kind"),
    text_column("value"),
    text_column("created_at"),
    CheckConstraint("kind IN ('thumb', 'choice', 'correction')", name="kind"),
    Index(None, "prompt_id"),
    Index(None, "response_id"),
)
"""Users' feedback on responses."""
