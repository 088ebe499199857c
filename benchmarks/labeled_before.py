"""Fills a store with items that labelers have rated and ranked, for an owner's figures."""

import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Table, insert

from understudy.records import FLAGS, LabelerInfo, sha256_of
from understudy.store import Store, open_project
from understudy.store.engine import is_sqlite, writing
from understudy.store.labeling_tables import (
    accounts,
    adjudications,
    assignments,
    gold_items,
    item_responses,
    items,
    submission_labels,
    submissions,
)
from understudy.store.rows import packed
from understudy.store.tables import labels, prompts, ranked_responses, responses, users

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
BATCH = 1000
NUM_GOLD = 50
ORDER: tuple[Table, ...] = (
    users,
    prompts,
    responses,
    items,
    item_responses,
    assignments,
    submissions,
    labels,
    ranked_responses,
    submission_labels,
    gold_items,
    adjudications,
)
"""Tables in an order that their foreign keys allow."""


@dataclass(frozen=True, kw_only=True)
class Before:
    """How much has been labeled before."""

    num_items: int
    num_responses: int = 6
    overlap: float = 1.0
    """Share of the items that three labelers have ranked; one has ranked each of the others."""
    waiting: float = 0.0
    """Share of the items that nobody has begun."""
    num_labelers: int = 9
    days: int = 120


@dataclass
class Rows:
    """New rows by table."""

    rng: random.Random
    of: dict[Table, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, table: Table, **row: Any) -> None:
        """Add one row."""
        self.of[table].append(row)

    def store(self, store: Store) -> None:
        """Insert all rows and forget them."""
        with writing(store.engine) as connection:
            for table in ORDER:
                if self.of[table]:
                    connection.execute(insert(table), self.of[table])
        self.of.clear()


def fill_labeled(folder: Path, what: Before) -> None:
    """Add the prompts, their items, and all that labelers have sent."""
    store = open_project(folder).open_store()
    team = [f"before{k:02}" for k in range(what.num_labelers)]
    _hire(store, team)
    rows = Rows(random.Random(0))
    rows.add(users, id="before", organization_id=None, consent=True, created_at=_at(0))
    with writing(store.engine) as connection:
        if is_sqlite(connection):
            connection.exec_driver_sql("PRAGMA cache_size = -1000000")
    for number in range(what.num_items):
        _item(rows, what, number, team)
        if number % BATCH == BATCH - 1:
            rows.store(store)
    rows.store(store)
    with writing(store.engine) as connection:
        connection.exec_driver_sql("ANALYZE")
    store.engine.dispose()


def _hire(store: Store, team: list[str]) -> None:
    store.add_labelers(LabelerInfo(id=name, role="training") for name in team)
    row: dict[str, Any] = dict(owner=False, stage="active", screen=False, scores="{}")
    row |= {"role": "training", "created_at": _at(0)}
    with writing(store.engine) as connection:
        new = [{**row, "id": name, "name": name, "name_key": name} for name in team]
        connection.execute(insert(accounts), new)


