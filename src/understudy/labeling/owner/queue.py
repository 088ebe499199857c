"""The owner's home and queue pages: work left, pace, what needs a person."""

from collections.abc import Sequence
from datetime import date, timedelta

from sqlalchemy import RowMapping

from understudy.labeling.owner.disagreements import num_open
from understudy.labeling.owner.parts import (
    alarms_json,
    excerpt,
    measure_json,
    no_item,
    now_standing,
    svg,
)
from understudy.labeling.owner.plots import bar_plot
from understudy.labeling.parts import LabelApp
from understudy.labeling.plan import PlanConfig, plan
from understudy.store.accounts.people import all_accounts
from understudy.store.accounts.screening import ungraded
from understudy.store.audit import append
from understudy.store.engine import writing
from understudy.store.labels.shared import state_of_labels
from understudy.store.queue.items import (
    end_waiting,
    live,
    nobody_left,
    queue_rows,
    set_aside,
    set_item_state,
)
from understudy.store.queue.pace import days
from understudy.store.queue.rounds import SETTING, How, late_responses
from understudy.store.settings import MARKDOWN, set_setting, setting
from understudy.trust.drift import Pace, pace
from understudy.trust.pairs import Measure
from understudy.web.access import Access, Body, Call, Content, Json, Route

PLOT = "/api/owner/plots/pace.svg"
MOST_DAYS = 28
"""Days that the plot of the pace shows."""


def home(call: Call) -> Json:
    """The whole project at a glance."""
    app: LabelApp = call.app
    accounts = all_accounts(app.store)
    rows = queue_rows(app.store)
    by_role = {line.name: line.agreement for line in now_standing(app).lines("drop")}
    alarms = alarms_json(app)
    waiting = sum(row["stage"] == "waiting" and not row["disabled_at"] for row in accounts)
    counts = {
        "labelers_active": sum(
            row["stage"] == "active" and row["role"] is not None and not row["disabled_at"]
            for row in accounts
        ),
        "labelers_waiting": waiting,
        "items_open": sum(row["number"] for row in rows if row["state"] == "open"),
        "items_done": sum(row["number"] for row in rows if row["state"] == "done"),
        "labels": state_of_labels(app.store)[0],
        "disagreements_open": num_open(app.store),
        "alarms": len(alarms),
    }
    none = measure_json(Measure(undefined="no two labelers answered the same question"))
    agreed = {
        role: measure_json(by_role[role]) if role in by_role else none
        for role in ("training", "held_out")
    }
    return {
        "project": app.project.folder.resolve().name,
        "counts": counts,
        "pace": _pace_json(app, rows),
        "agreement": agreed,
        "alarms": alarms,
        "todo": _todo(app, counts, rows),
    }


def _todo(app: LabelApp, counts: Json, rows: Sequence[RowMapping]) -> list[Json]:
    aside = sum(row["number"] for row in rows if row["state"] == "set_aside")
    grades = len(ungraded(app.store))
    found = [
        (counts["labelers_waiting"], "{} waiting for a decision", "/owner/labelers"),
        (grades, "{} of screening to grade", "/owner/labelers"),
        (counts["disagreements_open"], "{} to decide", "/owner/disagreements"),
        (counts["alarms"], "{} to look at", "/owner/labelers"),
        (aside, "{} set aside after several skips", "/owner/queue"),
        (_stuck(app), "{} waiting for more people than the team has", "/owner/queue"),
        (_late(app), "{} with responses that came later", "/owner/queue"),
    ]
    nouns = ("candidate", "demonstration", "disagreement", "alarm", "item", "item", "prompt")
    todo = [
        {"text": text.format(f"{n} {noun}{'s' if n != 1 else ''}"), "go": go}
        for (n, text, go), noun in zip(found, nouns, strict=True)
        if n
    ]
    if not rows:
        todo.append({"text": "The queue is empty: fill it", "go": "/owner/queue"})
    return todo


def _late(app: LabelApp) -> int:
    """The number of queued prompts with responses that no item ranks yet; 0 if the owner chose to
    leave these out."""
    if setting(app.store, SETTING, "together") == "leave":
        return 0
    return len({one.prompt_id for one in late_responses(app.store)})


def _stuck(app: LabelApp) -> int:
    """The number of items that need more people; 0 while there is no team."""
    team = any(row["stage"] == "active" and row["role"] for row in all_accounts(app.store))
    return sum(nobody_left(app.store).values()) if team else 0


def queue(call: Call) -> Json:
    """The queue, its pace, the people at work, and the items set aside."""
    app: LabelApp = call.app
    rows, aside = queue_rows(app.store), set_aside(app.store)
    app.note_views(call.me, "queue", (row["prompt_id"] for row, _ in aside))
    return {
        "rows": _table(rows),
        "set_aside": [
            {
                "item_id": row["id"],
                "kind": row["kind"],
                "excerpt": excerpt(row["prompt_body"]),
                "num_skips": row["num_skips"],
                "reasons": reasons,
                "state": row["state"],
            }
            for row, reasons in aside
        ],
        "live": [
            {
                "name": row["name"],
                "kind": row["kind"],
                "since": row["leased_at"],
                "beat_at": row["beat_at"],
                "expires_at": row["expires_at"],
            }
            for row in live(app.store, app.now())
        ],
        "pace": _pace_json(app, rows),
        "nobody_left": nobody_left(app.store),
        "late": len(late_responses(app.store)),
        "new_responses": setting(app.store, SETTING, "together"),
        "markdown": setting(app.store, MARKDOWN, False),
    }


