"""Screening to a role, alarms, and what labelers say of themselves, over HTTP."""

import json
import uuid

import pytest
from sqlalchemy import select
from tests.labeling_client import Unwelcome, answer_of
from tests.stores import BACKENDS
from tests.unit.labeling.project import Careful, fill, team
from tests.unit.trust.people import Person

from understudy.labeling.plan import PlanConfig, plan
from understudy.records import Prompt
from understudy.store.engine import reading
from understudy.store.labeling_tables import accounts
from understudy.store.tables import labelers


class Writer(Careful):
    """Demonstrates too."""

    def demonstrate(self, prompt):
        return Person.demonstrate(self, prompt)


@pytest.fixture(scope="module", params=BACKENDS)
def site(request, tmp_path_factory):
    """An owner, and a researcher whose answers are the key: 4 rankings and 2 demonstrations."""
    with team(request.param, tmp_path_factory.mktemp("site") / "project") as made:
        asked = [
            Prompt(id=f"d{i}", prompt=f"Write {i}.", user_id="w", split="train") for i in range(2)
        ]
        made.store.add_prompts(asked)
        made.store.set_intake(asked, [])
        plan(PlanConfig(project=made.project.folder, kinds=("demonstrate",)))
        made.boss = made.owner()
        rex = made.labeler("Rex", "researcher")
        answer_all(rex, Writer("Rex", "researcher"), most={"rank": 5, "demonstrate": 2})
        could_be = made.boss.get("/api/owner/gold")["could_be"]
        ranks = [one["item_id"] for one in could_be if one["kind"] == "rank"]
        others = [one["item_id"] for one in could_be if one["kind"] == "demonstrate"]
        uses = [*((one, "screening") for one in (*ranks[:4], *others)), (ranks[4], "practice")]
        for item, use in uses:
            body = {"item_id": item, "use": use, "why": "the larger number is the better answer"}
            made.boss.post("/api/owner/gold", body)
        yield made


def answer_all(client, person, most=None):
    """Answer everything of both kinds; the replies."""
    replies = []
    for kind in ("rank", "demonstrate"):
        left = 99 if most is None else most[kind]
        while left and (assignment := client.next(kind)):
            answer = answer_of(person, assignment)
            replies.append(client.submit(assignment["id"], answer))
            left -= 1
    return replies


def go_through_screening(site, name, person):
    """Practice and screening, until there is nothing to do but wait."""
    client = site.join(name, role=None, screen=True)
    replies = []
    while True:
        try:
            assignment = client.next()
        except Unwelcome as refused:
            if refused.code == "gate":
                return client, replies
            raise
        replies.append(client.submit(assignment["id"], answer_of(person, assignment)))


def grade_all(site, grade):
    graded = []
    while (found := site.boss.get("/api/owner/grading"))["next"]:
        graded.append(found["next"])
        path = f"/api/owner/grading/{found['next']['assignment_id']}"
        site.boss.post(path, {"grade": grade(found["next"]["text"])})
    return graded


def criteria_of(shown):
    return {one["name"]: one for one in shown["screening"]["criteria"]}


def test_from_screening_to_a_role(site):
    client, replies = go_through_screening(site, "Ann", Writer("Ann"))
    assert replies[0]["feedback"]["agreement"] == 1.0
    assert replies[0]["feedback"]["why"] == "the larger number is the better answer"
    assert all(reply["feedback"] is None for reply in replies[1:])
    assert client.get("/api/session")["account"]["stage"] == "waiting"
    ann = site.id_of("Ann")
    shown = site.boss.get(f"/api/owner/labelers/{ann}")
    assert shown["screening"]["proposal"] == "not_yet"
    assert criteria_of(shown)["demonstrations"]["why"] == "2 wait for a grade"
    assert len(shown["screening"]["trials"]) == 6
    graded = grade_all(site, grade=lambda text: 7 if text == "9" else 1)
    assert [one["text"] for one in graded] == ["9", "9"]
    assert "Ann" not in json.dumps(graded)
    assert ann not in json.dumps(graded)
    shown = site.boss.get(f"/api/owner/labelers/{ann}")
    scores = {name: one["score"] for name, one in criteria_of(shown).items()}
    assert scores == {"flags": 1.0, "ranking": 1.0, "demonstrations": 7.0, "topics": None}
    assert shown["screening"]["proposal"] == "pass"
    decided = site.boss.post(
        f"/api/owner/labelers/{ann}/decide", {"role": "training", "group": "b", "reason": "good"}
    )
    assert decided == {"stage": "active", "role": "training"}
    assert client.get("/api/session")["account"]["stage"] == "active"
    assert client.next("rank") is not None
    with reading(site.store.engine) as connection:
        row = connection.execute(select(labelers).where(labelers.c.id == ann)).one()
    assert (row.role, row.labeler_group) == ("training", "b")
    assert json.loads(row.screening) == {"flags": 1.0, "ranking": 1.0, "demonstrations": 7.0}
    with pytest.raises(Unwelcome) as refused:
        site.boss.post(f"/api/owner/labelers/{ann}/decide", {"role": "held_out"})
    assert (refused.value.status, refused.value.code) == (409, "decided")


