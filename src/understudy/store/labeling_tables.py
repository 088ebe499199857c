"""The tables of the labelers' pages: accounts, the queue, submissions, trust, the access log.

The database itself refuses two labelers in one slot of an item, one item twice for one labeler, a
repeated submission, and updates of the audit log. Deleting a user deletes the items on their
prompts and all submissions for them.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    UniqueConstraint,
    text,
)

from understudy.store.border import CleanText as Text
from understudy.store.tables import column_of, frozen, metadata, text_column

ROLES = "('training', 'held_out', 'researcher')"
STAGES = ("practice", "screening", "waiting", "active", "rejected")
"""The stage that an account has reached."""
ITEM_STATES = ("open", "done", "set_aside", "closed")
TASK_STATES = ("leased", "expired", "done", "skipped")
JOB_STATES = ("waiting", "running", "done", "failed")


def _among(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    text_column("name"),
    text_column("name_key"),
    text_column("password", null=True),
    Column("owner", Boolean, nullable=False),
    text_column("role", null=True),
    text_column("stage"),
    Column("screen", Boolean, nullable=False),
    text_column("labeler_group", null=True),
    text_column("scores"),
    text_column("created_at"),
    text_column("password_at", null=True),
    text_column("disabled_at", null=True),
    text_column("decided_by", null=True),
    text_column("decided_at", null=True),
    UniqueConstraint("name_key"),
    CheckConstraint(f"role IS NULL OR role IN {ROLES}", name="role"),
    CheckConstraint(_among("stage", STAGES), name="stage"),
    CheckConstraint("stage <> 'active' OR role IS NOT NULL OR owner", name="active"),
)
"""Who may sign in. `id` becomes the labeler's id once there is a role; `password` an argon2id hash;
`screen` whether practice and screening come before work; `scores` what screening found, as JSON."""

invitations = Table(
    "invitations",
    metadata,
    Column("id", Text, primary_key=True),
    column_of("account_id", "accounts.id"),
    text_column("kind"),
    text_column("created_by", null=True),
    text_column("created_at"),
    text_column("expires_at"),
    text_column("used_at", null=True),
    CheckConstraint("kind IN ('invitation', 'reset')", name="kind"),
    Index(None, "account_id"),
)
"""One-time links; `id` is the hash of the link's token."""

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    column_of("account_id", "accounts.id"),
    text_column("created_at"),
    text_column("seen_at"),
    text_column("revoked_at", null=True),
    Index(None, "account_id"),
)
"""Sessions; `id` is the hash of the cookie."""

sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("key", Text, primary_key=True),
    Column("count", Integer, nullable=False),
    text_column("last_at"),
)
"""Wrong passwords in a row, by name and address, by address, by name."""

acknowledgements = Table(
    "acknowledgements",
    metadata,
    column_of("account_id", "accounts.id", key=True),
    Column("rubric", Text, ForeignKey("rubrics.version"), primary_key=True),
    text_column("at"),
)
"""Which versions of the instructions each account has read."""

items = Table(
    "items",
    metadata,
    Column("id", Text, primary_key=True),
    text_column("kind"),
    column_of("prompt_id", "prompts.id", null=True),
    text_column("purpose"),
    Column("round", Integer, nullable=False, server_default="0"),
    text_column("pool"),
    Column("wanted", Integer, nullable=False),
    Column("max_wanted", Integer, nullable=False),
    Column("num_done", Integer, nullable=False),
    Column("num_live", Integer, nullable=False),
    Column("num_skips", Integer, nullable=False),
    text_column("state"),
    Column("priority", Integer, nullable=False),
    text_column("brief", null=True),
    text_column("created_at"),
    UniqueConstraint("kind", "prompt_id", "purpose", "round"),
    CheckConstraint("kind IN ('demonstrate', 'rank', 'write')", name="kind"),
    CheckConstraint("(kind = 'write') = (prompt_id IS NULL)", name="prompt"),
    CheckConstraint("purpose IN ('training', 'evaluation')", name="purpose"),
    CheckConstraint("pool IN ('single', 'calibration', 'gold')", name="pool"),
    CheckConstraint(_among("state", ITEM_STATES), name="state"),
    Index(None, "prompt_id"),
    Index("ix_items_next", "state", "kind", "priority", "id"),
)
"""Items to label. `wanted` people label each one, up to `max_wanted` where they disagree;
`num_live` leases are active. Lower `priority` comes first. `round` counts the items that rank
responses to one prompt: later responses get an item of their own."""

