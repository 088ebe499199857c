"""A labeler's day over HTTP: what is shown, kept, sent twice, sent late, changed, skipped."""

import json
from uuid import uuid4

import pytest
from sqlalchemy import select
from tests.labelers import Browser, Site, demonstrated, fill, queue, ranked, site
from tests.stores import make_project

from understudy.records import FLAGS, Demonstration, Message, Prompt, Ranking, Rating, Response
from understudy.store import open_project
from understudy.store.engine import reading, writing
from understudy.store.labeling_tables import (
    assignments,
    items,
    prompt_tags,
    submissions,
    worker_flags,
)
from understudy.store.queue.plan import NewItem, Overlap
from understudy.store.tables import labels, prompts


def rows(pages: Site, table) -> list:
    with reading(pages.store.engine) as connection:
        return list(connection.execute(select(table)).mappings())


def path(assignment: dict, what: str = "") -> str:
    return f"/api/assignments/{assignment['id']}" + (f"/{what}" if what else "")


def draft(browser: Browser, assignment: dict, version: int, **body):
    return browser.post(path(assignment, "draft"), {"version": version, "body": body}, method="PUT")


def skip(browser: Browser, assignment: dict, reason: str = "unclear"):
    return browser.post(path(assignment, "skip"), {"id": str(uuid4()), "reason": reason})


# Ranking


def test_a_ranking_becomes_a_rating_per_answer_and_a_ranking(pages: Site) -> None:
    fill(pages.store, 1)
    ann = pages.person(role="training")
    item = ann.next()
    assert (item["kind"], item["purpose"], item["state"]) == ("rank", "training", "leased")
    assert item["prompt"] == {"turns": [{"role": "user", "content": "Question 0?"}]}
    assert [one["id"] for one in item["answers"]] == ["a1", "a2", "a3", "a4"]
    by_text = {one["text"]: one["id"] for one in item["answers"]}
    assert sorted(by_text) == ["0", "1", "2", "3"]
    assert [one["name"] for one in item["questions"]["flags"]] == list(FLAGS)
    tiers = [[by_text["2"]], [by_text["0"], by_text["3"]], [by_text["1"]]]
    answer = ranked(item, tiers=tiers, seconds=42.5, ui="1", note="close")
    answer["ratings"][by_text["2"]] |= {"likert": 7, "note": "=good"}
    answer["ratings"][by_text["1"]]["flags"] = {"hallucination": True, "violent_content": None}
    said = ann.submit(item, answer).json()
    assert said == {
        "id": answer["id"],
        "assignment": item["id"],
        "state": "done",
        "late": False,
        "feedback": None,
        "go": "/work",
    }
    records = list(pages.store.labels())
    (ranking,) = (one for one in records if isinstance(one, Ranking))
    assert [ranking.responses[index] for index in ranking.tiers[0]] == ["2"]
    assert {ranking.responses[index] for index in ranking.tiers[1]} == {"0", "3"}
    assert list(ranking.responses) == [one["text"] for one in item["answers"]], "as shown"
    assert (ranking.labeler_id, ranking.labeler_role) == (ann.account, "training")
    ratings = {one.response_id: one for one in records if isinstance(one, Rating)}
    assert len(ratings) == 4
    best = ratings["p00-secretmodel2"]
    assert (best.likert, best.note, best.rubric) == (7, "=good", "default-1")
    assert dict(ratings["p00-secretmodel1"].flags) == {"hallucination": True}
    (done,) = rows(pages, assignments)
    assert (done["seconds"], done["ui"], done["note"]) == (42.5, "1", "close")
    assert ann.next() is None


def test_the_order_differs_between_labelers_and_stays_with_each(small: Site) -> None:
    fill(small.store, 6, answers=6, overlap=Overlap(1.0, 3, 3))
    orders = {}
    for name in ("a", "b", "c"):
        person = small.person(name, role="training")
        while (item := person.next()) is not None:
            question = item["prompt"]["turns"][0]["content"]
            order = [one["text"] for one in item["answers"]]
            again = person.get(path(item)).json()["assignment"]
            assert [one["text"] for one in again["answers"]] == order
            orders[name, question] = tuple(order)
            person.submit(item, ranked(item))
    assert len(orders) == 18
    assert len(set(orders.values())) >= 12