class Shown(Body):
    """How responses are shown."""

    markdown: bool


def show(call: Call) -> Json:
    """Choose whether labelers see responses as Markdown or as plain text."""
    set_setting(call.app.store, MARKDOWN, call.body.markdown, call.app.now(), by=call.me.id)
    return {"markdown": call.body.markdown}


class Fill(Body):
    """How to fill the queue."""

    new_responses: How = "together"
    demonstrate_answered: bool = False


def fill(call: Call) -> Json:
    """Add new items to the queue, as `understudy labels plan` does."""
    app: LabelApp = call.app
    how = call.body.new_responses
    if how != setting(app.store, SETTING, "together"):
        set_setting(app.store, SETTING, how, app.now(), by=call.me.id)
    config = PlanConfig(
        project=app.project.folder, demonstrate_answered=call.body.demonstrate_answered
    )
    said = plan(config)
    with writing(app.store.engine) as connection:
        body = {"said": said}
        append(connection, at=app.now(), account_id=call.me.id, action="queue.filled", body=body)
    return {"said": said.splitlines()}


def end(call: Call) -> Json:
    """End the items that nobody is left for."""
    app: LabelApp = call.app
    done, aside = end_waiting(app.store, by=call.me.id, at=app.now())
    return {"done": done, "set_aside": aside}


def _table(rows: Sequence[RowMapping]) -> list[Json]:
    """A row per kind, purpose and pool, with the number of items in each state."""
    found: dict[tuple[str, str, str], Json] = {}
    for row in rows:
        key = (row["kind"], row["purpose"], row["pool"])
        states = {"open": 0, "done": 0, "set_aside": 0, "closed": 0}
        sums = {"labels_done": 0, "labels_wanted": 0, "live": 0, "skips": 0}
        head = dict(zip(("kind", "purpose", "pool"), key, strict=True))
        one = found.setdefault(key, {**head, **states, **sums})
        one[row["state"]] += row["number"]
        for name in sums:
            one[name] += int(row[name])
    for one in found.values():
        if one["pool"] == "gold":
            one["labels_wanted"] = None  # everybody labels a gold item
    return list(found.values())


def _pace(app: LabelApp) -> Pace:
    """The items finished on each day that the plot shows."""
    since = f"{date.fromisoformat(app.now()[:10]) - timedelta(days=MOST_DAYS - 1)}"
    found = days(app.store, since)
    return pace([(one.day, one.account_id, one.done, one.skipped) for one in found], app.now())


def _pace_json(app: LabelApp, rows: Sequence[RowMapping]) -> Json:
    found = _pace(app)
    left = sum(
        max(int(row["labels_wanted"]) - int(row["labels_done"]), 0)
        for row in rows
        if row["state"] == "open" and row["pool"] != "gold"
    )
    shown = found.days
    total = sum(day[1] for day in shown)
    alt = f"Items finished a day: {total} in the last {len(shown)} days."
    return {
        "plot": PLOT,
        "alt": alt if shown else "Items finished a day: nothing to show yet.",
        "days": [
            dict(zip(("day", "done", "skipped", "labelers"), day, strict=True)) for day in shown
        ],
        "per_day": found.per_day,
        "left": left,
        "days_left": left / found.per_day if found.per_day else None,
    }


def pace_plot(call: Call) -> Content:
    """Bars of items finished and skipped."""
    shown = _pace(call.app).days
    stacks = [("done", [day[1] for day in shown]), ("skipped", [day[2] for day in shown])]
    return svg(bar_plot("Items a day", [day[0] for day in shown], stacks))


def reopen(call: Call) -> Json:
    """Reopen an item."""
    return _set_state(call, "open")


def close(call: Call) -> Json:
    """Close an item."""
    return _set_state(call, "closed")


def _set_state(call: Call, state: str) -> Json:
    app: LabelApp = call.app
    try:
        set_item_state(app.store, call.path["item_id"], state, by=call.me.id, at=app.now())
    except LookupError:
        no_item()
    return {"state": state}


ROUTES = (
    Route("GET", "/api/owner/home", Access.OWNER, home, apart=True, part="owner/home.html"),
    Route("GET", "/api/owner/queue", Access.OWNER, queue, apart=True, part="owner/queue.html"),
    Route("GET", PLOT, Access.OWNER, pace_plot, apart=True),
    Route("POST", "/api/owner/queue/shown", Access.OWNER, show, Shown, max_bytes=4096),
    Route("POST", "/api/owner/queue/fill", Access.OWNER, fill, Fill, max_bytes=4096),
    Route("POST", "/api/owner/queue/end", Access.OWNER, end, max_bytes=4096),
    Route("POST", "/api/owner/items/{item_id}/reopen", Access.OWNER, reopen, max_bytes=4096),
    Route("POST", "/api/owner/items/{item_id}/close", Access.OWNER, close, max_bytes=4096),
)
