"""Instructions, practice, screening, decision."""

import pytest
from tests.labelers import Browser, Site, demonstrated, fill, queue, ranked

from understudy.store.accounts.people import NewAccount, decide
from understudy.store.engine import reading, writing
from understudy.store.labeling_tables import assignments, gold_items, items, trial_answers
from understudy.store.queue.plan import NewItem
from understudy.store.rows import packed
from understudy.store.tables import labels


def stage(browser: Browser) -> str:
    return browser.get("/api/session").json()["account"]["stage"]


def make_gold(pages: Site, use: str, *item_ids: str) -> None:
    """The researchers' answer to these items is the order of the texts."""
    with writing(pages.store.engine) as connection:
        for place, item_id in enumerate(item_ids):
            row = {"item_id": item_id, "use": use, "why": "0 is least.", "created_at": str(place)}
            prompt = (
                connection.execute(items.select().where(items.c.id == item_id))
                .mappings()
                .one()["prompt_id"]
            )
            names = [f"{prompt}-secretmodel{k}" for k in range(4)]
            answer = {"tiers": [[names[0]], names[1:3], [names[3]]], "ratings": {}, "text": None}
            connection.execute(gold_items.insert(), {**row, "answer": packed(answer)})
            mine = items.c.id == item_id
            connection.execute(items.update().where(mine).values(pool="gold", wanted=10**6))


def item_ids(pages: Site) -> list[str]:
    with reading(pages.store.engine) as connection:
        rows = connection.execute(items.select().order_by(items.c.prompt_id)).mappings()
        return [row["id"] for row in rows]