def test_equal_answers_are_shown_once(small: Site) -> None:
    fill(small.store, 0)
    prompt = Prompt(id="p", prompt="Hm?", user_id="u", split="train")
    small.store.add_prompts([prompt])
    small.store.set_intake([prompt], [])
    small.store.add_responses(
        Response(id=f"r{k}", prompt_id="p", prompt="Hm?", response=text, model=f"m{k}")
        for k, text in enumerate(["yes", "no", "yes", " yes\n", "no"])
    )
    from understudy.store.queue.plan import to_rank

    queue(small.store, to_rank(small.store, most=9))
    item = small.person(role="training").next()
    assert sorted(one["text"] for one in item["answers"]) == ["no", "yes"]


@pytest.mark.parametrize("outcome", ["cannot_rank", "unsure"])
def test_not_being_able_to_say_is_an_answer_of_its_own(pages: Site, outcome: str) -> None:
    fill(pages.store, 1, overlap=Overlap(0.0, 3, 2))
    ann = pages.person(role="training")
    item = ann.next()
    answer = {"id": str(uuid4()), "outcome": outcome, "note": "in Greek"}
    answer["ratings"] = {"a2": {"likert": 1}}
    assert ann.submit(item, answer).status_code == 200
    assert [row["kind"] for row in rows(pages, labels)] == ["rating"]
    (done,) = rows(pages, assignments)
    assert (done["outcome"], done["note"]) == (outcome, "in Greek")
    assert ann.next() is None
    bob = pages.person(role="training")
    second = bob.next()
    assert second is not None, "somebody else is asked"
    bob.submit(second, ranked(second))
    assert pages.person(role="training").next() is None, "but no more than the most"


def wrong_answers() -> dict:
    good = {"a1": {"likert": 3}, "a2": {"likert": 3}}
    whole = {"outcome": "ranked", "ratings": good, "tiers": [["a1"], ["a2"]]}
    return {
        "response a2 is not rated": whole | {"ratings": {"a1": {"likert": 3}}},
        "exactly one tier": whole | {"tiers": [["a1"]]},
        "in exactly one tier": whole | {"tiers": [["a1"], ["a2", "a1"]]},
        "there is no response 'a3'": whole | {"tiers": [["a1"], ["a2"], ["a3"]]},
        "a tier is empty": whole | {"tiers": [["a1"], [], ["a2"]]},
        "less than or equal to 7": whole | {"ratings": good | {"a1": {"likert": 8}}},
        "valid integer": whole | {"ratings": good | {"a1": {"likert": "7"}}},
        "no question 'funny'": whole
        | {"ratings": good | {"a1": {"likert": 3, "flags": {"funny": True}}}},
        "there is no tag 'nice'": whole | {"tags": {"nice": True}},
        "there is no group 'nurses'; groups: none": whole | {"tags": {"group": "nurses"}},
        "use_case is 'cooking'": whole | {"tags": {"use_case": "cooking"}},
        "tag sensitive is 'yes'": whole | {"tags": {"sensitive": "yes"}},
        "the outcome is 'demonstrated'": {"outcome": "demonstrated", "text": "x"},
        "id: String should match": whole | {"id": "../../x"},
        "Extra inputs are not permitted": whole | {"labeler_id": "lab-other"},
    }


def test_an_answer_that_cannot_be_is_refused_and_nothing_is_lost(small: Site) -> None:
    fill(small.store, 1, answers=2)
    ann = small.person(role="training")
    item = ann.next()
    draft(ann, item, 0, note="half")
    for says, answer in wrong_answers().items():
        reply = ann.submit(item, {"id": str(uuid4()), **answer})
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid"), says
        assert says in reply.json()["error"]["message"]
    assert not rows(small, submissions)
    shown = ann.get(path(item)).json()["assignment"]
    assert (shown["state"], shown["draft"]["body"]) == ("leased", {"note": "half"})


