"""The work routes: the next item, drafts, submissions, skips, history."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, NoReturn

from pydantic import Field

from understudy.labeling.markdown import shown_texts
from understudy.labeling.overlap import pair_agreement, wants_more
from understudy.labeling.parts import LabelApp
from understudy.labeling.questions import questions
from understudy.labeling.work.answers import ID, Submission, page_names, read_answer
from understudy.labeling.work.gate import advance, purpose_of
from understudy.records import as_messages
from understudy.store.labels.gold import gold_of
from understudy.store.labels.submissions import Refused, save_draft, submit
from understudy.store.queue.leases import (
    GoldDue,
    Taker,
    beat,
    end_expired,
    left_for,
    skip,
    take,
    unskip,
    view,
)
from understudy.store.queue.pace import day_of, history_of
from understudy.store.rows import prompt_of_body
from understudy.trust.gold import gold_due
from understudy.web.access import WORKING, Access, Account, ApiError, Body, Call, Json, Route

NOTHING = {
    "active": "There is nothing for you to do now: all items are done, or somebody else has them.",
    "mine": "Only prompts that you wrote or answered yourself are left; others rank those.",
}
Kind = Literal["demonstrate", "rank", "write"]


class Next(Body):
    """Which kind of item."""

    kind: Kind | None = None


class Draft(Body):
    """A draft, and the version that it is based on."""

    version: int = Field(ge=0)
    body: dict[str, Any]


class Skip(Body):
    """Why an item is skipped."""

    id: str = Field(pattern=ID)
    reason: Literal["unclear", "language", "sensitive", "other"]
    note: str = Field(default="", max_length=4000)


class Text(Body):
    """A text to count."""

    text: str


def next_assignment(call: Call) -> Json:
    """The current item, or the next one."""
    app: LabelApp = call.app
    account = call.me
    if app.sweep_is_due():
        end_expired(app.store, app.now())
    while account.stage in WORKING:
        taker = Taker(
            account_id=account.id,
            role=account.role,
            stage=account.stage,
            rubric=account.rubric,
        )
        found = take(
            app.store,
            taker,
            at=app.now(),
            expires_at=app.until(app.lease),
            kind=call.body.kind,
            gold_due=_gold_due(account),
        )
        if found is not None:
            return {"assignment": assignment_json(app, account, found), "nothing": None}
        if account.stage == "active":
            return {"assignment": None, "nothing": NOTHING["active"]}
        stage = advance(app, account)
        account = replace(account, stage=stage)
    raise ApiError(403, "gate", "You have to complete another step first.", go=account.home)


def one_assignment(call: Call) -> Json:
    """One's own assignment, in any state; views of a current task were recorded when it was
    given."""
    app: LabelApp = call.app
    row, texts = _own(app, call.path["assignment_id"], call.me)
    if row["state"] != "leased":
        app.note_views(call.me, "own answer", [row["prompt_id"]])
    return {"assignment": _shown(app, call.me, row, texts)}


def heartbeat(call: Call) -> Json:
    """Renew the lease of an open page."""
    app: LabelApp = call.app
    until = app.until(app.lease)
    try:
        state = beat(
            app.store, call.path["assignment_id"], call.me.id, at=app.now(), expires_at=until
        )
    except LookupError:
        _not_yours()
    return {"state": state, "expires_at": until if state == "leased" else None}


def put_draft(call: Call) -> Json:
    """Save a draft."""
    app: LabelApp = call.app
    at = app.now()
    try:
        version = save_draft(
            app.store,
            call.path["assignment_id"],
            call.me.id,
            version=call.body.version,
            body=call.body.body,
            at=at,
        )
    except LookupError:
        _not_yours()
    except Refused as refused:
        raise ApiError(409, refused.code, refused.message, **refused.more) from None
    return {"version": version, "saved_at": at}


def send(call: Call) -> Json:
    """Store a submission, exactly once however often it is sent."""
    app: LabelApp = call.app
    assignment_id, sent = call.path["assignment_id"], call.body
    assigned, texts = _own(app, assignment_id, call.me)
    # Work begun under older instructions names both those and the current ones, which were read.
    now = call.me.rubric or assigned["rubric"]
    row = {**assigned, "rubric": now, "rubric_begun": assigned["rubric"]}
    try:
        if sent.revises is not None:
            row["rubric_begun"] = app.rubric(sent.begun)["version"] if sent.begun else now
        groups = app.project.groups
        answer = read_answer(row, sent, texts, call.me.role, app.length, groups)
        if row["stage"] == "practice":
            answer = _with_feedback(app, row, answer)
        return submit(app.store, assignment_id, call.me.id, answer, at=app.now(), more=wants_more)
    except Refused as refused:
        raise ApiError(409, refused.code, refused.message, **refused.more) from None
    except ValueError as error:
        raise ApiError(400, "invalid", str(error)) from None


def give_back(call: Call) -> Json:
    """Skip an item; somebody else gets it."""
    app: LabelApp = call.app
    try:
        streak = skip(
            app.store,
            call.path["assignment_id"],
            call.me.id,
            at=app.now(),
            reason=call.body.reason,
            note=call.body.note,
        )
    except LookupError:
        _not_yours()
    except ValueError as error:
        raise ApiError(409, "already_submitted", str(error)) from None
    return {"state": "skipped", "go": "/work", "streak_skips": streak}


def take_back(call: Call) -> Json:
    """Undo a skip, while nobody else has the item."""
    app: LabelApp = call.app
    assignment_id = call.path["assignment_id"]
    try:
        well = unskip(
            app.store, assignment_id, call.me.id, at=app.now(), expires_at=app.until(app.lease)
        )
    except LookupError:
        _not_yours()
    if not well:
        raise ApiError(409, "lost", "Somebody else has this item now.")
    return {"assignment": assignment_json(app, call.me, assignment_id)}


def day(call: Call) -> Json:
    """Work done since the start of the labeler's local day (`?since=`), and work left."""
    app: LabelApp = call.app
    since = _moment(call.query.get("since")) or app.clock().strftime("%Y-%m-%dT00:00:00")
    found = day_of(app.store, call.me.id, since)
    hours = found.seconds / 3600
    taker = Taker(account_id=call.me.id, role=call.me.role, stage=call.me.stage)
    left = left_for(app.store, taker) if call.me.stage == "active" else {}
    return {
        "stage": call.me.stage,
        "done_today": found.done,
        "goal_today": app.goal_today,
        "left": {kind: left.get(kind, 0) for kind in ("demonstrate", "rank", "write")},
        "per_hour": round(found.timed / hours, 1) if hours else None,
        "median_seconds": found.median_seconds,
        "streak_skips": found.streak_skips,
        "trials": found.trials,
    }


