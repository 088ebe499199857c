"""The owner's pages of labelers: who they are, how their screening went, which role they get.

Screening is scored automatically; a person decides (B.1). Self-descriptions appear only as counts
of the team (`team`) and as the single number of criterion 4.
"""

import json
from datetime import timedelta
from statistics import median
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import RowMapping

from understudy.labeling.accounts import LINK_LIFETIME
from understudy.labeling.owner.parts import (
    alarms_json,
    alt_of,
    excerpt,
    measure_json,
    no_item,
    now_standing,
    series_of,
    svg,
    turns,
)
from understudy.labeling.owner.plots import line_plot
from understudy.labeling.owner.standing import Standing
from understudy.labeling.parts import LabelApp
from understudy.store.accounts.alarms import clear_flag, dismiss_alarm
from understudy.store.accounts.descriptions import coverage, descriptions
from understudy.store.accounts.people import (
    NewAccount,
    account_rows,
    all_accounts,
    invite,
    names,
    reset_link,
    set_disabled,
    set_group,
)
from understudy.store.accounts.people import decide as decide_role
from understudy.store.accounts.screening import grade_trial, note_scores, trials, ungraded
from understudy.store.queue.pace import work_seconds
from understudy.trust.drift import windows_of, within
from understudy.trust.gold import Score, accuracy, score
from understudy.trust.meetings import measure, shares_of
from understudy.trust.pairs import Measure
from understudy.trust.screening import SENSITIVE, Criterion, criteria, proposal
from understudy.trust.topics import MINIMUM, TOPICS, new_topics, team_counts, topic_counts
from understudy.web.access import Access, ApiError, Body, Call, Content, Json, Route, sentence

Role = Literal["training", "held_out", "researcher"]


class Invitation(Body):
    """An invitation; without a role, screening and a person decide."""

    name: str = Field(max_length=200)
    role: Role | None = None
    screen: bool = True
    group: str | None = Field(default=None, max_length=80)


class Decision(Body):
    """A candidate's role; None rejects them."""

    role: Role | None
    group: str | None = Field(default=None, max_length=80)
    reason: str = Field(default="", max_length=4000)


class Grade(Body):
    """Criterion 3: a researcher's grade of a demonstration."""

    grade: int = Field(ge=1, le=7)


class Note(Body):
    """A note on clearing an alarm."""

    note: str = Field(default="", max_length=4000)


def listed(call: Call) -> Json:
    """All labelers."""
    app: LabelApp = call.app
    found, seconds = now_standing(app), work_seconds(app.store)
    raised: dict[str, int] = {}
    for alarm in alarms_json(app):
        raised[alarm["account_id"]] = raised.get(alarm["account_id"], 0) + 1
    weights = found.consensus.weights()
    return {
        "labelers": [
            {**_row(row, found, seconds, weights), "alarms": raised.get(row["id"], 0)}
            for row in account_rows(app.store)
        ]
    }


def _row(
    row: RowMapping,
    found: Standing,
    seconds: dict[str, list[float]],
    weights: dict[str, float],
) -> Json:
    took = seconds.get(row["id"])
    none = Measure(undefined="no two labelers answered the same question")
    return {
        "id": row["id"],
        "name": row["name"],
        "role": row["role"],
        "group": row["labeler_group"],
        "stage": row["stage"],
        "owner": bool(row["owner"]),
        "disabled": row["disabled_at"] is not None,
        "created_at": row["created_at"],
        "done": row["done"],
        "skipped": row["skipped"],
        "median_seconds": median(took) if took else None,
        "last_at": row["last_at"],
        "agreement": measure_json(found.agreement_of.get(row["id"], none)),
        "gold": measure_json(found.gold_of(row["id"])),
        "weight": weights.get(row["id"]),
    }