def test_a_labeler_names_the_group_that_a_prompt_concerns(tmp_path) -> None:
    """One of project.toml's; rankings are exported with it."""
    project = make_project("sqlite", tmp_path / "project")
    with (project.folder / "project.toml").open("a") as file:
        file.write('groups = ["nurses", "parents"]\n')
    with site(open_project(project.folder)) as pages:
        fill(pages.store, 1)
        ann = pages.person(role="training")
        item = ann.next()
        assert item["questions"]["groups"] == ["nurses", "parents"]
        refused = ann.submit(item, ranked(item, tags={"group": "doctors"}))
        assert "no group 'doctors'; groups: nurses, parents" in refused.json()["error"]["message"]
        assert ann.submit(item, ranked(item, tags={"group": "nurses"})).status_code == 200
        (ranking,) = (one for one in pages.store.labels() if isinstance(one, Ranking))
        assert ranking.group == "nurses"


@pytest.mark.parametrize("groups", ['"nurses"', "[3]", '[" "]'])
def test_groups_of_a_project_that_are_no_names(tmp_path, groups) -> None:
    project = make_project("sqlite", tmp_path / "project")
    with (project.folder / "project.toml").open("a") as file:
        file.write(f"groups = {groups}\n")
    with pytest.raises(ValueError, match="it must be a list of names"):
        open_project(project.folder)


# Sent twice, late, from two windows


def test_the_same_answer_sent_again_gets_the_same_reply(pages: Site) -> None:
    fill(pages.store, 1)
    ann = pages.person(role="training")
    item = ann.next()
    answer = ranked(item)
    first = ann.submit(item, answer)
    for _ in range(3):
        assert ann.submit(item, answer).text == first.text
    assert len(rows(pages, submissions)) == 1
    assert len(rows(pages, labels)) == 5
    other = ann.submit(item, ranked(item, best_last=True, id=answer["id"]))
    assert (other.status_code, other.json()["error"]["code"]) == (409, "submission_conflict")
    second = ann.submit(item, ranked(item))
    assert (second.status_code, second.json()["error"]["code"]) == (409, "already_submitted")
    assert second.json()["submitted"]["id"] == answer["id"]
    assert second.json()["submitted"]["body"]["tiers"] == answer["tiers"]
    assert len(rows(pages, labels)) == 5


def test_an_id_that_somebody_else_used_is_refused(small: Site) -> None:
    fill(small.store, 2)
    ann, bob = small.person(role="training"), small.person(role="training")
    one, other = ann.next(), bob.next()
    answer = ranked(one)
    ann.submit(one, answer)
    reply = bob.submit(other, ranked(other, id=answer["id"]))
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "submission_conflict")
    assert "submitted" not in reply.json()


def test_an_answer_after_the_lease_ended_takes_its_place_if_that_is_free(pages: Site) -> None:
    fill(pages.store, 1)
    ann = pages.person(role="training")
    item = ann.next()
    draft(ann, item, 0, note="half")
    pages.clock.forward(minutes=31)
    state = ann.post(path(item, "heartbeat")).json()
    assert state == {"state": "expired", "expires_at": None}
    again = ann.next()
    assert (again["id"], again["draft"]["body"]) == (item["id"], {"note": "half"})
    pages.clock.forward(minutes=31)
    assert ann.submit(item, ranked(item)).status_code == 200
    (done,) = rows(pages, assignments)
    assert (done["state"], done["slot"]) == ("done", 0)
    assert pages.person(role="training").next() is None


def test_a_late_answer_to_an_item_that_went_on_is_kept_beside(pages: Site) -> None:
    fill(pages.store, 1)
    ann, bob = pages.person(role="training"), pages.person(role="training")
    item = ann.next()
    assert bob.next() is None
    pages.clock.forward(minutes=31)
    theirs = bob.next()
    assert theirs is not None
    assert ann.post(path(item, "heartbeat")).json()["state"] == "expired"
    assert ann.next() is None, "bob has it now"
    reply = ann.submit(item, ranked(item)).json()
    assert reply["late"] is True
    assert bob.submit(theirs, ranked(theirs)).json()["late"] is False
    assert len([row for row in rows(pages, labels) if row["kind"] == "ranking"]) == 2
    slots = {row["account_id"]: row["slot"] for row in rows(pages, assignments)}
    assert slots == {ann.account: None, bob.account: 0}
    (row,) = rows(pages, items)
    assert (row["num_live"], row["state"]) == (0, "done")


def test_a_page_that_is_open_keeps_its_item(pages: Site) -> None:
    fill(pages.store, 1)
    ann, bob = pages.person(role="training"), pages.person(role="training")
    item = ann.next()
    for _ in range(5):
        pages.clock.forward(minutes=20)
        assert ann.post(path(item, "heartbeat")).json()["state"] == "leased"
        assert bob.next() is None