def test_the_instructions_come_first_and_again_with_every_version(pages: Site) -> None:
    fill(pages.store, 2)
    ann = pages.person(role="training", read=False)
    assert stage(ann) == "instructions"
    reply = ann.post("/api/next", {})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "gate")
    assert reply.json()["error"]["go"] == "/instructions"
    assert ann.get("/work").headers["location"] == "/instructions"
    shown = ann.get("/api/instructions").json()
    assert (shown["version"], shown["read"], shown["previous"]) == ("default-1", False, None)
    assert "Helpful." in shown["instructions"]
    said = ann.post("/api/instructions", {"version": "default-1"}).json()
    assert (said["go"], stage(ann)) == ("/work", "active")
    held = ann.next()
    assert held["rubric"] == "default-1"

    pages.store.add_rubric("v2", "Be kind.", ["harmless", "helpful", "truthful"])
    assert stage(ann) == "instructions"
    assert ann.submit(held, ranked(held)).json()["error"]["go"] == "/instructions"
    assert ann.get("/api/instructions").json()["previous"] == "default-1"
    reply = ann.post("/api/instructions", {"version": "default-1"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "not_current")
    ann.post("/api/instructions", {"version": "v2"})
    answer = ranked(held)
    assert ann.submit(held, answer).status_code == 200, "work begun before is not lost"
    with reading(pages.store.engine) as connection:
        versions = {row["rubric"] for row in connection.execute(labels.select()).mappings()}
        begun = connection.execute(assignments.select()).mappings().one()["rubric"]
    assert versions == {"v2"}, "sent under the instructions that were read meanwhile"
    assert begun == "default-1", "and begun under those before"
    assert ann.next()["rubric"] == "v2"


@pytest.mark.parametrize(
    ("role", "purpose", "first"),
    [("training", "training", "helpful"), ("held_out", "evaluation", "truthful")],
)
def test_what_counts_most_depends_on_what_the_label_is_for(
    small: Site, role: str, purpose: str, first: str
) -> None:
    person = small.person(role=role)
    shown = person.get("/api/instructions").json()
    assert (shown["purpose"], shown["priorities"][0]) == (purpose, first)


def test_practice_shows_the_researchers_answer_and_screening_does_not(pages: Site) -> None:
    fill(pages.store, 4)
    ids = item_ids(pages)
    make_gold(pages, "practice", ids[0])
    make_gold(pages, "screening", ids[1], ids[2])
    ann = pages.person(stage="practice")
    first = ann.next()
    assert (first["stage"], first["prompt"]["turns"][0]["content"]) == ("practice", "Question 0?")
    assert ann.next()["id"] == first["id"]
    feedback = ann.submit(first, ranked(first)).json()["feedback"]
    by_text = {one["text"]: one["id"] for one in first["answers"]}
    assert feedback["expected"]["tiers"] == [
        [by_text["0"]],
        [by_text["1"], by_text["2"]],
        [by_text["3"]],
    ]
    assert feedback["agreement"] == pytest.approx(5.5 / 6)  # 1 against 2: a tie, half
    assert feedback["why"] == "0 is least."
    assert ann.get("/api/day").json()["trials"]["practice"] == {"done": 1, "of": 1}
    for name in ("Question 1?", "Question 2?"):
        item = ann.next()
        assert (item["stage"], item["prompt"]["turns"][0]["content"]) == ("screening", name)
        reply = ann.submit(item, ranked(item)).json()
        assert reply["feedback"] is None
    reply = ann.post("/api/next", {})
    assert reply.json()["error"]["go"] == "/waiting"
    assert stage(ann) == "waiting"
    with reading(pages.store.engine) as connection:
        assert not connection.execute(labels.select()).all(), "nobody's labels before a role"
        trials = connection.execute(trial_answers.select()).mappings().all()
    assert [trial["use"] for trial in trials] == ["practice", "screening", "screening"]
    assert '"p01-secretmodel0"' in trials[1]["body"]

    decide(pages.store, ann.account, "training", by="lab-owner", at=pages.parts.now())
    assert stage(ann) == "active"
    work = ann.next()
    assert (work["stage"], work["prompt"]["turns"][0]["content"]) == ("work", "Question 3?")
    ann.submit(work, ranked(work))
    assert ann.next() is None, "gold items are not handed out as work unless mixed in"
    with pytest.raises(ValueError, match="is training, and a role never changes"):
        decide(pages.store, ann.account, "held_out", by="lab-owner", at=pages.parts.now())


def test_a_practice_answer_cannot_be_changed_after_the_feedback(small: Site) -> None:
    fill(small.store, 1)
    make_gold(small, "practice", *item_ids(small))
    ann = small.person(stage="practice")
    item = ann.next()
    answer = ranked(item)
    first = ann.submit(item, answer)
    assert ann.submit(item, answer).json() == first.json()
    better = ranked(item, revises=answer["id"])
    assert ann.submit(item, better).json()["error"]["code"] == "final"
    again = ann.get(f"/api/assignments/{item['id']}").json()["assignment"]
    assert (again["changeable"], again["feedback"]) == (False, first.json()["feedback"])
    assert [row["stage"] for row in ann.get("/api/history").json()["done"]] == ["practice"]


def test_without_gold_items_a_candidate_waits_and_an_invited_role_holds(small: Site) -> None:
    fill(small.store, 1)
    candidate = small.person(stage="practice")
    assert candidate.post("/api/next", {}).json()["error"]["go"] == "/waiting"
    assert stage(candidate) == "waiting"
    invited = small.person(role="training", screen=True, stage="practice")
    assert invited.next()["stage"] == "work"
    assert stage(invited) == "active"


def test_screening_by_demonstration_is_kept_for_a_grader(small: Site) -> None:
    fill(small.store, 1, answers=0)
    (item_id,) = item_ids(small)
    with writing(small.store.engine) as connection:
        row = {"item_id": item_id, "use": "screening", "why": "", "created_at": "0"}
        answer = packed({"tiers": [], "ratings": {}, "text": "Ours."})
        connection.execute(gold_items.insert(), {**row, "answer": answer})
        connection.execute(items.update().values(pool="gold"))
    ann = small.person(stage="screening")
    item = ann.next()
    assert ann.submit(item, demonstrated("Mine.")).status_code == 200
    with reading(small.store.engine) as connection:
        (trial,) = connection.execute(trial_answers.select()).mappings()
    assert '"text":"Mine."' in trial["body"]


def test_a_mixed_gold_item_looks_like_any_other(small: Site) -> None:
    from understudy.store.settings import set_setting

    fill(small.store, 3)
    make_gold(small, "mixed", item_ids(small)[0])
    set_setting(small.store, "gold_rate", 0.5, small.parts.now(), by=None)
    ann = small.person(role="training")
    seen, shapes = [], set()
    while (item := ann.next()) is not None:
        seen.append(item["prompt"]["turns"][0]["content"])
        shapes.add((item["stage"], item["kind"], tuple(item)))
        assert ann.submit(item, ranked(item)).json()["feedback"] is None
    assert len(shapes) == 1
    assert len(seen) == len(set(seen))
    assert {"Question 1?", "Question 2?"} <= set(seen)


def test_owners_and_held_out_labelers_need_no_screening(small: Site) -> None:
    queue(small.store, [])
    owner = small.account(NewAccount(name="Owner", owner=True, screen=False))
    browser = small.browser()
    small.sign_in(browser, owner)
    account = browser.get("/api/session").json()["account"]
    assert (account["stage"], account["role"]) == ("active", None)
    assert browser.get("/").headers["location"] == "/owner"
    assert NewItem("write", None, "training").kind == "write"