def history(call: Call) -> Json:
    """One's own submissions, newest first."""
    rows = history_of(call.app.store, call.me.id, before=call.query.get("before"))
    done = [
        {
            "assignment": row["id"],
            "kind": row["kind"],
            "submitted_at": row["done_at"],
            "stage": row["stage"],
            "excerpt": _excerpt(dict(row)),
            "outcome": row["outcome"],
        }
        for row in rows
    ]
    return {"done": done, "before": rows[-1]["done_at"] if rows else None}


def tokens(call: Call) -> Json:
    """The length of a text."""
    length = call.app.length
    return {
        "count": length.count(call.body.text),
        "limit": length.limit,
        "unit": length.unit,
    }


def assignment_json(app: LabelApp, account: Account, assignment_id: str) -> Json:
    """An assignment as a page shows it, without ids of the prompt, responses or models."""
    return _shown(app, account, *_own(app, assignment_id, account))


def _shown(
    app: LabelApp, account: Account, row: Mapping[str, Any], texts: Mapping[str, str]
) -> Json:
    draft = None
    if row["draft_version"] is not None:
        draft = {
            "version": row["draft_version"],
            "body": json.loads(row["draft_body"]),
            "saved_at": row["saved_at"],
        }
    submitted = None
    if row["submission_id"] is not None:
        body = json.loads(row["submitted_body"])
        submitted = {"id": row["submission_id"], "body": body, "at": row["submitted_at"]}
    purpose = row["purpose"] if row["stage"] == "work" else purpose_of(account.role)
    return {
        "id": row["id"],
        "kind": row["kind"],
        "stage": row["stage"],
        "state": row["state"],
        "expires_at": row["expires_at"],
        "purpose": purpose,
        "rubric": row["rubric"],
        "rubric_now": account.rubric,
        "priorities": app.rubric(row["rubric"])[purpose],
        "prompt": None if row["prompt_body"] is None else {"turns": _turns(row)},
        "answers": shown_texts(
            {name: texts[of] for name, of in page_names(row).items()},
            markdown=json.loads(row["markdown"] or "false"),
        ),
        "brief": _brief(row),
        "questions": questions(app.project.groups),
        "limit": {"count": app.length.limit, "unit": app.length.unit},
        "draft": draft,
        "submitted": submitted,
        "changeable": row["stage"] == "work" and row["kind"] != "write",
        "feedback": None if submitted is None else json.loads(row["reply"])["feedback"],
    }


