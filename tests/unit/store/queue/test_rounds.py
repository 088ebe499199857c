"""Responses that come after their prompt was queued: together, apart, left; labels stay."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update
from tests.labelers import Site, fill, ranked, site
from tests.stores import BACKENDS, make_project

from understudy.labeling.plan import PlanConfig, plan
from understudy.records import Response
from understudy.store import Store
from understudy.store.engine import reading, writing
from understudy.store.labeling_tables import gold_items, item_responses, items
from understudy.store.queue.rounds import late_responses
from understudy.store.tables import responses

EARLY = "2026-01-01T00:00:00.000000+00:00"


@pytest.fixture(params=BACKENDS)
def queued(request, tmp_path: Path) -> Iterator[Site]:
    """Two prompts with responses "0" and "1", queued before any later response comes."""
    with site(make_project(request.param, tmp_path / "project")) as pages:
        fill(pages.store, 2, answers=2)
        with writing(pages.store.engine) as connection:
            connection.execute(update(responses).values(created_at=EARLY))
        yield pages


def arrive(store: Store, *texts: str, prompt: str = "p00") -> None:
    """Later responses."""
    asked = f"Question {int(prompt[1:])}?"
    store.add_responses(
        Response(id=f"{prompt}-{text}", prompt_id=prompt, prompt=asked, response=text, model="m")
        for text in texts
    )


def planned(site, **options) -> str:
    """The line of `labels plan` on later responses, empty if there is none."""
    said = plan(PlanConfig(project=site.parts.project.folder, overlap=0.0, **options))
    return next((line for line in said.splitlines() if line.startswith("new responses")), "")


def rows(store: Store, prompt: str = "p00") -> list:
    with reading(store.engine) as connection:
        query = select(items).where(items.c.prompt_id == prompt).order_by(items.c.round)
        return list(connection.execute(query).mappings())


def shown(store: Store, item_id: str) -> list[str]:
    """Texts of an item, in their order."""
    query = (
        select(responses.c.response)
        .join(item_responses, item_responses.c.response_id == responses.c.id)
        .where(item_responses.c.item_id == item_id)
        .order_by(item_responses.c.place)
    )
    with reading(store.engine) as connection:
        return list(connection.execute(query).scalars())


def test_an_item_that_nobody_has_begun_takes_them_in(queued) -> None:
    arrive(queued.store, "2", " 1", "2 ")  # " 1" and "2 " say nothing new
    assert planned(queued) == "new responses, together: 0 items added, 1 extended"
    (item,) = rows(queued.store)
    assert shown(queued.store, item["id"]) == ["0", "1", "2"]
    assert planned(queued) == "", "once"


def test_together_a_done_item_stays_and_all_are_ranked_again(queued) -> None:
    ann = queued.person(role="training")
    for _ in range(2):
        task = ann.next("rank")
        assert ann.submit(task, ranked(task)).status_code == 200
    arrive(queued.store, "2")
    assert planned(queued) == "new responses, together: 1 item added, 0 extended"
    first, second = rows(queued.store)
    assert (first["state"], second["state"]) == ("done", "open")
    assert (first["round"], second["round"]) == (0, 1)
    task = ann.next("rank")
    assert sorted(one["text"] for one in task["answers"]) == ["0", "1", "2"]
    assert ann.submit(task, ranked(task)).status_code == 200
    rankings = [label for label in queued.store.labels() if label.id.startswith("k-")]
    assert sorted(len(one.responses) for one in rankings) == [2, 2, 3]


def test_together_whoever_is_at_it_may_finish_and_nobody_else_is_asked(queued) -> None:
    with writing(queued.store.engine) as connection:
        connection.execute(update(items).values(wanted=3, max_wanted=5))
    ann, ben = queued.person(role="training"), queued.person(role="training")
    mine = ann.next("rank")
    prompt = "p00" if "Question 0" in mine["prompt"]["turns"][0]["content"] else "p01"
    arrive(queued.store, "2", "3", prompt=prompt)
    assert planned(queued) == "new responses, together: 1 item added, 0 extended"
    assert ann.submit(mine, ranked(mine)).status_code == 200
    first, second = rows(queued.store, prompt)
    assert (first["state"], first["num_done"], second["state"]) == ("done", 1, "open")
    seen = []
    while (task := ben.next("rank")) is not None:
        seen.append(len(task["answers"]))
        assert ben.submit(task, ranked(task)).status_code == 200
    assert sorted(seen) == [2, 4], "the other prompt, and the new round"


def test_apart_the_new_ones_are_ranked_among_themselves(queued) -> None:
    arrive(queued.store, "2")
    assert planned(queued, new_responses="apart") == (
        "new responses, apart: 0 items added, 0 extended; 1 with one new response, too few to rank "
        "apart"
    )
    arrive(queued.store, "3")
    assert planned(queued, new_responses="apart").startswith("new responses, apart: 1 item added")
    first, second = rows(queued.store)
    assert shown(queued.store, first["id"]) == ["0", "1"]
    assert shown(queued.store, second["id"]) == ["2", "3"]
    arrive(queued.store, "0", "3 ", "4", "5")  # texts of earlier rounds are known
    with writing(queued.store.engine) as connection:
        later = update(items).where(items.c.id == second["id"])
        connection.execute(later.values(created_at=EARLY))
    assert planned(queued, new_responses="apart").startswith("new responses, apart: 1 item added")
    assert shown(queued.store, rows(queued.store)[2]["id"]) == ["4", "5"]


def test_left_ones_are_counted_and_too_many_are_cut(queued) -> None:
    arrive(queued.store, *"23456789x")
    assert planned(queued, new_responses="leave").startswith("new responses: left out of 1 item")
    assert planned(queued, max_answers=5) == "new responses, together: 0 items added, 1 extended"
    (item,) = rows(queued.store)
    assert shown(queued.store, item["id"]) == list("23456")


@pytest.mark.parametrize("state", ["set_aside", "closed"])
def test_what_the_owner_has_to_look_at_stays(queued, state: str) -> None:
    with writing(queued.store.engine) as connection:
        connection.execute(update(items).values(state=state))
    arrive(queued.store, "2", "3")
    assert late_responses(queued.store) == []


def test_a_gold_items_prompt_is_left_alone(queued) -> None:
    (item,) = rows(queued.store)
    with writing(queued.store.engine) as connection:
        gold = {
            "item_id": item["id"],
            "use": "mixed",
            "answer": "{}",
            "why": "",
            "created_at": EARLY,
        }
        connection.execute(gold_items.insert().values(gold))
        connection.execute(update(items).where(items.c.id == item["id"]).values(pool="gold"))
    arrive(queued.store, "2", "3")
    assert late_responses(queued.store) == []


def test_the_owner_chooses_on_the_page(queued) -> None:
    arrive(queued.store, "2", "3")
    olga = queued.person(owner=True)
    assert olga.get("/api/owner/queue").json()["late"] == 1
    told = [todo["text"] for todo in olga.get("/api/owner/home").json()["todo"]]
    assert "1 prompt with responses that came later" in told
    said = olga.post("/api/owner/queue/fill", {"new_responses": "apart"}).json()["said"]
    assert "new responses, apart: 1 item added, 0 extended" in said
    assert olga.get("/api/owner/queue").json()["new_responses"] == "apart"
    arrive(queued.store, "4", "5", prompt="p01")
    assert planned(queued).startswith("new responses, apart"), "the command line follows"
    wrong = olga.post("/api/owner/queue/fill", {"new_responses": "sideways"})
    assert wrong.status_code == 400
