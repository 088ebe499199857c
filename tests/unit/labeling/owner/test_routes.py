"""The owner's routes over HTTP, with a team at work, on both databases."""

import json

import pytest
from sqlalchemy import select
from tests.labeling_client import Unwelcome
from tests.stores import BACKENDS
from tests.unit.labeling.project import NUM_ITEMS, Careful, fill, label_everything, team

from understudy.store.audit import verify
from understudy.store.engine import reading
from understudy.store.labeling_tables import gold_items, items


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture
def own(backend, tmp_path):
    """An owner alone, for tests that change what others look at."""
    with team(backend, tmp_path / "project") as made:
        made.boss = made.owner()
        yield made


@pytest.fixture(scope="module")
def site(backend, tmp_path_factory):
    """Three training labelers, of whom one answers by chance, two held-out ones, a researcher."""
    with team(backend, tmp_path_factory.mktemp("site") / "project") as made:
        made.boss = made.owner()
        made.clients = {}
        for name, role, mistakes in (
            ("Ann", "training", 0.0),
            ("Ben", "training", 0.0),
            ("Cat", "training", 0.9),
            ("Hal", "held_out", 0.1),
            ("Hua", "held_out", 0.1),
            ("Rex", "researcher", 0.0),
        ):
            client = made.labeler(name, role)
            made.clients[name] = client
            person = Careful(name, role, mistakes)
            label_everything(client, person, most=3 if name == "Rex" else None)
        yield made


def test_every_page_and_route_answers(site):
    item = site.boss.get("/api/owner/disagreements?state=all")["items"][0]["item_id"]
    ann = site.id_of("Ann")
    for path in (
        "home", "queue", "agreement?ties=half", "disagreements", f"disagreements/{item}",
        "labelers", f"labelers/{ann}", "grading", "gold", "rubrics", "audit", "audit/verify",
        "exports", "team",
    ):  # fmt: skip
        assert site.boss.get(f"/api/owner/{path}"), path
    for page in (
        "", "/queue", "/agreement", "/disagreements", f"/disagreements/{item}", "/labelers",
        f"/labelers/{ann}", "/gold", "/rubric", "/audit", "/exports",
    ):  # fmt: skip
        reply = site.boss.http.get(f"/owner{page}")
        assert reply.status_code == 200, page
        assert reply.headers["content-type"].startswith("text/html")


def test_nobody_else_may_look_or_do(site):
    for path in ("home", "labelers", "disagreements", "exports", "plots/pace.svg"):
        with pytest.raises(Unwelcome) as refused:
            site.clients["Ann"].get(f"/api/owner/{path}")
        assert refused.value.status == 403
    with pytest.raises(Unwelcome) as refused:
        site.clients["Ann"].post("/api/owner/gold/rate", {"rate": 0.1})
    assert refused.value.status == 403


def test_no_model_is_named_anywhere(site):
    item = site.boss.get("/api/owner/disagreements?state=all")["items"][0]["item_id"]
    for path in ("home", "queue", "agreement", f"disagreements/{item}", "labelers", "gold"):
        assert "secret-" not in json.dumps(site.boss.get(f"/api/owner/{path}")), path


def test_home_counts(site):
    home = site.boss.get("/api/owner/home")
    assert home["project"] == "project"
    people = site.boss.get("/api/owner/labelers")["labelers"]
    assert home["counts"]["labelers_active"] == len(people) - 1 >= 6  # all but the owner
    assert home["agreement"]["training"]["n"] > 0
    assert home["pace"]["days"][-1]["done"] >= 3 * 8 + 2 * 4
    assert any("disagreement" in one["text"] for one in home["todo"])