def test_drafts_of_two_windows_do_not_overwrite_each_other(pages: Site) -> None:
    fill(pages.store, 1)
    ann = pages.person(role="training")
    item = ann.next()
    assert draft(ann, item, 0, note="one").json()["version"] == 1
    assert draft(ann, item, 1, note="two").json()["version"] == 2
    for stale in (0, 1, 3):
        reply = draft(ann, item, stale, note="other window")
        assert (reply.status_code, reply.json()["error"]["code"]) == (409, "draft_stale")
        assert reply.json()["draft"]["body"] == {"note": "two"}
    assert draft(ann, item, 2, note="mine after all").json()["version"] == 3
    ann.submit(item, ranked(item))
    reply = draft(ann, item, 3, note="a timer that went on")
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "already_submitted")
    shown = ann.get(path(item)).json()["assignment"]
    assert (shown["draft"], shown["state"]) == (None, "done")


def test_two_windows_and_the_back_button_have_the_same_item(small: Site) -> None:
    fill(small.store, 3)
    ann = small.person(role="training")
    item = ann.next()
    assert {ann.next()["id"], ann.next("rank")["id"]} == {item["id"]}
    answer = ranked(item)
    ann.submit(item, answer)
    shown = ann.get(path(item)).json()["assignment"]
    assert (shown["state"], shown["submitted"]["body"]["tiers"]) == ("done", answer["tiers"])


# Changing an answer


def test_an_answer_is_changed_by_a_revision(pages: Site) -> None:
    fill(pages.store, 1)
    ann = pages.person(role="training")
    item = ann.next()
    first = ranked(item)
    ann.submit(item, first)
    second = ranked(item, best_last=True, revises=first["id"])
    assert ann.submit(item, second).status_code == 200
    assert ann.submit(item, second).status_code == 200
    stale = ann.submit(item, ranked(item, revises=first["id"]))
    assert stale.json()["error"]["code"] == "already_submitted"
    (ranking,) = (one for one in pages.store.labels() if isinstance(one, Ranking))
    assert ranking.responses[ranking.tiers[0][0]] == "3"
    assert len([row for row in rows(pages, labels) if row["kind"] == "ranking"]) == 2
    (row,) = rows(pages, items)
    assert (row["num_done"], row["num_live"], row["state"]) == (1, 0, "done")

    third = {"id": str(uuid4()), "outcome": "cannot_rank", "revises": second["id"]}
    assert ann.submit(item, third).status_code == 200
    assert not list(pages.store.labels()), "what was taken back is no label any more"
    fourth = ranked(item, revises=third["id"])
    assert ann.submit(item, fourth).status_code == 200
    assert len(list(pages.store.labels())) == 5
    history = ann.get("/api/history").json()["done"]
    assert [(one["outcome"], one["excerpt"]) for one in history] == [("ranked", "Question 0?")]


def test_there_is_nothing_to_change_before_an_answer(small: Site) -> None:
    fill(small.store, 1)
    ann = small.person(role="training")
    item = ann.next()
    reply = ann.submit(item, ranked(item, revises="no-such-id"))
    assert reply.status_code == 409


# Demonstrating and writing


def test_a_demonstration_with_tags(pages: Site) -> None:
    fill(pages.store, 1, answers=0)
    ann = pages.person(role="training")
    item = ann.next()
    assert (item["kind"], item["answers"]) == ("demonstrate", [])
    assert item["limit"] == {"count": 1024, "unit": "words"}
    said = ann.post("/api/tokens", {"text": "one two  three"}).json()
    assert said == {"count": 3, "limit": 1024, "unit": "words"}
    long = ann.submit(item, demonstrated("word " * 1025))
    assert "the response has 1,025 words; the limit is 1,024" in long.json()["error"]["message"]
    assert "is empty" in ann.submit(item, demonstrated(" \n")).json()["error"]["message"]
    tags = {"use_case": "chat", "closed_domain": True, "sensitive": False, "ambiguous": None}
    assert ann.submit(item, demonstrated("Good.\n", tags=tags)).status_code == 200
    (record,) = pages.store.labels()
    assert isinstance(record, Demonstration)
    assert (record.response, record.labeler_id) == ("Good.\n", ann.account)
    (prompt,) = pages.store.prompts()
    assert (prompt.use_case, dict(prompt.tags)) == (
        "chat",
        {"closed_domain": True, "sensitive": False},
    )
    (row,) = rows(pages, prompt_tags)
    assert json.loads(row["body"]) == {
        "use_case": "chat",
        "closed_domain": True,
        "sensitive": False,
    }