def shown(call: Call) -> Json:
    """One labeler: screening, work over time, alarms."""
    app: LabelApp = call.app
    row = _account(call)
    found, seconds = now_standing(app), work_seconds(app.store)
    name_of = names(app.store)
    alarms = alarms_json(app, row["id"])
    return {
        "labeler": {
            **_row(row, found, seconds, found.consensus.weights()),
            "alarms": len(alarms),
            "screen": bool(row["screen"]),
            "decided_by": name_of.get(row["decided_by"] or "", row["decided_by"]),
            "decided_at": row["decided_at"],
        },
        "screening": _screening_json(call, row["id"]),
        "work": _work_json(app, found, row["id"]),
        "alarms": alarms,
    }


def screened(app: LabelApp, account_id: str) -> tuple[list[Criterion], list[RowMapping]]:
    """A candidate's scores by criterion, and the trials."""
    rows = trials(app.store, account_id)
    scores = [_score(row) for row in rows if row["kind"] == "rank"]
    grades = [_grades(row) for row in rows if row["kind"] == "demonstrate"]
    done = [each for each in grades if each]
    return criteria(scores, done, num_ungraded=len(grades) - len(done)), rows


def _score(row: RowMapping) -> Score:
    """A ranking trial scored against the key; a skipped one scores nothing."""
    return score(json.loads(row["body"] or "{}"), json.loads(row["answer"]), SENSITIVE)


def _grades(row: RowMapping) -> list[float]:
    """The researchers' grades of a demonstration; a skipped one counts as 1."""
    if row["state"] == "skipped":
        return [1.0]
    graded = json.loads(row["graded"]) if row["graded"] else {"grades": []}
    return [float(one["grade"]) for one in graded["grades"]]


def _screening_json(call: Call, account_id: str) -> Json:
    found, rows = screened(call.app, account_id)
    call.app.note_views(call.me, "labeler", (row["prompt_id"] for row in rows))
    return {
        "criteria": [*map(_criterion_json, found), _topics_json(call.app, account_id)],
        "proposal": proposal(found),
        "trials": [_trial_json(row) for row in rows],
    }


def _criterion_json(one: Criterion) -> Json:
    return {
        "name": one.name,
        "title": one.title,
        "score": one.score,
        "cutoff": one.cutoff,
        "passes": one.passes,
        "n": one.n,
        "why": one.why,
    }


def _topics_json(app: LabelApp, account_id: str) -> Json:
    """Criterion 4 as a single number, which does not reveal the topics."""
    covered = coverage(app.store)
    mine = covered.pop(account_id, None)
    team = [covered[row["id"]] for row in _team(app) if row["id"] in covered]
    if mine is None:
        text = "not answered (optional)"
    else:
        number = new_topics(mine, team)
        topics = "1 topic" if number == 1 else f"{number} topics"
        text = f"answered; covers {topics} that fewer than 3 of the team cover"
    return {"name": "topics", "title": "Topics", "score": None, "text": text}


def _trial_json(row: RowMapping) -> Json:
    ranks = row["kind"] == "rank"
    shares = _score(row).to_json() if ranks else {}
    grades = [] if ranks else _grades(row)
    return {
        "assignment_id": row["id"],
        "kind": row["kind"],
        "excerpt": excerpt(row["prompt_body"]),
        "scores": {name: agreed / total for name, (agreed, total) in shares.items()},
        "grade": sum(grades) / len(grades) if grades else None,
        "needs_grade": not ranks and not grades,
    }


def _work_json(app: LabelApp, found: Standing, account_id: str) -> Json:
    labels, windows = _windows(found, account_id)
    agreed: list[Measure] = [window["agreement"] for window in windows]
    return {
        "plot": f"/api/owner/plots/labelers/{account_id}.svg",
        "alt": alt_of("Agreement with the other labelers", labels, agreed),
        "windows": [
            {
                **window,
                "agreement": measure_json(window["agreement"]),
                "gold": measure_json(window["gold"]),
            }
            for window in windows
        ],
    }