def test_who_answers_by_chance_is_proposed_to_fail_and_turned_away(site):
    client, _ = go_through_screening(site, "Cat", Writer("Cat", mistakes=1.0))
    grade_all(site, grade=lambda text: 2)
    cat = site.id_of("Cat")
    shown = site.boss.get(f"/api/owner/labelers/{cat}")
    assert shown["screening"]["proposal"] == "fail"
    assert criteria_of(shown)["demonstrations"]["passes"] is False
    assert criteria_of(shown)["flags"]["passes"] is False
    decided = site.boss.post(f"/api/owner/labelers/{cat}/decide", {"role": None})
    assert decided["stage"] == "rejected"
    with pytest.raises(Unwelcome) as refused:
        client.next()
    assert refused.value.status == 403
    with reading(site.store.engine) as connection:
        row = connection.execute(select(accounts).where(accounts.c.id == cat)).one()
        assert connection.execute(select(labelers).where(labelers.c.id == cat)).first() is None
    assert row.decided_by == site.id_of("Olga")
    assert json.loads(row.scores)["demonstrations"] == 2.0


def test_a_grade_is_from_one_to_seven_and_of_something(site):
    for path, body, status in (
        ("/api/owner/grading/as-nothing", {"grade": 3}, 404),
        ("/api/owner/grading/as-nothing", {"grade": 8}, 400),
    ):
        with pytest.raises(Unwelcome) as refused:
            site.boss.post(path, body)
        assert refused.value.status == status


def test_skips_raise_an_alarm_that_a_person_clears(site):
    client = site.labeler("Sid")
    for _ in range(5):
        client.skip(client.next("rank")["id"], reason="unclear")
    (alarm,) = [one for one in site.boss.get("/api/owner/home")["alarms"] if one["name"] == "Sid"]
    assert alarm["kind"] == "skips"
    assert "5 items" in alarm["text"]
    site.boss.post(f"/api/owner/alarms/{alarm['id']}/clear", {"note": "asked, is fine"})
    assert not site.boss.get(f"/api/owner/labelers/{site.id_of('Sid')}")["alarms"]
    with pytest.raises(Unwelcome) as refused:
        site.boss.post(f"/api/owner/alarms/{alarm['id']}/clear", {})
    assert refused.value.status == 404


def test_a_computed_alarm_is_quiet_for_a_while_once_cleared(site):
    fill(site.project, num=18, start=20).engine.dispose()
    client, tim = site.labeler("Tim"), site.id_of("Tim")
    for _ in range(12):
        assignment = client.next("rank")
        names = [one["id"] for one in assignment["answers"]]
        body = {
            "id": str(uuid.uuid4()),
            "outcome": "ranked",
            "ratings": {name: {"likert": 4, "flags": {}} for name in names},
            "tiers": [[name] for name in names],
        }
        client.submit(assignment["id"], body)
    found = site.boss.get(f"/api/owner/labelers/{tim}")["alarms"]
    assert {"same_order", "same_rating"} <= {alarm["kind"] for alarm in found}
    alarm = next(alarm for alarm in found if alarm["kind"] == "same_order")
    assert "12 of the last 12 rankings" in alarm["text"]
    site.boss.post(f"/api/owner/alarms/{alarm['id']}/clear", {"note": "talked"})
    left = {alarm["kind"] for alarm in site.boss.get(f"/api/owner/labelers/{tim}")["alarms"]}
    assert "same_order" not in left
    assert "same_rating" in left
    for name in (f"now:{tim}", "now:lab-nobody:too_fast", "flag-nothing"):
        with pytest.raises(Unwelcome) as refused:
            site.boss.post(f"/api/owner/alarms/{name}/clear", {})
        assert refused.value.status == 404