def _brief(row: Mapping[str, Any]) -> Json | None:
    if row["brief"] is None:
        return None
    brief = json.loads(row["brief"])
    return {"style": brief.get("style", "plain"), "text": brief.get("text", "")}


def _turns(row: Mapping[str, Any]) -> list[Json]:
    turns = as_messages(prompt_of_body(row["prompt_body"]))
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def _excerpt(row: Mapping[str, Any]) -> str:
    if row["prompt_body"] is None:
        return "A prompt of your own"
    return str(_turns(row)[-1]["content"][:80])


def _own(
    app: LabelApp, assignment_id: str, account: Account
) -> tuple[Mapping[str, Any], dict[str, str]]:
    try:
        row, texts = view(app.store, assignment_id, account.id)
        return dict(row), texts
    except LookupError:
        _not_yours()


def _not_yours() -> NoReturn:
    raise ApiError(404, "not_found", "You have no such item.") from None


def _moment(text: str | None) -> str | None:
    """A time sent by a browser, in the store's format."""
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
        return when.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        raise ApiError(400, "invalid", "since must be an ISO 8601 time.") from None


def _with_feedback(app: LabelApp, row: Mapping[str, Any], answer: Any) -> Any:
    """The researcher's answer and the reason, shown only in practice."""
    gold = gold_of(app.store, row["item_id"])
    if gold is None:
        return answer
    names = {response_id: name for name, response_id in page_names(row).items()}
    expected = json.loads(gold["answer"])
    tiers = [[names[one] for one in tier if one in names] for tier in expected.get("tiers") or []]
    ratings = {
        names[one]: {"likert": said.get("likert"), "flags": said.get("flags", {})}
        for one, said in (expected.get("ratings") or {}).items()
        if one in names
    }
    given = (answer.trial or {}).get("tiers")
    feedback = {
        "agreement": pair_agreement(_tier_of(expected.get("tiers")), _tier_of(given)),
        "expected": {"tiers": tiers, "ratings": ratings, "text": expected.get("text")},
        "why": gold["why"],
    }
    return replace(answer, feedback=feedback)


def _tier_of(tiers: Sequence[Sequence[str]] | None) -> dict[str, int]:
    return {one: tier for tier, several in enumerate(tiers or ()) for one in several}


def _gold_due(account: Account) -> GoldDue:
    """Whether the next item is gold; the result stays the same until that item is done."""

    def due(num_done: int, num_gold: int, rate: float) -> bool:
        draw = random.Random(f"gold/{account.id}/{num_done}/{num_gold}").random()
        return gold_due(num_done, num_gold, rate, draw)

    return due


ITEM = "/api/assignments/{assignment_id}"
ROUTES = (
    Route("GET", "/api/day", Access.WORKER, day),
    Route("POST", "/api/next", Access.WORKER, next_assignment, Next, max_bytes=4096),
    Route("GET", ITEM, Access.WORKER, one_assignment),
    Route("POST", ITEM + "/heartbeat", Access.WORKER, heartbeat, max_bytes=4096),
    Route("PUT", ITEM + "/draft", Access.WORKER, put_draft, Draft, max_bytes=1024 * 1024),
    Route("POST", ITEM + "/submit", Access.WORKER, send, Submission, max_bytes=2 * 1024 * 1024),
    Route("POST", ITEM + "/skip", Access.WORKER, give_back, Skip, max_bytes=32 * 1024),
    Route("POST", ITEM + "/unskip", Access.WORKER, take_back, max_bytes=4096),
    Route("GET", "/api/history", Access.WORKER, history),
    Route("POST", "/api/tokens", Access.WORKER, tokens, Text, max_bytes=1024 * 1024),
)
