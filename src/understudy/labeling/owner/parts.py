"""Shared by the owner's routes: measures, excerpts and alarms as JSON; the error for a missing
item."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, NoReturn

from understudy.labeling.clock import stamp
from understudy.labeling.owner.plots import Series
from understudy.labeling.owner.standing import Standing, standing
from understudy.labeling.parts import LabelApp
from understudy.records import as_messages
from understudy.store.accounts.alarms import dismissed, open_flags
from understudy.store.accounts.people import names
from understudy.store.rows import prompt_of_body
from understudy.trust.drift import Alarm
from understudy.trust.pairs import Measure
from understudy.web.access import ApiError, Content, Json

QUIET_DAYS = 7
"""How long a cleared alarm is not raised again."""
EXCERPT = 120


def now_standing(app: LabelApp) -> Standing:
    """The current standing of the labels."""
    return standing(app.store, app.now())


def measure_json(measure: Measure) -> Json:
    """A measure as JSON for the pages."""
    return asdict(measure)


def turns(prompt_body: str) -> list[Json]:
    """A prompt's turns."""
    found = as_messages(prompt_of_body(prompt_body))
    return [{"role": turn.role, "content": turn.content} for turn in found]


def excerpt(prompt_body: str | None) -> str:
    """The beginning of a prompt's last turn."""
    if prompt_body is None:
        return "A prompt to write"
    text = str(turns(prompt_body)[-1]["content"])
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


def alarms_json(app: LabelApp, account_id: str | None = None) -> list[Json]:
    """What a person should look at: raised flags, then computed alarms."""
    name_of = names(app.store)
    found = [
        {
            "id": row["id"],
            "account_id": row["account_id"],
            "name": row["name"],
            "kind": row["kind"],
            "text": _flag_text(row["kind"], json.loads(row["body"])),
            "since": row["created_at"],
        }
        for row in open_flags(app.store)
    ]
    quiet = dismissed(app.store, stamp(app.clock() - timedelta(days=QUIET_DAYS)))
    for name, alarms in now_standing(app).alarms.items():
        found += [
            _computed(name, name_of.get(name, name), alarm)
            for alarm in alarms
            if alarm.kind != "skips" and (name, alarm.kind) not in quiet
        ]
    return [one for one in found if account_id in (None, one["account_id"])]


def _computed(account_id: str, name: str, alarm: Alarm) -> Json:
    return {
        "id": f"now:{account_id}:{alarm.kind}",
        "account_id": account_id,
        "name": name,
        "kind": alarm.kind,
        "text": alarm.text,
        "since": alarm.since,
    }


def _flag_text(kind: str, body: dict[str, Any]) -> str:
    if kind == "skips":
        return f"{body.get('in_a_row', 'Many')} items were skipped in a row."
    return f"{kind.replace('_', ' ')}: {json.dumps(body)}"


def series_of(name: str, measures: Sequence[Measure]) -> Series:
    """Measures as a line with intervals."""
    return Series(
        name=name,
        values=tuple(measure.value for measure in measures),
        lows=tuple(measure.low for measure in measures),
        highs=tuple(measure.high for measure in measures),
    )


def svg(text: str) -> Content:
    """A plot as a response."""
    return Content(text.encode(), "image/svg+xml")


def alt_of(title: str, labels: Sequence[str], measures: Sequence[Measure]) -> str:
    """A plot's content in a sentence."""
    known = [(at, m.value) for at, m in zip(labels, measures, strict=True) if m.value is not None]
    if not known:
        return f"{title}: nothing to show yet."
    (first, start), (last, end) = known[0], known[-1]
    if first == last:
        return f"{title}: {start:.0%} ({first})."
    return f"{title}: {start:.0%} ({first}) to {end:.0%} ({last})."


def no_item() -> NoReturn:
    """The error for an unknown id."""
    raise ApiError(404, "not_found", "There is no such item.") from None