def _windows(found: Standing, account_id: str) -> tuple[list[str], list[dict[str, Any]]]:
    """The labeler's latest items by time window: number, speed, agreement."""
    work = found.work.get(account_id, [])
    gold = [one for one in found.gold if one.account_id == account_id]
    mine = found.meetings_of.get(account_id, [])
    agreed = shares_of(mine, account_id)
    times = [one.at for one in work] + [one.at for one in gold] + [at for at, _, _ in agreed if at]
    rows: list[dict[str, Any]] = []
    windows = windows_of(times)
    met = within(windows, mine, lambda one: one.at)
    for window, meetings in zip(windows, met, strict=True):
        items = [one for one in work if window.holds(one.at)]
        took = [one.seconds for one in items if one.seconds is not None and not one.skipped]
        rows.append(
            {
                "label": window.label,
                "done": sum(not one.skipped for one in items),
                "skipped": sum(one.skipped for one in items),
                "median_seconds": median(took) if took else None,
                "agreement": measure(meetings),
                "gold": accuracy(
                    (one.prompt_id, one.score.ranking) for one in gold if window.holds(one.at)
                ),
            }
        )
    return [str(row["label"]) for row in rows], rows


def labeler_plot(call: Call) -> Content:
    """One labeler's agreement over time."""
    row = _account(call)
    labels, windows = _windows(now_standing(call.app), row["id"])
    series = [
        series_of("With other labelers", [window["agreement"] for window in windows]),
        series_of("With gold items", [window["gold"] for window in windows]),
    ]
    return svg(line_plot("Agreement over time", labels, series, percent=True))


def invite_one(call: Call) -> Json:
    """Make a one-time link."""
    app: LabelApp = call.app
    until = app.until(LINK_LIFETIME)
    new = NewAccount(
        name=call.body.name,
        role=call.body.role,
        screen=call.body.screen,
        group=call.body.group,
    )
    try:
        token = invite(app.store, new, by=call.me.id, at=app.now(), expires_at=until)
    except ValueError as error:
        raise ApiError(400, "invalid", str(error)) from None
    return {"name": "Invitation link", "link": f"/invitation#{token}", "expires_at": until}


def decide(call: Call) -> Json:
    """Give a candidate a role or reject them, which ends screening."""
    app: LabelApp = call.app
    row, role = _account(call), call.body.role
    if row["role"] is not None and role not in (None, row["role"]):
        message = f"{row['name']} is {row['role']}, and a role never changes."
        raise ApiError(409, "decided", message)
    group = call.body.group
    if group is not None and group != row["labeler_group"]:
        if row["role"] is not None:
            of = (
                f"is of the group {row['labeler_group']}"
                if row["labeler_group"]
                else "has no group"
            )
            message = f"{row['name']} {of}, which does not change once there is a role."
            raise ApiError(409, "decided", message)
        set_group(app.store, row["id"], group)
    decide_role(app.store, row["id"], role, by=call.me.id, at=app.now(), reason=call.body.reason)
    found, _ = screened(app, row["id"])
    scores = {one.name: one.score for one in found if one.score is not None}
    if scores:
        note_scores(app.store, row["id"], scores)
    return {"stage": "rejected" if role is None else "active", "role": role}


def disable(call: Call) -> Json:
    """Disable an account."""
    return _set_disabled(call, True)


def enable(call: Call) -> Json:
    """Enable an account."""
    return _set_disabled(call, False)


def _set_disabled(call: Call, disabled: bool) -> Json:
    row = _account(call)
    if disabled and row["id"] == call.me.id:
        raise ApiError(409, "invalid", "You cannot disable your own account.")
    set_disabled(call.app.store, row["id"], disabled, by=call.me.id, at=call.app.now())
    return {"disabled": disabled}


def reset(call: Call) -> Json:
    """Make a link for a new password."""
    app: LabelApp = call.app
    row, until = _account(call), app.until(timedelta(days=1))
    try:
        token = reset_link(app.store, row["id"], by=call.me.id, at=app.now(), expires_at=until)
    except ValueError as error:
        raise ApiError(409, "invalid", sentence(error)) from None
    return {"name": "Password link", "link": f"/invitation#{token}", "expires_at": until}