def test_agreement_finds_who_answers_by_chance(site):
    found = site.boss.get("/api/owner/agreement")
    tables = {table["about"]: table["lines"] for table in found["tables"]}
    by_labeler = {line["title"]: line["agreement"]["value"] for line in tables["labeler"]}
    assert min(by_labeler, key=lambda name: by_labeler[name] or 1.0) == "Cat"
    by_role = {line["name"]: line["agreement"] for line in tables["role"]}
    assert by_role["held_out"]["value"] > by_role["training"]["value"]
    # Labelers of different roles are on different items here.
    assert by_role["training/held_out"]["value"] is None
    assert "no two labelers" in by_role["training/held_out"]["undefined"]
    assert {line["name"] for line in tables["use_case"]} == {"chat", "open_qa"}
    assert [line["name"] for line in tables["rubric"]] == ["default-1"]
    assert tables["rubric"][0]["agreement"]["n"] == sum(
        cell["agreed"] + cell["disagreed"] for cell in found["breakdown"]["cells"].values()
    )
    assert found["drift"]["windows"][-1]["training"]["n"] == by_role["training"]["n"]
    flags = {row["flag"]: row for row in found["flags"]}
    assert flags["encourages_harm"]["answers"] > 0
    assert flags["expresses_opinion"]["alpha"]["value"] is None
    assert flags["expresses_opinion"]["alpha"]["undefined"]


def test_plots_are_svg_files(site):
    home, ann = site.boss.get("/api/owner/home"), site.id_of("Ann")
    drift = site.boss.get("/api/owner/agreement")["drift"]
    one = site.boss.get(f"/api/owner/labelers/{ann}")["work"]
    gold = site.boss.get("/api/owner/gold")
    for plot in (home["pace"], drift, one, gold):
        reply = site.boss.http.get(plot["plot"])
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("image/svg+xml")
        assert reply.text.startswith("<svg ")
        assert "style=" not in reply.text
        assert plot["alt"].endswith(".")


def test_a_labelers_weight_and_alarms(site):
    rows = {row["name"]: row for row in site.boss.get("/api/owner/labelers")["labelers"]}
    assert rows["Cat"]["weight"] < rows["Ann"]["weight"]
    assert rows["Ann"]["done"] == 8
    assert rows["Olga"]["agreement"]["value"] is None
    shown = site.boss.get(f"/api/owner/labelers/{site.id_of('Cat')}")
    assert shown["work"]["windows"][0]["done"] == 8
    assert shown["screening"]["proposal"] == "not_yet"
    assert {one["name"] for one in shown["screening"]["criteria"]} == {
        "flags",
        "ranking",
        "demonstrations",
        "topics",
    }
    with pytest.raises(Unwelcome) as refused:
        site.boss.get("/api/owner/labelers/lab-nobody")
    assert refused.value.status == 404


def test_disagreements_are_decided_blind(site):
    open_ones = site.boss.get("/api/owner/disagreements")
    assert open_ones["total"] >= 2
    worst = open_ones["items"][0]
    assert worst["agreement"] <= open_ones["items"][1]["agreement"] < open_ones["threshold"]
    shown = site.boss.get(f"/api/owner/disagreements/{worst['item_id']}")
    said = json.dumps(shown)
    assert not any(name in said for name in ("Ann", "Ben", "Cat", site.id_of("Ann"), "p0"))
    assert {label["who"] for label in shown["labels"]} >= {"A", "B"}
    text_of = {answer["id"]: answer["text"] for answer in shown["answers"]}
    # Two careful labelers outweigh one who answers by chance.
    best = [text_of[name] for tier in shown["suggested"] for name in tier]
    assert best == ["3", "2", "1", "0"]
    path = f"/api/owner/disagreements/{worst['item_id']}"
    for wrong in (
        {"verdict": "ranked", "tiers": [["a1"]]},
        {"verdict": "ranked", "tiers": [["a1", "a2"], [], ["a3", "a4"]]},
        {"verdict": "cannot_rank", "tiers": [["a1"]]},
        {"verdict": "perhaps"},
    ):
        with pytest.raises(Unwelcome) as refused:
            site.boss.post(path, wrong)
        assert refused.value.status == 400
    decided = site.boss.post(
        path, {"verdict": "ranked", "tiers": shown["suggested"], "note": "by the facts"}
    )
    assert decided["decision"]["tiers"] == shown["suggested"]
    assert decided["decision"]["by"] == "Olga"
    again = site.boss.get("/api/owner/disagreements?state=decided")["items"]
    assert [one["item_id"] for one in again] == [worst["item_id"]]
    following = site.boss.get("/api/owner/disagreements")["items"][0]["item_id"]
    assert following != worst["item_id"]
    more = site.boss.post(f"/api/owner/disagreements/{following}", {"verdict": "more_labels"})
    assert more["decision"]["verdict"] == "more_labels"
    with reading(site.store.engine) as connection:
        row = connection.execute(select(items).where(items.c.id == following)).one()
    assert (row.state, row.wanted) == ("open", row.num_done + 1)


