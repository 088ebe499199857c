"""The owner's pages of the rubric, version by version, and of the audit log."""

import json
from collections.abc import Sequence
from difflib import SequenceMatcher

from pydantic import Field
from sqlalchemy import RowMapping

from understudy.labeling.parts import LabelApp
from understudy.records import EVALUATION_PRIORITIES
from understudy.store.accounts.people import names
from understudy.store.audit import audit_page, verify
from understudy.store.rubrics import (
    check_rubric,
    labels_by_rubric,
    publish_rubric,
    read_by,
    rubric_rows,
)
from understudy.web.access import Access, ApiError, Body, Call, Json, Route, sentence

MOST_WORDS = 200_000
"""Characters of instructions."""
Priority = str


class Draft(Body):
    """A draft of instructions."""

    instructions: str = Field(max_length=MOST_WORDS)


class Version(Draft):
    """A new version."""

    version: str
    priorities: list[Priority] = Field(max_length=6)
    evaluation_priorities: list[Priority] = Field(max_length=6)


def versions(call: Call) -> Json:
    """Every version, newest first, each with what changed."""
    app: LabelApp = call.app
    rows = rubric_rows(app.store)
    numbers = labels_by_rubric(app.store)
    read, of = read_by(app.store)
    earlier: list[RowMapping | None] = [*rows[1:], None]
    return {
        "current": rows[0]["version"] if rows else None,
        "versions": [
            {
                "version": row["version"],
                "instructions": row["instructions"],
                "priorities": json.loads(row["priorities"]),
                "evaluation_priorities": _evaluation(row),
                "created_at": row["created_at"],
                "num_labels": numbers.get(row["version"], 0),
                "read_by": read.get(row["version"], 0),
                "of": of,
                "diff": None
                if before is None
                else diff(before["instructions"], row["instructions"]),
            }
            for row, before in zip(rows, earlier, strict=True)
        ],
    }


def _evaluation(row: RowMapping) -> list[str]:
    own = row["evaluation_priorities"]
    return json.loads(own) if own else list(EVALUATION_PRIORITIES)


def diff(before: str, after: str) -> list[tuple[str, str]]:
    """Lines marked "=" (kept), "-" (removed) or "+" (added)."""
    old, new = before.splitlines(), after.splitlines()
    found: list[tuple[str, str]] = []
    for tag, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            found += [("=", line) for line in old[i:j]]
        else:
            found += [("-", line) for line in old[i:j]]
            found += [("+", line) for line in new[k:m]]
    return found


def preview(call: Call) -> Json:
    """The changes that a draft would make."""
    rows = rubric_rows(call.app.store)
    return {"diff": diff(rows[0]["instructions"] if rows else "", call.body.instructions)}


def publish(call: Call) -> Json:
    """Make it the current version, which everybody reads before the next item."""
    app: LabelApp = call.app
    body: Version = call.body
    try:
        orders = (body.priorities, body.evaluation_priorities)
        check_rubric(body.version, body.instructions, *orders)
    except ValueError as error:
        raise ApiError(400, "invalid", sentence(error)) from None
    rows = rubric_rows(app.store)
    if rows and _same(rows[0], body):
        raise ApiError(400, "invalid", f"Nothing has changed since {rows[0]['version']}.")
    try:
        publish_rubric(
            app.store,
            body.version,
            body.instructions,
            body.priorities,
            body.evaluation_priorities,
            by=call.me.id,
            at=app.now(),
        )
    except ValueError as error:
        raise ApiError(400, "invalid", str(error)) from None
    return {"version": body.version}


def _same(row: RowMapping, body: Version) -> bool:
    return (
        row["instructions"] == body.instructions
        and json.loads(row["priorities"]) == body.priorities
        and _evaluation(row) == body.evaluation_priorities
    )


def audit(call: Call) -> Json:
    """Who did what, newest first."""
    app: LabelApp = call.app
    before = call.query.get("before", "")
    if before and not before.isdecimal():
        raise ApiError(400, "invalid", "before must be a row's number.")
    number = int(before) if before and len(before) < 16 else None
    action = call.query.get("action", "")
    rows = audit_page(app.store, before=number, action=action)
    name_of = names(app.store)
    return {
        "rows": [
            {
                "seq": row["seq"],
                "at": row["at"],
                "who": name_of.get(row["account_id"] or "", row["account_id"]),
                "action": row["action"],
                "object": name_of.get(row["object"] or "", row["object"]),
                "body": json.loads(row["body"]),
            }
            for row in rows
        ],
        "before": _next(rows),
        "action": action,
    }


def _next(rows: Sequence[RowMapping]) -> int | None:
    return rows[-1]["seq"] if rows and rows[-1]["seq"] > 1 else None


def verified(call: Call) -> Json:
    """Whether the chain of hashes is intact."""
    app: LabelApp = call.app
    problem = verify(app.store)
    newest = audit_page(app.store, limit=1)
    return {
        "ok": problem is None,
        "rows": newest[0]["seq"] if newest else 0,
        "head": newest[0]["hash"] if newest else None,
        "problem": problem,
    }


PATH = "/api/owner/rubrics"
ROUTES = (
    Route("GET", PATH, Access.OWNER, versions),
    Route("POST", PATH, Access.OWNER, publish, Version, max_bytes=1024 * 1024),
    Route("POST", PATH + "/preview", Access.OWNER, preview, Draft, max_bytes=1024 * 1024),
    Route("GET", "/api/owner/audit", Access.OWNER, audit, part="owner/audit.html"),
    Route(
        "GET",
        "/api/owner/audit/verify",
        Access.OWNER,
        verified,
        apart=True,
        part="owner/verified.html",
    ),
)