def grading(call: Call) -> Json:
    """The next demonstration to grade, without its author."""
    rows = ungraded(call.app.store)
    if not rows:
        return {"next": None, "left": 0, "done": False}
    row = rows[0]
    call.app.note_views(call.me, "grading", [row["prompt_id"]])
    following = {
        "assignment_id": row["assignment_id"],
        "prompt": {"turns": turns(row["prompt_body"])},
        "text": json.loads(row["body"]).get("text", ""),
        "expected": json.loads(row["answer"]).get("text"),
    }
    return {"next": following, "left": len(rows), "done": False}


def grade(call: Call) -> Json:
    """Grade one; returns the next."""
    app: LabelApp = call.app
    try:
        grade_trial(
            app.store,
            call.path["assignment_id"],
            call.body.grade,
            by=call.me.id,
            at=app.now(),
        )
    except LookupError:
        no_item()
    return {**grading(call), "done": True}


def clear(call: Call) -> Json:
    """Clear an alarm that a person has looked at."""
    app: LabelApp = call.app
    at, name, note = app.now(), call.path["id"], call.body.note
    try:
        if name.startswith("now:"):
            _, account_id, kind = name.split(":")
            dismiss_alarm(app.store, account_id, kind, by=call.me.id, at=at, note=note)
        else:
            clear_flag(app.store, name, by=call.me.id, at=at, note=note)
    except (LookupError, ValueError):
        no_item()
    return {"cleared_at": at}


def team(call: Call) -> Json:
    """Counts of the team's self-descriptions, without small ones."""
    return team_json(call.app)


def team_json(app: LabelApp) -> Json:
    """The same counts for an export."""
    working = _team(app)
    said = [json.loads(row["body"]) for row in descriptions(app.store)]
    covered = coverage(app.store)
    answered = len(said)
    counts = team_counts(said)
    topics = topic_counts([covered[row["id"]] for row in working if row["id"] in covered])
    return {
        "answered": answered if answered >= MINIMUM else None,
        "of": len(working),
        "minimum": MINIMUM,
        "fields": [
            {"name": name, "cells": [{"option": o, "count": n} for o, n in cells]}
            for name, cells in counts.items()
        ],
        "topics": [{"topic": topic, "name": TOPICS[topic], "count": n} for topic, n in topics],
    }


def _team(app: LabelApp) -> list[RowMapping]:
    """Labelers with a role who may sign in."""
    return [row for row in all_accounts(app.store) if row["role"] and not row["disabled_at"]]


def _account(call: Call) -> RowMapping:
    for row in account_rows(call.app.store, call.path["account_id"]):
        return row
    no_item()


PATH = "/api/owner/labelers"
ONE = PATH + "/{account_id}"
PLOT = "/api/owner/plots/labelers/{account_id}.svg"
ROUTES = (
    Route("GET", PATH, Access.OWNER, listed, apart=True, part="owner/labelers.html"),
    Route("POST", PATH, Access.OWNER, invite_one, Invitation, 4096, part="owner/link.html"),
    Route("GET", ONE, Access.OWNER, shown, apart=True, part="owner/labeler.html"),
    Route("POST", ONE + "/decide", Access.OWNER, decide, Decision, max_bytes=32 * 1024),
    Route("POST", ONE + "/disable", Access.OWNER, disable, max_bytes=4096),
    Route("POST", ONE + "/enable", Access.OWNER, enable, max_bytes=4096),
    Route("POST", ONE + "/reset", Access.OWNER, reset, max_bytes=4096, part="owner/link.html"),
    Route("GET", PLOT, Access.OWNER, labeler_plot, apart=True),
    Route("GET", "/api/owner/grading", Access.OWNER, grading, part="owner/grading.html"),
    Route(
        "POST",
        "/api/owner/grading/{assignment_id}",
        Access.OWNER,
        grade,
        Grade,
        max_bytes=4096,
        part="owner/grading.html",
    ),
    Route("POST", "/api/owner/alarms/{id}/clear", Access.OWNER, clear, Note, max_bytes=32 * 1024),
    Route("GET", "/api/owner/team", Access.OWNER, team, part="owner/team.html"),
)