def test_gold_items_come_from_what_a_researcher_answered(site):
    page = site.boss.get("/api/owner/gold")
    chosen = next(one for one in page["could_be"] if one["author"] == "Rex")
    body = {"item_id": chosen["item_id"], "use": "mixed", "why": "the larger number"}
    site.boss.post("/api/owner/gold", body)
    with reading(site.store.engine) as connection:
        answer = json.loads(connection.execute(select(gold_items.c.answer)).scalar_one())
    assert [tier[0].rsplit("-", 1)[1] for tier in answer["tiers"]] == ["3", "2", "1", "0"]
    assert all(rating["likert"] for rating in answer["ratings"].values())
    with pytest.raises(Unwelcome, match="gold already"):
        site.boss.post("/api/owner/gold", body)
    site.boss.post("/api/owner/gold/rate", {"rate": 0.5})
    assert site.boss.get("/api/owner/gold")["rate"] == 0.5
    # A new labeler meets it among the other items and cannot tell.
    fill(site.project, start=NUM_ITEMS).engine.dispose()
    client = site.labeler("Dee")
    label_everything(client, Careful("Dee"))
    page = site.boss.get("/api/owner/gold")
    (one,) = [gold for gold in page["items"] if gold["use"] == "mixed"]
    by_name = {row["name"]: row for row in page["labelers"]}
    assert by_name["Dee"]["accuracy"]["value"] == 1.0
    assert one["accuracy"]["n"] >= 6
    assert "Rex" not in by_name
    site.boss.post(f"/api/owner/gold/{chosen['item_id']}/retire")
    with pytest.raises(Unwelcome) as refused:
        site.boss.post(f"/api/owner/gold/{chosen['item_id']}/retire")
    assert refused.value.status == 404
    with pytest.raises(Unwelcome, match="No researcher"):
        site.boss.post("/api/owner/gold", {**body, "item_id": "nothing"})


def test_a_rubric_gets_a_new_version_that_everybody_reads(own):
    ann = own.labeler("Ann")
    label_everything(ann, Careful("Ann"), most=1)
    before = own.boss.get("/api/owner/rubrics")
    text = before["versions"][0]["instructions"]
    changed = text + "\nNever guess."
    preview = own.boss.post("/api/owner/rubrics/preview", {"instructions": changed})
    assert preview["diff"][-1] == ["+", "Never guess."]
    order = ["helpful", "truthful", "harmless"]
    body = {
        "version": "v2", "instructions": changed, "priorities": order,
        "evaluation_priorities": order[::-1],
    }  # fmt: skip
    same = {
        **body,
        "instructions": text,
        "evaluation_priorities": ["truthful", "harmless", "helpful"],
    }
    for wrong in (
        same,
        {**body, "version": "default-1"},
        {**body, "priorities": ["helpful", "helpful"]},
        {**body, "instructions": "  "},
        {**body, "version": "no spaces"},
    ):
        with pytest.raises(Unwelcome) as refused:
            own.boss.post("/api/owner/rubrics", wrong)
        assert refused.value.status == 400
    own.boss.post("/api/owner/rubrics", body)
    after = own.boss.get("/api/owner/rubrics")
    assert after["current"] == "v2"
    assert after["versions"][0]["diff"][-1] == ["+", "Never guess."]
    assert (after["versions"][0]["read_by"], after["versions"][1]["num_labels"] > 0) == (0, True)
    assert ann.get("/api/session")["account"]["stage"] == "instructions"
    ann.read_instructions()
    assert own.boss.get("/api/owner/rubrics")["versions"][0]["read_by"] == 1