def test_a_conversation_is_shown_as_its_turns(small: Site) -> None:
    turns = (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Yes?"))
    prompt = Prompt(id="p", prompt=(*turns, Message("user", "Bye")), user_id="u", split="train")
    small.store.add_prompts([prompt])
    small.store.set_intake([prompt], [])
    queue(small.store, [NewItem("demonstrate", "p", "training")])
    item = small.person(role="training").next()
    assert [turn["role"] for turn in item["prompt"]["turns"]] == [
        "system",
        "user",
        "assistant",
        "user",
    ]


def message(reply) -> str:
    return str(reply.json()["error"]["message"])


def test_what_cannot_be_seen_is_no_response(pages: Site) -> None:
    queue(pages.store, [NewItem("write", None, "training", brief={"style": "plain"})])
    ann = pages.person(role="training")
    item = ann.next("write")
    answer = {"outcome": "written", "style": "plain", "id": "an-answer"}
    for text in (" \n", "\u200b\u00a0\ufeff"):
        assert "the prompt is empty" in message(ann.submit(item, {**answer, "prompt": text}))
    assert ann.submit(item, {**answer, "prompt": "\U0001f44d\ufe0f"}).status_code == 200


def test_a_labeler_writes_prompts_of_the_three_kinds(pages: Site) -> None:
    briefs = [
        {"style": "plain"},
        {"style": "few_shot"},
        {"style": "user_based", "text": "helps people plan their days"},
    ]
    queue(pages.store, [NewItem("write", None, "training", brief=brief) for brief in briefs])
    ann = pages.person(role="training")
    sent = {"outcome": "written", "tags": {"use_case": "generation", "constraint": True}}
    while (item := ann.next("write")) is not None:
        style = item["brief"]["style"]
        answer = {**sent, "id": f"id-{style}", "style": style, "prompt": f"Do {style}."}
        if style == "plain":
            answer["response"] = "Done."
        if style == "few_shot":
            assert "2" in message(ann.submit(item, answer)), "needs examples"
            long = [{"query": q * 600, "response": q} for q in ("a ", "b ")]
            assert "has 1,203 words" in message(ann.submit(item, {**answer, "examples": long}))
            answer["examples"] = [{"query": q, "response": q * 2} for q in "abc"]
        if style == "user_based":
            assert item["brief"]["text"] == "helps people plan their days"
        assert ann.submit(item, answer).status_code == 200
        changed = ann.submit(item, {**answer, "id": "id-changed", "revises": f"id-{style}"})
        assert changed.json()["error"]["code"] == "final"
    written = list(pages.store.prompts())
    assert len(written) == 1 + 3 + 1
    assert {(p.user_id, p.source) for p in written} == {(f"labeler-{ann.account}", "labeler")}
    assert {p.use_case for p in written} == {"generation"}
    shots = [p for p in written if p.tags["written"] == "few_shot"]
    assert "Do few_shot.\n\nb\nbb\n\nc\ncc\n\na" in {p.prompt for p in shots}
    given = {record.response for record in pages.store.labels()}
    assert given == {"Done.", "aa", "bb", "cc"}


# Skipping, and what is done


def test_a_skipped_item_goes_to_somebody_else_and_can_be_taken_back(pages: Site) -> None:
    fill(pages.store, 1)
    ann, bob, cleo = (pages.person(role="training") for _ in range(3))
    item = ann.next()
    assert skip(ann, item).json() == {"state": "skipped", "go": "/work", "streak_skips": 1}
    assert skip(ann, item).json()["streak_skips"] == 1, "sent again"
    assert ann.next() is None
    back = ann.post(path(item, "unskip")).json()["assignment"]
    assert (back["id"], back["state"]) == (item["id"], "leased")
    skip(ann, item)
    theirs = bob.next()
    assert theirs["prompt"] == item["prompt"]
    reply = ann.post(path(item, "unskip"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "lost")
    skip(bob, theirs, "language")
    skip(cleo, cleo.next(), "sensitive")
    assert rows(pages, items)[0]["state"] == "set_aside"
    assert pages.person(role="training").next() is None, "three people could not: a person looks"
    reply = bob.submit(theirs, ranked(theirs))
    assert reply.json()["late"] is True, "a skip in one window, an answer in the other: it is kept"


def test_many_skips_in_a_row_raise_a_flag(pages: Site) -> None:
    fill(pages.store, 12)
    ann = pages.person(role="training")
    for number in range(1, 5):
        assert skip(ann, ann.next()).json()["streak_skips"] == number
    item = ann.next()
    pages.clock.forward(seconds=1)
    ann.submit(item, ranked(item))
    for number in range(1, 6):
        pages.clock.forward(seconds=1)
        assert not rows(pages, worker_flags)
        assert skip(ann, ann.next()).json()["streak_skips"] == number
    (flag,) = rows(pages, worker_flags)
    assert (flag["account_id"], flag["kind"], flag["body"]) == (
        ann.account,
        "skips",
        '{"in_a_row":5}',
    )


def test_a_day_in_numbers(small: Site) -> None:
    fill(small.store, 5)
    ann = small.person(role="training")
    for seconds in (60.0, 120.0, 600.0):
        item = ann.next()
        ann.submit(item, ranked(item, seconds=seconds))
        small.clock.forward(hours=1)
    day = ann.get("/api/day").json()
    assert (day["done_today"], day["left"]["rank"], day["goal_today"]) == (3, 2, None)
    assert (day["per_hour"], day["median_seconds"]) == (13.8, {"rank": 120.0})
    since = {"since": "2026-03-01T12:30:00+02:00"}
    assert ann.get("/api/day", params=since).json()["done_today"] == 1
    assert ann.get("/api/day", params={"since": "noon"}).status_code == 400


def test_history_is_paged_and_ones_own(small: Site) -> None:
    fill(small.store, 3)
    ann, bob = small.person(role="training"), small.person(role="training")
    for browser in (ann, ann, bob):
        item = browser.next()
        browser.submit(item, ranked(item))
        small.clock.forward(minutes=1)
    first = ann.get("/api/history").json()
    assert len(first["done"]) == 2
    older = ann.get("/api/history", params={"before": first["before"]}).json()
    assert older == {"done": [], "before": None}


def test_forgetting_a_user_takes_along_all_that_was_sent_for_them(pages: Site) -> None:
    fill(pages.store, 1)
    ann = pages.person(role="training")
    item = ann.next()
    draft(ann, item, 0, note="a canary in a draft")
    ann.submit(item, ranked(item, note="a canary", tags={"sensitive": True}))
    with writing(pages.store.engine) as connection:
        connection.exec_driver_sql("DELETE FROM users WHERE id = 'u0'")
    for table in (items, assignments, submissions, labels, prompt_tags, prompts):
        assert not rows(pages, table), table.name


def test_a_label_names_the_instructions_under_which_it_was_begun_and_sent(small: Site) -> None:
    fill(small.store, 1, answers=0)
    ann = small.person(role="training")
    item = ann.next()

    def publish(version: str) -> None:
        small.store.add_rubric(version, f"{version}.", ["helpful", "truthful", "harmless"])
        small.clock.forward(seconds=1)
        assert ann.post("/api/instructions", {"version": version}).status_code == 200

    def newest() -> tuple[str | None, str | None]:
        found = max(rows(small, labels), key=lambda row: row["revision"])
        return found["rubric_begun"], found["rubric"]

    publish("v2")
    assert ann.submit(item, demonstrated("One.", id="first-one")).status_code == 200
    assert newest() == ("default-1", "v2")
    shown = ann.get(path(item)).json()["assignment"]
    assert shown["rubric_now"] == "v2"
    publish("v3")
    change = demonstrated("Two.", id="second-one", revises="first-one", begun="v2")
    assert ann.submit(item, change).status_code == 200
    assert newest() == ("v2", "v3")
    wrong = demonstrated("Three.", id="third-one", revises="second-one", begun="v9")
    refused = ann.submit(item, wrong)
    assert refused.status_code == 400
    assert "no version 'v9'" in refused.json()["error"]["message"]
