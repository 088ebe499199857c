"""The queue by itself: who is given what, by many at once and through random histories."""

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import func, select
from tests.labelers import fill, queue
from tests.stores import BACKENDS, database, make_project

from understudy.labeling.overlap import wants_more
from understudy.records import Demonstration, Prompt, Response
from understudy.store import Store
from understudy.store.accounts.people import NewAccount, invite
from understudy.store.engine import make_engine, reading, writing
from understudy.store.labeling_tables import accounts, assignments, items, submissions
from understudy.store.labels.submissions import Answer, submit
from understudy.store.queue.items import end_waiting, nobody_left
from understudy.store.queue.leases import (
    Taker,
    author_of,
    beat,
    end_expired,
    left_for,
    skip,
    take,
    unskip,
)
from understudy.store.queue.plan import NewItem, Overlap, to_rank

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def at(minutes: float) -> str:
    return (T0 + timedelta(minutes=minutes)).isoformat(timespec="microseconds")


def person(store: Store, name: str, role: str = "training") -> Taker:
    new = NewAccount(name=name, role=role, screen=False)
    invite(store, new, by=None, at=at(0), expires_at=at(1))
    with reading(store.engine) as connection:
        query = select(accounts.c.id).where(accounts.c.name == name)
        return Taker(account_id=connection.execute(query).scalar_one(), role=role, stage="active")


def next_of(store: Store, taker: Taker, minutes: float = 0, kind: str | None = None) -> str | None:
    end_expired(store, at(minutes))
    return take(store, taker, at=at(minutes), expires_at=at(minutes + 30), kind=kind)


def done(store: Store, taker: Taker, assignment: str, minutes: float = 0, **more) -> None:
    answer = Answer(id=f"s-{assignment}", body={}, outcome=more.pop("outcome", "cannot_rank"))
    submit(store, assignment, taker.account_id, answer, at=at(minutes), more=lambda found: False)


def prompt_of(store: Store, assignment: str) -> str:
    query = select(items.c.prompt_id).join(assignments).where(assignments.c.id == assignment)
    with reading(store.engine) as connection:
        return connection.execute(query).scalar_one()


@pytest.fixture(params=BACKENDS)
def store(request, tmp_path: Path):
    found = Store(make_engine(database(request.param, tmp_path), pooled=True))
    yield found
    found.engine.dispose()


def test_many_at_once_never_share_a_slot_nor_have_an_item_twice(store: Store) -> None:
    fill(store, 40, overlap=Overlap(0.5, 3, 3))
    team = [person(store, f"l{k}") for k in range(8)]
    failed: list[BaseException] = []

    def work(taker: Taker) -> None:
        try:
            while (assignment := next_of(store, taker)) is not None:
                done(store, taker, assignment)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(taker,)) for taker in team * 2]  # two tabs each
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [error for error in failed if "already" not in str(error)] == []
    with reading(store.engine) as connection:
        wanted = dict(iter(connection.execute(select(items.c.id, items.c.wanted)).all()))
        rows = connection.execute(select(assignments)).mappings().all()
        counts = connection.execute(select(items)).mappings().all()
    had = Counter((row["item_id"], row["account_id"]) for row in rows)
    assert set(had.values()) == {1}
    assert Counter(row["item_id"] for row in rows) == wanted
    assert len({(row["item_id"], row["slot"]) for row in rows}) == len(rows)
    assert {(row["state"], row["num_live"]) for row in counts} == {("done", 0)}
    assert all(row["num_done"] == row["wanted"] for row in counts)


def test_the_database_itself_refuses_a_second_labeler_in_a_slot(store: Store) -> None:
    fill(store, 1)
    ann, bob = person(store, "ann"), person(store, "bob")
    assignment = next_of(store, ann)
    with reading(store.engine) as connection:
        row = dict(connection.execute(select(assignments)).mappings().one())
    for change in ({"id": "x", "account_id": bob.account_id}, {"id": "x", "slot": 1}):
        with pytest.raises(Exception, match=r"(?i)unique"), writing(store.engine) as connection:
            connection.execute(assignments.insert(), {**row, **change})
    assert assignment == row["id"]