def test_what_labelers_say_of_themselves_is_theirs(site):
    people = [site.labeler(f"P{i}") for i in range(6)]
    for place, client in enumerate(people):
        page = client.get("/api/me")
        assert page["self_description"]["updated_at"] is None
        age = "25-34" if place else "55-64"
        client.post("/api/me/self-description", {"values": {"age": age, "gender": None}})
        client.post("/api/me/topics", {"values": {"religion": True, "age": place == 0}})
    mine = people[0].get("/api/me")
    said = {field["name"]: field["value"] for field in mine["self_description"]["fields"]}
    assert said["age"] == "55-64"
    assert {one["topic"]: one["value"] for one in mine["topics"]}["age"] is True
    counts = site.boss.get("/api/owner/team")
    ages = {c["option"]: c["count"] for f in counts["fields"] for c in f["cells"]}
    assert (counts["answered"], ages["25-34"], ages["55-64"]) == (6, 5, None)
    topics = {one["topic"]: one["count"] for one in counts["topics"]}
    assert (topics["religion"], topics["age"]) == (6, None)
    # It stands beside nothing, and is in no log.
    account = site.id_of("P0")
    for path in ("labelers", f"labelers/{account}", "agreement", "audit", "home"):
        assert "55-64" not in json.dumps(site.boss.get(f"/api/owner/{path}")), path
    people[0].post("/api/me/self-description/delete")
    mine = people[0].get("/api/me")["self_description"]
    assert [field["value"] for field in mine["fields"]] == [None] * 5
    with pytest.raises(Unwelcome) as refused:
        people[0].post("/api/me/self-description", {"values": {"age": "old"}})
    assert refused.value.status == 400
    with pytest.raises(Unwelcome) as refused:
        people[0].post("/api/me/topics", {"values": {"shoes": True}})
    assert refused.value.status == 400


def test_a_candidates_topics_are_a_number(site):
    for name in ("Una", "Uma", "Uli"):
        site.labeler(name).post("/api/me/topics", {"values": {"health": True}})
    client = site.join("Tia", role=None, screen=True)
    client.post("/api/me/topics", {"values": {"class": True, "health": True}})
    shown = site.boss.get(f"/api/owner/labelers/{site.id_of('Tia')}")
    text = criteria_of(shown)["topics"]["text"]
    assert text == "answered; covers 1 topic that fewer than 3 of the team cover"
    assert "class" not in json.dumps(shown)


def test_a_candidate_invited_with_a_role_waits_for_a_decision_and_gets_it(site):
    """Screening ends in waiting; the owner lets them in with the role that they have, or not."""
    ivy = site.join("Ivy", role="training", screen=True)
    while True:
        try:
            assignment = ivy.next()
        except Unwelcome:
            break
        ivy.submit(assignment["id"], answer_of(Writer("Ivy"), assignment))
    (row,) = [
        one for one in site.boss.get("/api/owner/labelers")["labelers"] if one["name"] == "Ivy"
    ]
    assert (row["stage"], row["role"]) == ("waiting", "training")
    assert any(
        "waiting for a decision" in one["text"] for one in site.boss.get("/api/owner/home")["todo"]
    )
    at = f"/api/owner/labelers/{row['id']}/decide"
    with pytest.raises(Unwelcome, match="is training, and a role never changes"):
        site.boss.post(at, {"role": "held_out"})
    assert site.boss.post(at, {"role": None, "reason": "too fast"})["stage"] == "rejected"
    assert site.boss.post(at, {"role": "training"})["stage"] == "active"
    assert ivy.next() is not None


def test_a_group_is_not_changed_behind_a_role_nor_a_link_made_for_a_disabled_account(site):
    new = {"name": "Gus", "role": "training", "group": "nurses"}
    site.boss.post("/api/owner/labelers", new)
    found = site.boss.get("/api/owner/labelers")["labelers"]
    (path,) = (f"/api/owner/labelers/{one['id']}" for one in found if one["name"] == "Gus")
    with pytest.raises(Unwelcome, match="is of the group nurses, which does not change"):
        site.boss.post(f"{path}/decide", {"role": "training", "group": "doctors"})
    site.boss.post(f"{path}/decide", {"role": "training", "group": "nurses"})
    site.boss.post(f"{path}/disable")
    with pytest.raises(Unwelcome, match=r"The account of Gus is disabled; enable it first\."):
        site.boss.post(f"{path}/reset")