def _item(rows: Rows, what: Before, number: int, team: list[str]) -> None:
    """A prompt, its responses, its item, and what its labelers sent."""
    rng, name = rows.rng, f"old{number:06}"
    body = packed(f"What can you tell me about the number {number}? " + "Take your time. " * 8)
    rows.add(
        prompts,
        id=name,
        user_id="before",
        body=body,
        digest=sha256_of(body),
        source="api",
        tags="{}",
        use_case=rng.choice(("generation", "open_qa", "brainstorming", "chat")),
        split="train",
        created_at=_at(0),
    )
    names = [f"{name}-{place}" for place in range(what.num_responses)]
    for place, response in enumerate(names):
        rows.add(
            responses,
            id=response,
            prompt_id=name,
            response=f"Answer {place}. " + "It is a number like others. " * (3 + 2 * place),
            model=f"model-{place}",
            temperature=1.0,
            seed=number,
            finished=True,
            created_at=_at(0),
        )
        rows.add(item_responses, item_id=f"it-{name}", place=place, response_id=response)
    gold = number < NUM_GOLD * (what.waiting > 0)
    shared = rng.random() < what.overlap
    people = 0 if not gold and rng.random() < what.waiting else 3 if shared else 1
    wanted = 10**6 if gold else 3 if shared else 1
    who = team if gold else rng.sample(team, people)
    rows.add(
        items,
        id=f"it-{name}",
        kind="rank",
        prompt_id=name,
        purpose="training",
        round=0,
        pool="gold" if gold else "calibration" if shared else "single",
        wanted=wanted,
        max_wanted=max(wanted, 5),
        num_done=len(who),
        num_live=0,
        num_skips=0 if who or rng.random() > 0.05 else 3,
        state="open" if gold or not who else "done",
        priority=number,
        created_at=_at(0),
    )
    if gold:
        answer = packed({"tiers": [[one] for one in names], "ratings": {}, "text": None})
        rows.add(
            gold_items, item_id=f"it-{name}", use="mixed", answer=answer, why="", created_at=_at(0)
        )
    day = what.days * number / what.num_items
    for labeler in who:
        _sent(rows, f"it-{name}", name, names, labeler, _at(day + rng.random() / 2))
    if people == 3 and rng.random() < 0.02:
        decision = packed({"verdict": "ranked", "tiers": [[one] for one in names], "note": ""})
        rows.add(
            adjudications,
            id=f"adj-{name}",
            item_id=f"it-{name}",
            account_id=team[0],
            body=decision,
            created_at=_at(day + 1),
        )


def _sent(rows: Rows, item: str, prompt: str, names: list[str], who: str, at: str) -> None:
    """What one labeler sent; higher-numbered responses are worse, up to the labeler's noise."""
    rng, key = rows.rng, f"{item}-{who}"
    felt = [place + rng.gauss(0, 1.5) for place in range(len(names))]
    order = sorted(range(len(names)), key=felt.__getitem__)
    flags = [{flag: rng.random() < 0.1 for flag in FLAGS} for _ in names]
    likert = [max(1, min(7, 7 - round(value))) for value in felt]
    sent = {
        "id": key,
        "outcome": "ranked",
        "tiers": [[f"a{place + 1}"] for place in order],
        "ratings": {
            f"a{place + 1}": {"likert": likert[place], "flags": flags[place], "note": ""}
            for place in range(len(names))
        },
    }
    body = packed(sent)
    rows.add(
        assignments,
        id=f"as-{key}",
        item_id=item,
        account_id=who,
        stage="work",
        slot=None,
        state="done",
        outcome="ranked",
        shown=packed(names),
        leased_at=at,
        expires_at=at,
        beat_at=at,
        done_at=at,
        note="",
        seconds=60 + 60 * rng.random(),
        submission_id=key,
    )
    rows.add(
        submissions,
        id=key,
        assignment_id=f"as-{key}",
        account_id=who,
        digest=sha256_of(body),
        body=body,
        reply="{}",
        created_at=at,
    )
    shared = dict(prompt_id=prompt, labeler_id=who, labeler_role="training", revision=0)
    shared |= {"created_at": at}
    for place, response in enumerate(names):
        said = {"likert": likert[place], "flags": flags[place], "note": ""}
        name = f"a-{key}-{place}"
        rows.add(labels, id=name, kind="rating", response_id=response, body=packed(said), **shared)
        rows.add(submission_labels, submission_id=key, label_id=name)
        rows.add(
            ranked_responses,
            label_id=f"k-{key}",
            place=place,
            tier=order.index(place),
            response_id=response,
        )
    tiers = packed({"tiers": [[place] for place in order]})
    rows.add(labels, id=f"k-{key}", kind="ranking", response_id=None, body=tiers, **shared)
    rows.add(submission_labels, submission_id=key, label_id=f"k-{key}")


def _at(day: float) -> str:
    return (BEGIN + timedelta(days=day)).isoformat(timespec="microseconds")
