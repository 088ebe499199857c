"""Items on which labelers disagree, and the owner's decisions.

Blind: labelers and responses have neutral names in an arbitrary order, and no model is named. A
decision is stored beside the labels and changes none of them; the estimate of labelers' reliability
takes it as true, and it can become the key of a gold item.
"""

import json
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal
from weakref import WeakKeyDictionary

from pydantic import Field
from sqlalchemy import Engine

from understudy.labeling.markdown import shown_texts
from understudy.labeling.overlap import ENOUGH, pair_agreement
from understudy.labeling.owner.parts import excerpt, no_item, now_standing, turns
from understudy.labeling.parts import LabelApp
from understudy.store import Store
from understudy.store.adding import BATCH
from understudy.store.labels.disagreements import (
    Contested,
    adjudicate,
    contested,
    texts_of,
    versions,
)
from understudy.store.labels.gold import by_response, make_gold
from understudy.store.labels.shared import state_of_labels
from understudy.store.settings import MARKDOWN, setting
from understudy.web.access import Access, ApiError, Body, Call, Json, Route

SHOWN = 100
Ids = list[str]


class Decision(Body):
    """A decision; `tiers` for ranked only."""

    verdict: Literal["ranked", "cannot_rank", "more_labels", "set_aside"]
    tiers: list[Ids] = Field(default_factory=list, max_length=26)
    note: str = Field(default="", max_length=4000)
    gold: Literal["practice", "screening", "mixed"] | None = None


@dataclass(frozen=True, slots=True)
class Dispute:
    """An item and how far its labelers disagree."""

    contested: Contested
    answers: tuple[Mapping[str, Any], ...]
    """What each of them sent, by response id."""
    agreement: float | None
    """Mean over pairs of labelers, a tie against a preference counting half; None for fewer than
    two."""
    num_opposed: int
    """Pairs of responses on which two labelers have opposite preferences."""

    @property
    def num_unsure(self) -> int:
        """Labelers who were unsure or could not rank."""
        return sum(row["outcome"] != "ranked" for row in self.contested.opinions)

    @property
    def is_dispute(self) -> bool:
        """Whether a person should look."""
        apart = self.agreement is not None and self.agreement < ENOUGH
        return apart or self.num_unsure > 0

    @property
    def verdict(self) -> str | None:
        """The decision, if still valid: later labels require a new one."""
        row = self.contested.decision
        if row is None:
            return None
        verdict = str(json.loads(row["body"])["verdict"])
        came = self.contested.item["num_done"] >= self.contested.item["wanted"]
        return None if verdict == "more_labels" and came else verdict


def num_open(store: Store) -> int:
    """The number of items that wait for a decision."""
    return len(_summaries(store, "open"))


@dataclass(slots=True)
class _Kept:
    """Cached results by item."""

    state: Any = None
    version_of: dict[str, Any] = field(default_factory=dict)
    row_of: dict[str, tuple[str, Json]] = field(default_factory=dict)
    """Prompt and row of each open or decided item, worst first."""


_KEPT: WeakKeyDictionary[Engine, _Kept] = WeakKeyDictionary()
_LOCK = threading.Lock()


def _summaries(store: Store, state: str) -> list[tuple[str, Json]]:
    """Prompt and row of each, worst first; items with a new label or decision are computed
    anew."""
    with _LOCK:
        kept = _KEPT.setdefault(store.engine, _Kept())
        now = state_of_labels(store)
        if kept.state != now:
            _renew(store, kept)
            kept.state = now
        return [
            (prompt_id, row)
            for prompt_id, row in kept.row_of.values()
            if state == "all" or (row["decided"] is None) == (state == "open")
        ]


def _renew(store: Store, kept: _Kept) -> None:
    known = versions(store)
    changed = [name for name, one in known.items() if kept.version_of.get(name) != one]
    rows = {name: row for name, row in kept.row_of.items() if name in known}
    for start in range(0, len(changed), BATCH):
        some = changed[start : start + BATCH]
        for name in some:
            rows.pop(name, None)
        for one in map(_dispute, contested(store, some)):
            if one.is_dispute or one.contested.decision is not None:
                rows[one.contested.item["id"]] = (one.contested.item["prompt_id"], _row(one))
    kept.version_of = known
    kept.row_of = dict(sorted(rows.items(), key=lambda item: _badness(item[1][1])))


