"""The record chain as tables, for SQLite and PostgreSQL alike; `migrations/` makes them.

What the database itself refuses, whoever asks:

* a label that names another role than its labeler has (the foreign key is on id and role), and so
  a labeler's change of role once anything was labeled;
* a record of a labeler who is not a training labeler in a training dataset (a check on
  `dataset_records`, whose role is tied to the label's by a foreign key);
* a change of a label (a trigger); an edit is a new row that names the one it revises;
* two revisions of one label.

Deleting a user deletes, by cascade, their prompts and all that hangs on them. Times are ISO 8601
text in UTC, so that they sort and compare alike on both.
"""

from sqlalchemy import (
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
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def _of(name: str, target: str, *, null: bool = False, key: bool = False) -> Column[str]:
    """A column that names a row of another table and is deleted with it."""
    return Column(
        name, Text, ForeignKey(target, ondelete="CASCADE"), nullable=null, primary_key=key
    )


users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    _text("organization_id", null=True),
    Column("consent", Boolean, nullable=False),
    _text("created_at"),
)

labelers = Table(
    "labelers",
    metadata,
    Column("id", Text, primary_key=True),
    _text("role"),
    _text("labeler_group", null=True),
    _text("screening"),
    _text("created_at"),
    UniqueConstraint("id", "role"),
    CheckConstraint("role IN ('training', 'held_out', 'researcher')", name="role"),
)

rubrics = Table(
    "rubrics",
    metadata,
    Column("version", Text, primary_key=True),
    _text("instructions"),
    _text("priorities"),
    _text("created_at"),
)

prompts = Table(
    "prompts",
    metadata,
    Column("id", Text, primary_key=True),
    _of("user_id", "users.id"),
    _text("organization_id", null=True),
    _text("body"),
    _text("digest"),
    _text("source"),
    _text("tags"),
    _text("use_case", null=True),
    _text("split", null=True),
    _text("dropped_by", null=True),
    _text("created_at", null=True),
    Index(None, "user_id"),
    CheckConstraint("split IS NULL OR split IN ('train', 'valid', 'test')", name="split"),
)
"""`split` is null until intake has kept the prompt; `dropped_by` is the step that dropped it.
`digest` is the hash of the prompt as it came, before any redaction of `body`."""

responses = Table(
    "responses",
    metadata,
    Column("id", Text, primary_key=True),
    _of("prompt_id", "prompts.id"),
    _text("response"),
    _text("model"),
    Column("temperature", Float, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("finished", Boolean, nullable=False),
    Column("logprob", Float, nullable=True),
    _text("created_at"),
    Index(None, "prompt_id"),
)

labels = Table(
    "labels",
    metadata,
    Column("id", Text, primary_key=True),
    _text("kind"),
    _of("prompt_id", "prompts.id"),
    _of("response_id", "responses.id", null=True),
    _text("labeler_id"),
    _text("labeler_role"),
    Column("rubric", Text, ForeignKey("rubrics.version"), nullable=True),
    Column("revision", Integer, nullable=False),
    _of("revises", "labels.id", null=True),
    _text("body"),
    _text("created_at"),
    UniqueConstraint("id", "labeler_role"),
    UniqueConstraint("revises"),
    ForeignKeyConstraint(["labeler_id", "labeler_role"], ["labelers.id", "labelers.role"]),
    CheckConstraint("kind IN ('demonstration', 'rating', 'ranking')", name="kind"),
    CheckConstraint("(kind = 'rating') = (response_id IS NOT NULL)", name="response"),
    CheckConstraint("(revision = 0) = (revises IS NULL)", name="revision"),
    Index(None, "prompt_id"),
    Index(None, "response_id"),
    Index(None, "labeler_id"),
)
"""Demonstrations, ratings and rankings; `body` is what the kind has of its own, as JSON."""

ranked_responses = Table(
    "ranked_responses",
    metadata,
    _of("label_id", "labels.id", key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("tier", Integer, nullable=False),
    _of("response_id", "responses.id"),
    Index(None, "response_id"),
)
"""A ranking's responses in the order they were shown, each with its tier, 0 the best."""

datasets = Table(
    "datasets",
    metadata,
    Column("id", Text, primary_key=True),
    _text("kind"),
    _text("purpose"),
    _text("query"),
    Column("num_records", Integer, nullable=False),
    _text("created_at"),
    UniqueConstraint("id", "purpose"),
    CheckConstraint("purpose IN ('training', 'evaluation')", name="purpose"),
)
"""Frozen exports. `num_records` is what it had when it was frozen."""

dataset_records = Table(
    "dataset_records",
    metadata,
    Column("dataset_id", Text, primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    _text("purpose"),
    _of("prompt_id", "prompts.id"),
    _text("label_id", null=True),
    _text("labeler_role", null=True),
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
)
"""What a dataset holds, in its order."""

dataset_files = Table(
    "dataset_files",
    metadata,
    _of("dataset_id", "datasets.id", key=True),
    Column("path", Text, primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("current", Boolean, nullable=False),
    Index(None, "sha256"),
)
"""Every file that a dataset was written to, by every hash it has had: a forgotten user changes
it."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    _of("user_id", "users.id"),
    _text("sha256"),
    Column("requests_per_minute", Integer, nullable=True),
    Column("tokens_per_day", Integer, nullable=True),
    _text("created_at"),
    _text("expires_at", null=True),
    _text("revoked_at", null=True),
    Index(None, "user_id"),
)
"""Keys of the gateway: `id` is the public part of a key, the rest is known only as its hash."""

daily_usage = Table(
    "daily_usage",
    metadata,
    _of("user_id", "users.id", key=True),
    Column("day", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
)
"""What a user has used of the gateway on a day (UTC)."""

feedback = Table(
    "feedback",
    metadata,
    Column("id", Text, primary_key=True),
    _of("prompt_id", "prompts.id"),
    _of("response_id", "responses.id"),
    _text("kind"),
    _text("value"),
    _text("created_at"),
    CheckConstraint("kind IN ('thumb', 'choice', 'correction')", name="kind"),
    Index(None, "prompt_id"),
    Index(None, "response_id"),
)
"""What users said of the answers that they got."""