def test_held_out_labelers_draw_from_evaluation_items_only(store: Store) -> None:
    prompts = [
        Prompt(id=name, prompt=f"{name}?", user_id=name, split=name)
        for name in ("train", "valid", "test")
    ]
    store.add_prompts(prompts)
    store.set_intake(prompts, [])
    store.add_responses(
        Response(id=f"{p.id}{k}", prompt_id=p.id, prompt=p.prompt, response=str(k), model="m")
        for p in prompts
        for k in range(2)
    )
    queue(store, to_rank(store, most=9))
    seen = {}
    for role in ("training", "held_out", "researcher"):
        taker, seen[role] = person(store, role, role), []
        assert left_for(store, taker).get("rank", 0) in (2, 4)
        while (assignment := next_of(store, taker)) is not None:
            seen[role].append(prompt_of(store, assignment))
            skip(store, assignment, taker.account_id, at=at(0), reason="other", note="")
    assert sorted(seen["training"]) == ["train", "valid"]
    assert sorted(seen["held_out"]) == ["test", "valid"]
    assert sorted(seen["researcher"]) == ["test", "train", "valid", "valid"]
    assert next_of(store, Taker(account_id=taker.account_id, role=None, stage="active")) is None


def test_nobody_ranks_what_they_demonstrated_or_asked(store: Store) -> None:
    fill(store, 2)
    ann, bob = person(store, "ann"), person(store, "bob")
    store.add_labels(
        [
            Demonstration(
                id="d",
                prompt_id="p00",
                prompt="Question 0?",
                response="Mine.",
                labeler_id=ann.account_id,
            )
        ]
    )
    own = Prompt(id="own", prompt="Mine?", user_id=author_of(bob.account_id), split="train")
    store.add_prompts([own])
    store.set_intake([own], [])
    queue(store, [NewItem("demonstrate", "own", "training")])
    first = next_of(store, ann)
    assert prompt_of(store, first) == "p01"
    done(store, ann, first)
    assert prompt_of(store, next_of(store, ann)) == "own"
    assert prompt_of(store, next_of(store, bob)) == "p00"
    assert next_of(store, bob, kind="demonstrate") is None


def test_items_for_more_people_than_there_are_can_be_ended(store: Store) -> None:
    """Both labelers have ranked the first and skipped the second; the third is at work."""
    fill(store, 4, overlap=Overlap(share=1.0, wanted=3, most=3))
    ann, bo = person(store, "Ann"), person(store, "Bo")
    person(store, "Hugo", "held_out")
    assert nobody_left(store) == {}
    for taker in (ann, bo):
        done(store, taker, next_of(store, taker))
    assert nobody_left(store) == {"training": 1}
    for taker in (ann, bo):
        given = {"reason": "unclear", "note": ""}
        skip(store, next_of(store, taker), taker.account_id, at=at(0), **given)
    next_of(store, ann)
    next_of(store, bo)
    assert nobody_left(store) == {"training": 2}, "the third is at work, the fourth to come"
    assert end_waiting(store, by=ann.account_id, at=at(0)) == (1, 1)
    with reading(store.engine) as connection:
        states = Counter(connection.execute(select(items.c.state)).scalars())
    assert states == {"done": 1, "set_aside": 1, "open": 2}
    assert nobody_left(store) == {}


def test_a_lease_ends_and_the_item_goes_on(store: Store) -> None:
    fill(store, 1)
    ann, bob = person(store, "ann"), person(store, "bob")
    mine = next_of(store, ann, 0)
    assert next_of(store, bob, 29) is None
    assert beat(store, mine, ann.account_id, at=at(29), expires_at=at(59)) == "leased"
    assert next_of(store, bob, 31) is None
    theirs = next_of(store, bob, 60)
    assert theirs is not None
    assert beat(store, mine, ann.account_id, at=at(60), expires_at=at(90)) == "expired"
    assert next_of(store, ann, 61) is None
    again = next_of(store, ann, 91)
    assert again == mine, "nobody had it any more"
    with pytest.raises(LookupError):
        beat(store, mine, bob.account_id, at=at(60), expires_at=at(90))