def _badness(row: Json) -> tuple[float, int, str]:
    return 1.0 if row["agreement"] is None else row["agreement"], -row["unsure"], row["item_id"]


def _dispute(one: Contested) -> Dispute:
    answers = tuple(
        by_response(json.loads(row["body"]), json.loads(row["shown"])) for row in one.opinions
    )
    tier_of = [_tier_of(answer["tiers"]) for answer in answers if answer["tiers"]]
    rates = [
        rate for a, b in combinations(tier_of, 2) if (rate := pair_agreement(a, b)) is not None
    ]
    opposed = {
        (x, y)
        for a, b in combinations(tier_of, 2)
        for x, y in combinations(sorted(a.keys() & b.keys()), 2)
        if (a[x] - a[y]) * (b[x] - b[y]) < 0
    }
    return Dispute(one, answers, sum(rates) / len(rates) if rates else None, len(opposed))


def _tier_of(tiers: Sequence[Sequence[str]]) -> dict[str, int]:
    return {name: place for place, tier in enumerate(tiers) for name in tier}


def listed(call: Call) -> Json:
    """The queue of disagreements."""
    state = call.query.get("state", "open")
    if state not in ("open", "decided", "all"):
        raise ApiError(400, "invalid", "state must be open, decided or all.")
    found = _summaries(call.app.store, state)
    first = found[:SHOWN]
    call.app.note_views(call.me, "disagreements", (prompt_id for prompt_id, _ in first))
    items = [row for _, row in first]
    return {"state": state, "items": items, "total": len(found), "threshold": ENOUGH}


def _row(one: Dispute) -> Json:
    item, decision = one.contested.item, one.contested.decision
    return {
        "item_id": item["id"],
        "excerpt": excerpt(item["prompt_body"]),
        "use_case": item["use_case"],
        "purpose": item["purpose"],
        "num_rankings": len(one.contested.opinions) - one.num_unsure,
        "agreement": one.agreement,
        "contested": one.num_opposed,
        "unsure": one.num_unsure,
        "decided": None
        if decision is None or one.verdict is None
        else {"verdict": one.verdict, "at": decision["created_at"], "by": decision["name"]},
    }


def shown(call: Call) -> Json:
    """One item with all its labels, blind."""
    one = _one(call)
    item, names = one.contested.item, _names(one)
    call.app.note_views(call.me, "disagreement", [item["prompt_id"]])
    texts = texts_of(call.app.store, list(names))
    chances = now_standing(call.app).consensus.truth
    pairs = [_pair(one, names, a, b, chances) for a, b in combinations(names, 2)]
    return {
        "item_id": item["id"],
        "purpose": item["purpose"],
        "use_case": item["use_case"],
        "prompt": {"turns": turns(item["prompt_body"])},
        "answers": shown_texts(
            {name: texts[of] for of, name in names.items()},
            markdown=setting(call.app.store, MARKDOWN, False),
        ),
        "labels": [
            {
                "who": chr(ord("A") + place),
                "outcome": row["outcome"],
                "tiers": _renamed(answer["tiers"], names),
                "note": row["note"] or "",
                "ratings": {
                    names[of]: {
                        "likert": rating["likert"],
                        "flags": rating.get("flags", {}),
                        "note": rating.get("note", ""),
                    }
                    for of, rating in answer["ratings"].items()
                },
            }
            for place, (row, answer) in enumerate(
                zip(one.contested.opinions, one.answers, strict=True)
            )
        ],
        "pairs": pairs,
        "suggested": _suggested(list(names.values()), pairs),
        "decision": _decision(one, names),
    }


def decide(call: Call) -> Json:
    """Store the decision."""
    app: LabelApp = call.app
    one = _one(call)
    names = _names(one)
    tiers = _checked(call.body, names)
    decision = {"verdict": call.body.verdict, "tiers": tiers, "note": call.body.note}
    item_id, at = one.contested.item["id"], app.now()
    adjudicate(app.store, item_id, call.me.id, decision, at=at)
    if call.body.gold is not None:
        key: Json = {"tiers": tiers, "ratings": {}, "text": None}
        try:
            make_gold(
                app.store,
                item_id,
                use=call.body.gold,
                answer=key,
                why=call.body.note,
                author_id=call.me.id,
                by=call.me.id,
                at=at,
            )
        except ValueError as error:
            raise ApiError(409, "invalid", str(error)) from None
    return {"decision": _decision(_one(call), names)}


