"""Sample data: everyday prompts and responses (`sample.json`), and the labels of a made-up team.

Everything goes through the functions that the pages use, so that each page looks as it would after
a few days of work. The labels are the data's own quality plus random error.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from understudy.labeling.accounts import LINK_LIFETIME
from understudy.labeling.app import ensure_rubric
from understudy.labeling.clock import stamp, utc_now
from understudy.labeling.overlap import wants_more
from understudy.labeling.owner.export_job import run_job
from understudy.labeling.parts import LabelApp
from understudy.labeling.plan import PlanConfig, plan
from understudy.labeling.serve import ADDRESS
from understudy.labeling.tokens import Length
from understudy.labeling.work.answers import Submission, page_names, read_answer
from understudy.records import Message, Prompt, Response
from understudy.store import Project, Store
from understudy.store.accounts.people import NewAccount, account_named, invite, set_stage
from understudy.store.engine import reading, writing
from understudy.store.exports.jobs import add_job
from understudy.store.labeling_tables import items
from understudy.store.labels.gold import make_gold
from understudy.store.labels.submissions import submit
from understudy.store.queue.leases import Taker, skip, take, view
from understudy.store.rubrics import acknowledge, newest_version

FILE = Path(__file__).parent / "sample.json"
OWNER = "Olga"
TEAM: Mapping[str, tuple[Any, float]] = {
    "Ada": ("training", 0.5),
    "Bruno": ("training", 0.9),
    "Chika": ("training", 2.5),
    "Hugo": ("held_out", 0.6),
    "Ida": ("held_out", 0.6),
    "Rita": ("researcher", 0.2),
}
"""Name -> role and slips: the standard deviation of the error added to a quality of 1 to 7."""
CANDIDATE = "Carlos"
LATER = ("names", "extract", "classify", "trip", "meeting", "library", "letter")
"""Prompts that nobody has labeled yet, with which a visitor begins."""
SKIPPED = "fridge"
"""The prompt that three people skip."""
DAYS = 3
"""Days that the team has been at work."""


def fill_project(project: Project) -> str:
    """Fill an empty project; returns what to do next, with the owner's link."""
    store = project.open_store()
    data = json.loads(FILE.read_text(encoding="utf-8"))["prompts"]
    made = _Sample(project, store, {row["id"]: row for row in data})
    made.begin()
    made.work()
    made.finish()
    store.engine.dispose()
    return (
        f"made {project.folder} with sample data: {len(data)} prompts, their responses, gold items "
        f"and the labels of a made-up team\n"
        f"serve it: understudy label --project {project.folder}\n"
        f"then sign in as owner and labeler: {ADDRESS}/invitation#{made.token}"
    )