def test_the_last_answer_may_ask_for_one_more_of_somebody_who_was_told_there_is_none(
    store: Store,
) -> None:
    fill(store, 1, overlap=Overlap(0.0, 1, 2))
    ann, bob = person(store, "ann"), person(store, "bob")
    mine = next_of(store, ann)
    assert next_of(store, bob) is None
    unsure = Answer(id="unsure", body={}, outcome="cannot_rank")
    submit(store, mine, ann.account_id, unsure, at=at(1), more=wants_more)
    theirs = next_of(store, bob)
    assert theirs is not None
    done(store, bob, theirs)
    with reading(store.engine) as connection:
        row = connection.execute(select(items)).mappings().one()
    assert (row["state"], row["num_done"], row["num_live"]) == ("done", 2, 0)


def test_a_labeler_who_chooses_gets_that_kind(store: Store) -> None:
    fill(store, 1)
    queue(store, [NewItem("write", None, "training"), NewItem("demonstrate", "p00", "training")])
    ann = person(store, "ann")
    held = {kind: next_of(store, ann, kind=kind) for kind in ("write", "demonstrate", "rank")}
    assert len(set(held.values())) == 3
    assert all(next_of(store, ann, kind=kind) == name for kind, name in held.items())
    with reading(store.engine) as connection:
        live = connection.execute(select(func.sum(items.c.num_live))).scalar()
    assert live == 3


class Histories(RuleBasedStateMachine):
    """Four labelers do what they like while the clock runs, against a model kept in a dict."""

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = make_project("sqlite", Path(self.folder.name) / "p").open_store(pooled=True)
        fill(self.store, 3, overlap=Overlap(0.7, 2, 4))
        self.team = [person(self.store, f"l{k}") for k in range(4)]
        self.minutes = 0.0
        self.had: dict[str, Taker] = {}
        self.acknowledged: set[str] = set()

    @rule(who=st.integers(0, 3))
    def ask(self, who: int) -> None:
        found = next_of(self.store, self.team[who], self.minutes)
        if found is not None:
            assert self.had.setdefault(found, self.team[who]) == self.team[who]

    @rule(data=st.data(), outcome=st.sampled_from(["cannot_rank", "unsure"]))
    def answer(self, data, outcome: str) -> None:
        if not self.had:
            return
        name = data.draw(st.sampled_from(sorted(self.had)))
        answer = Answer(id=f"s-{name}", body={}, outcome=outcome)
        taker = self.had[name]
        submit(
            self.store, name, taker.account_id, answer, at=at(self.minutes), more=wants_more
        )  # a second time is the same submission: it never raises
        self.acknowledged.add(answer.id)

    @rule(data=st.data())
    def give_back(self, data) -> None:
        if not self.had:
            return
        name = data.draw(st.sampled_from(sorted(self.had)))
        if f"s-{name}" not in self.acknowledged:
            taker = self.had[name].account_id
            skip(self.store, name, taker, at=at(self.minutes), reason="other", note="")

    @rule(data=st.data())
    def take_back(self, data) -> None:
        if self.had:
            name = data.draw(st.sampled_from(sorted(self.had)))
            taker = self.had[name].account_id
            until = at(self.minutes + 30)
            unskip(self.store, name, taker, at=at(self.minutes), expires_at=until)

    @rule(minutes=st.sampled_from([1, 20, 31]))
    def wait(self, minutes: int) -> None:
        self.minutes += minutes

    @invariant()
    def all_holds(self) -> None:
        if not hasattr(self, "store"):
            return
        with reading(self.store.engine) as connection:
            sent = connection.execute(select(submissions.c.id)).scalars().all()
            rows = connection.execute(select(assignments)).mappings().all()
            counts = {row["id"]: row for row in connection.execute(select(items)).mappings()}
        assert sorted(sent) == sorted(self.acknowledged)
        for item_id, item in counts.items():
            mine = [row for row in rows if row["item_id"] == item_id]
            live = [row for row in mine if row["state"] == "leased"]
            slots = [row["slot"] for row in mine if row["slot"] is not None]
            assert len(live) == item["num_live"]
            assert sum(row["state"] == "done" for row in mine) == item["num_done"]
            assert sum(row["state"] == "skipped" for row in mine) == item["num_skips"]
            assert len(slots) == len(set(slots)) <= item["wanted"] <= item["max_wanted"]
            assert all(row["slot"] is not None for row in live)
            assert (item["state"] == "done") <= (item["num_done"] >= item["wanted"])
            assert len({row["account_id"] for row in mine}) == len(mine)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.engine.dispose()
            self.folder.cleanup()


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