item_responses = Table(
    "item_responses",
    metadata,
    column_of("item_id", "items.id", key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    column_of("response_id", "responses.id"),
    Index(None, "response_id"),
)
"""The distinct responses that an item ranks, frozen when it was planned."""

assignments = Table(
    "assignments",
    metadata,
    Column("id", Text, primary_key=True),
    column_of("item_id", "items.id"),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    text_column("stage"),
    Column("slot", Integer, nullable=True),
    text_column("state"),
    text_column("outcome", null=True),
    text_column("shown"),
    text_column("rubric", null=True),
    text_column("leased_at"),
    text_column("expires_at"),
    text_column("beat_at"),
    text_column("done_at", null=True),
    text_column("reason", null=True),
    text_column("note", null=True),
    Column("seconds", Float, nullable=True),
    text_column("ui", null=True),
    text_column("submission_id", null=True),
    UniqueConstraint("item_id", "account_id"),
    CheckConstraint("stage IN ('work', 'practice', 'screening')", name="stage"),
    CheckConstraint(_among("state", TASK_STATES), name="state"),
    CheckConstraint("(state = 'done') = (outcome IS NOT NULL)", name="outcome"),
    Index(
        "uq_assignments_slot",
        "item_id",
        "slot",
        unique=True,
        # PostgreSQL needs no condition, since assignments in other states have no slot; stating one
        # would load its dialect even for SQLite.
        sqlite_where=text("stage = 'work' AND state IN ('leased', 'done')"),
    ),
    Index("ix_assignments_live", "state", "expires_at"),
    Index("ix_assignments_of_account", "account_id", "state", "done_at"),
)
"""Who has or had which item: a lease until `expires_at`, renewed by the page. A late submission for
which no slot was left has none. `shown` is the display order, as response ids."""

prompt_views = Table(
    "prompt_views",
    metadata,
    column_of("prompt_id", "prompts.id", key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("page", Text, primary_key=True),
    Column("at", Text, primary_key=True),
    Index(None, "account_id", "at"),
)
"""Who was shown which prompt, when and where, beyond `assignments`: reopened submissions and the
owner's pages. Holds ids only; rows go with the prompt."""

drafts = Table(
    "drafts",
    metadata,
    column_of("assignment_id", "assignments.id", key=True),
    Column("version", Integer, nullable=False),
    text_column("body"),
    text_column("saved_at"),
)
"""Unsent work."""

submissions = Table(
    "submissions",
    metadata,
    Column("id", Text, primary_key=True),
    column_of("assignment_id", "assignments.id"),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    text_column("digest"),
    text_column("body"),
    text_column("reply"),
    text_column("revises", null=True),
    text_column("created_at"),
    UniqueConstraint("revises"),
    Index(None, "assignment_id"),
    Index(None, "account_id"),
)
"""Every acknowledged submission, by the id that the browser generated, with the reply."""

submission_labels = Table(
    "submission_labels",
    metadata,
    column_of("submission_id", "submissions.id", key=True),
    column_of("label_id", "labels.id", key=True),
    Index(None, "label_id"),
)
"""The labels made from a submission."""

withdrawals = Table(
    "withdrawals",
    metadata,
    column_of("label_id", "labels.id", key=True),
    text_column("submission_id"),
    text_column("at"),
)
"""Labels that their labeler withdrew, such as a ranking changed to "cannot rank"."""

prompt_tags = Table(
    "prompt_tags",
    metadata,
    column_of("submission_id", "submissions.id", key=True),
    column_of("prompt_id", "prompts.id", key=True),
    text_column("account_id"),
    text_column("body"),
    text_column("created_at"),
    Index(None, "prompt_id"),
)
"""Labelers' tags of a prompt (Table 7)."""

gold_items = Table(
    "gold_items",
    metadata,
    column_of("item_id", "items.id", key=True),
    text_column("use"),
    Column("author_id", Text, ForeignKey("accounts.id"), nullable=True),
    text_column("answer"),
    text_column("why"),
    text_column("created_at"),
    text_column("retired_at", null=True),
    CheckConstraint("use IN ('practice', 'screening', 'mixed')", name="use"),
    Index(None, "use"),
)
"""Items with a researcher's own answer: for practice, for screening, or mixed into work."""

trial_answers = Table(
    "trial_answers",
    metadata,
    column_of("assignment_id", "assignments.id", key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    text_column("use"),
    column_of("item_id", "items.id"),
    text_column("body"),
    text_column("score", null=True),
    text_column("graded", null=True),
    text_column("created_at"),
    CheckConstraint("use IN ('practice', 'screening')", name="use"),
    Index(None, "account_id"),
    Index(None, "item_id"),
)
"""Submissions in practice and screening, which become no labels; `body` names responses by id."""

self_descriptions = Table(
    "self_descriptions",
    metadata,
    column_of("account_id", "accounts.id", key=True),
    text_column("body"),
    text_column("updated_at"),
)
"""Labelers' optional self-descriptions; private, for aggregates and weights only."""

topic_coverage = Table(
    "topic_coverage",
    metadata,
    column_of("account_id", "accounts.id", key=True),
    Column("topic", Text, primary_key=True),
    Column("can_judge", Boolean, nullable=False),
)
"""Topics that a labeler claims to be able to judge (B.1, criterion 4)."""

adjudications = Table(
    "adjudications",
    metadata,
    Column("id", Text, primary_key=True),
    column_of("item_id", "items.id"),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    text_column("body"),
    text_column("created_at"),
    Index(None, "item_id"),
)
"""Decisions on items about which labelers disagree."""

worker_flags = Table(
    "worker_flags",
    metadata,
    Column("id", Text, primary_key=True),
    column_of("account_id", "accounts.id"),
    text_column("kind"),
    text_column("body"),
    text_column("created_at"),
    text_column("cleared_by", null=True),
    text_column("cleared_at", null=True),
    Index(None, "account_id"),
)
"""What a person should look at, such as many skips in a row."""

audit_log = Table(
    "audit_log",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    text_column("at"),
    text_column("account_id", null=True),
    text_column("action"),
    text_column("object", null=True),
    text_column("body"),
    text_column("previous"),
    text_column("hash"),
)
"""Who did what; each row's hash covers the row before, and no row ever changes."""
frozen(audit_log, "audit_log is append-only", also_delete=True)

export_jobs = Table(
    "export_jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    text_column("request"),
    text_column("state"),
    Column("progress", Integer, nullable=False),
    Column("total", Integer, nullable=True),
    text_column("path", null=True),
    text_column("sha256", null=True),
    text_column("error", null=True),
    text_column("created_at"),
    text_column("started_at", null=True),
    text_column("finished_at", null=True),
    CheckConstraint(_among("state", JOB_STATES), name="state"),
)
"""Exports that the owner requested in the browser."""

settings = Table(
    "settings",
    metadata,
    Column("name", Text, primary_key=True),
    text_column("value"),
    text_column("updated_at"),
)
"""The owner's settings, as JSON by name."""