def test_the_audit_log_tells_who_did_what(site):
    site.boss.post("/api/owner/gold/rate", {"rate": 0.1})
    page = site.boss.get("/api/owner/audit?action=setting.")
    assert page["rows"][0]["who"] == "Olga"
    assert page["rows"][0]["body"] == {"value": 0.1}
    assert {row["action"] for row in page["rows"]} == {"setting.set"}
    first = site.boss.get("/api/owner/audit")["rows"]
    assert [row["seq"] for row in first] == sorted((row["seq"] for row in first), reverse=True)
    second = site.boss.get(f"/api/owner/audit?before={first[-1]['seq']}")["rows"]
    assert all(row["seq"] < first[-1]["seq"] for row in second)
    found = site.boss.get("/api/owner/audit/verify")
    assert (found["ok"], found["problem"], found["rows"]) == (True, None, first[0]["seq"])
    with pytest.raises(Unwelcome) as refused:
        site.boss.get("/api/owner/audit?before=yesterday")
    assert refused.value.status == 400


def test_items_are_closed_and_opened_again(site):
    with reading(site.store.engine) as connection:
        name = (
            connection.execute(select(items.c.id).where(items.c.pool != "gold")).scalars().first()
        )
    assert site.boss.post(f"/api/owner/items/{name}/close") == {"state": "closed"}
    rows = site.boss.get("/api/owner/queue")["rows"]
    assert sum(row["closed"] for row in rows) >= 1
    assert sum(row[s] for row in rows for s in ("open", "done", "set_aside", "closed")) >= NUM_ITEMS
    assert site.boss.post(f"/api/owner/items/{name}/reopen") == {"state": "open"}
    with pytest.raises(Unwelcome) as refused:
        site.boss.post("/api/owner/items/nothing/close")
    assert refused.value.status == 404


def test_accounts_are_invited_disabled_and_reset(site):
    made = site.boss.post(
        "/api/owner/labelers", {"name": "New", "role": "held_out", "screen": False}
    )
    client = site.client()
    client.accept(made["link"].partition("#")[2], name="New", password="a long password")
    new = site.id_of("New")
    assert site.boss.post(f"/api/owner/labelers/{new}/disable") == {"disabled": True}
    assert client.get("/api/session")["account"] is None
    assert site.boss.post(f"/api/owner/labelers/{new}/enable") == {"disabled": False}
    link = site.boss.post(f"/api/owner/labelers/{new}/reset")["link"]
    assert link.startswith("/invitation#")
    with pytest.raises(Unwelcome, match="disable your own account"):
        site.boss.post(f"/api/owner/labelers/{site.id_of('Olga')}/disable")
    with pytest.raises(Unwelcome, match="the name ann is taken"):
        site.boss.post("/api/owner/labelers", {"name": "ann"})


def test_an_altered_row_breaks_the_chain(own):
    # The database refuses; whoever owns the file can still.
    with own.store.engine.connect() as connection:
        raw = connection.connection
        cursor = raw.cursor()
        if own.store.engine.dialect.name == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for (name,) in cursor.fetchall():
                if "audit" in name:
                    cursor.execute(f"DROP TRIGGER {name}")
        else:
            cursor.execute("ALTER TABLE audit_log DISABLE TRIGGER ALL")
        cursor.execute("UPDATE audit_log SET action = 'nothing.happened' WHERE seq = 3")
        raw.commit()
    assert verify(own.store) == "row 3 was altered"
    found = own.boss.get("/api/owner/audit/verify")
    assert (found["ok"], found["problem"]) == (False, "row 3 was altered")