def _checked(body: Decision, names: Mapping[str, str]) -> list[Ids]:
    """The tiers by response id; ApiError for an invalid decision."""
    if body.verdict != "ranked":
        if body.tiers or body.gold:
            raise ApiError(400, "invalid", "Only a decided ranking has tiers or can become gold.")
        return []
    if sorted(name for tier in body.tiers for name in tier) != sorted(names.values()):
        raise ApiError(400, "invalid", "Every response must be in exactly one tier.")
    if not all(body.tiers):
        raise ApiError(400, "invalid", "A tier is empty; leave it out.")
    ids = {name: of for of, name in names.items()}
    return [[ids[name] for name in tier] for tier in body.tiers]


def _one(call: Call) -> Dispute:
    found = [_dispute(one) for one in contested(call.app.store, [call.path["item_id"]])]
    if not found:
        no_item()
    return found[0]


def _names(one: Dispute) -> dict[str, str]:
    """Response id -> the page's name for it, in an order fixed per item."""
    ids = sorted({of for row in one.contested.opinions for of in json.loads(row["shown"])})
    random.Random(f"dispute/{one.contested.item['id']}").shuffle(ids)
    return {of: f"a{place}" for place, of in enumerate(ids, start=1)}


def _renamed(tiers: Sequence[Sequence[str]], names: Mapping[str, str]) -> list[Ids]:
    return [[names[of] for of in tier] for tier in tiers]


def _pair(
    one: Dispute,
    names: Mapping[str, str],
    first: str,
    second: str,
    chances: Mapping[tuple[str, str, str], tuple[float, float, float]],
) -> Json:
    """Votes for each side, and the probability that the first is better (a tie's counts half)."""
    votes = []
    for answer in one.answers:
        tier_of = _tier_of(answer["tiers"])
        if first in tier_of and second in tier_of:
            votes.append(tier_of[second] - tier_of[first])
    low, high = sorted((first, second))
    chance = chances.get((one.contested.item["prompt_id"], low, high))
    estimate = None
    if chance is not None:
        for_low = chance[2] + chance[1] / 2
        estimate = for_low if first == low else 1 - for_low
    return {
        "first": names[first],
        "second": names[second],
        "for_first": sum(vote > 0 for vote in votes),
        "ties": sum(vote == 0 for vote in votes),
        "for_second": sum(vote < 0 for vote in votes),
        "estimate": estimate,
    }


def _suggested(names: Sequence[str], pairs: Sequence[Json]) -> list[Ids]:
    """Tiers of responses by their expected share of wins; close ones share a tier."""
    points = dict.fromkeys(names, 0.0)
    for pair in pairs:
        total = pair["for_first"] + pair["ties"] + pair["for_second"]
        share = (pair["for_first"] + pair["ties"] / 2) / total if total else 0.5
        chance = share if pair["estimate"] is None else pair["estimate"]
        points[pair["first"]] += chance
        points[pair["second"]] += 1 - chance
    tiers: list[Ids] = []
    for name in sorted(points, key=lambda name: -points[name]):
        if tiers and points[tiers[-1][0]] - points[name] < 0.5:
            tiers[-1].append(name)
        else:
            tiers.append([name])
    return tiers


def _decision(one: Dispute, names: Mapping[str, str]) -> Json | None:
    row = one.contested.decision
    if row is None:
        return None
    body = json.loads(row["body"])
    return {
        "verdict": body["verdict"],
        "tiers": _renamed(body["tiers"], names),
        "note": body["note"],
        "at": row["created_at"],
        "by": row["name"],
    }


PATH = "/api/owner/disagreements"
ROUTES = (
    Route("GET", PATH, Access.OWNER, listed, apart=True, part="owner/disagreements.html"),
    Route("GET", PATH + "/{item_id}", Access.OWNER, shown, apart=True),
    Route("POST", PATH + "/{item_id}", Access.OWNER, decide, Decision, max_bytes=32 * 1024),
)