@dataclass(slots=True)
class _Sample:
    project: Project
    store: Store
    data: Mapping[str, Mapping[str, Any]]
    """Prompt id -> its row in the file."""
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    ids: dict[str, str] = field(default_factory=dict)
    """Name -> account id."""
    token: str = ""
    now: datetime = field(default_factory=lambda: utc_now() - timedelta(days=DAYS))

    def begin(self) -> None:
        """Add the team, the instructions, the first prompts, and items to practise and screen."""
        ensure_rubric(LabelApp(store=self.store, project=self.project))
        self.token = self._invite(OWNER, role="training", owner=True, screen=False)
        for name, (role, _) in TEAM.items():
            self._invite(name, role=role, screen=False)
        self._invite(CANDIDATE)
        self._add([name for name in self.data if name not in LATER])
        plan(PlanConfig(project=self.project.folder, overlap=1.0, labels_per_overlap=3))
        for name, row in self.data.items():
            if row.get("gold") in ("practice", "screening"):
                self._make_gold(name, row)

    def work(self) -> None:
        """Label for a few days."""
        self._label(OWNER, most=2)
        for name in TEAM:
            self._label(name, most=2 if name == "Rita" else None)
            self.now += timedelta(hours=6)
        for stage in ("practice", "screening"):
            self._label(CANDIDATE, stage=stage)
        with writing(self.store.engine) as connection:
            set_stage(connection, self.ids[CANDIDATE], "waiting")

    def finish(self) -> None:
        """Add gold items, an export, and work left to do."""
        for name, row in self.data.items():
            if row.get("gold") == "mixed":
                self._make_gold(name, row)
        request = {"kind": "rankings", "purpose": "training", "split": None, "rubric": None}
        at = stamp(utc_now())
        run_job(self.project, add_job(self.store, request, by=self.ids[OWNER], at=at))
        self._add(LATER)
        plan(PlanConfig(project=self.project.folder, overlap=0.0))
        self.now = utc_now()
        self._take("Ada", "rank", "active")  # she is working right now

    def _invite(self, name: str, **what: Any) -> str:
        at, until = stamp(self.now), stamp(utc_now() + LINK_LIFETIME)
        new = NewAccount(name=name, **what)
        token = invite(self.store, new, by=self.ids.get(OWNER), at=at, expires_at=until)
        account = account_named(self.store, name)
        assert account is not None
        self.ids[name] = account["id"]
        if name != OWNER:  # whoever opens the link reads the instructions first
            acknowledge(self.store, self.ids[name], self._version(), at)
        return token

    def _version(self) -> str:
        return str(newest_version(self.store))

    def _add(self, names: Sequence[str]) -> None:
        """Add prompts, each of its own user, and their responses."""
        prompts, responses = [], []
        for name in names:
            row = self.data[name]
            text = row["prompt"]
            turns = text if isinstance(text, str) else tuple(Message(**turn) for turn in text)
            prompt = Prompt(
                id=f"sample-{name}",
                prompt=turns,
                user_id=f"sample-user-{name}",
                split=row["split"],
                use_case=row["use_case"],
            )
            prompts.append(prompt)
            responses += [
                Response(
                    id=f"sample-{name}-{place}",
                    prompt_id=prompt.id,
                    prompt=turns,
                    response=said["text"],
                    model="sample",
                )
                for place, said in enumerate(row.get("responses", ()))
            ]
        self.store.add_prompts(prompts)
        self.store.set_intake(prompts, [])
        self.store.add_responses(responses)

    def _make_gold(self, name: str, row: Mapping[str, Any]) -> None:
        """Use the file's ratings as the researcher's key."""
        said = {f"sample-{name}-{place}": one for place, one in enumerate(row.get("responses", ()))}
        answer = {
            "tiers": _tiers({of: one["likert"] for of, one in said.items()}),
            "ratings": {
                of: {"likert": one["likert"], "flags": dict.fromkeys(one.get("flags", ()), True)}
                for of, one in said.items()
            },
            "text": row.get("demonstration"),
        }
        rita = self.ids["Rita"]
        for item_id in self._items(f"sample-{name}")[:1]:
            make_gold(
                self.store,
                item_id,
                use=row["gold"],
                answer=answer,
                why=row["why"],
                author_id=rita,
                by=rita,
                at=stamp(self.now),
            )

    def _items(self, prompt_id: str) -> list[str]:
        query = items.select().where(items.c.prompt_id == prompt_id)
        with reading(self.store.engine) as connection:
            return [row["id"] for row in connection.execute(query).mappings()]

    def _label(self, name: str, *, most: int | None = None, stage: str = "active") -> None:
        """One person finishes items until none is left, or `most` of them."""
        done = 0
        while most is None or done < most:
            found = next(self._tasks(name, stage), None)
            if found is None:
                return
            self._answer(name, found)
            done += 1

    def _tasks(self, name: str, stage: str) -> Iterator[str]:
        for kind in ("rank", "demonstrate"):
            found = self._take(name, kind, stage)
            if found is not None:
                yield found

    def _take(self, name: str, kind: str, stage: str) -> str | None:
        role = TEAM[name][0] if name in TEAM else "training" if name == OWNER else None
        taker = Taker(account_id=self.ids[name], role=role, stage=stage, rubric=self._version())
        self.now += timedelta(minutes=self.rng.randint(2, 9))
        until = stamp(self.now + timedelta(minutes=30))
        return take(self.store, taker, at=stamp(self.now), expires_at=until, kind=kind)

    def _answer(self, name: str, assignment_id: str) -> None:
        found, texts = view(self.store, assignment_id, self.ids[name])
        row = dict(found)
        prompt = str(row["prompt_id"]).removeprefix("sample-")
        shared: dict[str, Any] = {
            "id": str(uuid4()),
            "seconds": float(self.rng.randint(40, 200)),
            "ui": "sample",
        }
        self.now += timedelta(seconds=shared["seconds"])
        at = stamp(self.now)
        if prompt == SKIPPED:
            note = "Which meal, and for how many?"
            skip(self.store, assignment_id, self.ids[name], at=at, reason="unclear", note=note)
            return
        if row["kind"] == "demonstrate":
            text = self.data[prompt].get("demonstration") or "Let me think about that."
            sent = Submission(**shared, outcome="demonstrated", text=text)
        else:
            sent = self._ranking(name, prompt, row, shared)
        role = TEAM[name][0] if name in TEAM else "training"
        said = {**row, "rubric": self._version(), "rubric_begun": row["rubric"]}
        answer = read_answer(said, sent, texts, role, Length(), groups=())
        submit(self.store, assignment_id, self.ids[name], answer, at=at, more=wants_more)

    def _ranking(
        self, name: str, prompt: str, row: Mapping[str, Any], shared: Mapping[str, Any]
    ) -> Submission:
        slips = TEAM.get(name, (None, 0.6))[1]
        rows = self.data[prompt]["responses"]
        worth: dict[str, int] = {}
        ratings: dict[str, Any] = {}
        for shown, response_id in page_names(row).items():
            said = rows[int(response_id.rpartition("-")[2])]
            worth[shown] = min(7, max(1, round(self.rng.gauss(said["likert"], slips))))
            flags = dict.fromkeys(said.get("flags", ()), True)
            ratings[shown] = {"likert": worth[shown], "flags": flags}
        if name == "Chika" and prompt == "kinder":
            why = "Two of them are equally kind to me."
            return Submission(**shared, outcome="unsure", ratings=ratings, note=why)
        return Submission(**shared, outcome="ranked", ratings=ratings, tiers=_tiers(worth))


def _tiers(worth: Mapping[str, int]) -> list[list[str]]:
    """Best first; the same quality shares a tier."""
    levels = sorted(set(worth.values()), reverse=True)
    return [[name for name, value in worth.items() if value == level] for level in levels]
