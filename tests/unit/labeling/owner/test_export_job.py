"""Exports in the background: a hash and a link, one at a time, killed and resumed."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.labeling_client import Unwelcome
from tests.stores import LABELERS, fill, make_project
from tests.unit.labeling.project import NUM_ITEMS, Careful, label_everything, team
from tests.unit.labeling.project import fill as more_items

from understudy.commands.users import ForgetConfig, forget
from understudy.labeling.owner.export_job import run_job
from understudy.labeling.owner.exports import resume, start
from understudy.labeling.parts import LabelApp
from understudy.records import file_hash
from understudy.store.engine import writing
from understudy.store.exports.jobs import add_job, job, set_job, unfinished
from understudy.store.labeling_tables import accounts


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Two training labelers and one held-out, all done."""
    with team("sqlite", tmp_path_factory.mktemp("site") / "project") as made:
        made.boss = made.owner()
        for name, role in (("Ann", "training"), ("Ben", "training"), ("Hal", "held_out")):
            client = made.labeler(name, role)
            label_everything(client, Careful(name, role, 0.2))
            if name == "Ann":
                made.ann = client
        yield made


def finished(site, job_id):
    """Ask as the page does until it is over."""
    while True:
        found = site.boss.get(f"/api/owner/exports/{job_id}")["job"]
        if found["state"] in ("done", "failed"):
            return found
        time.sleep(0.05)  # as the page polls; nothing is decided by how long it takes


def ask(site, **request):
    return finished(site, site.boss.post("/api/owner/exports", request)["job"]["id"])


def test_rankings_with_a_hash_and_a_link(site):
    found = ask(site, kind="rankings")
    assert (found["state"], found["progress"], found["total"]) == ("done", 16, 16)
    data = site.boss.http.get(found["link"])
    assert data.headers["content-disposition"].startswith("attachment")
    assert hashlib.sha256(data.content).hexdigest() == found["sha256"]
    assert len(data.content) == found["bytes"]
    rows = [json.loads(line) for line in data.text.splitlines()]
    assert {row["labeler_role"] for row in rows} == {"training"}
    assert found["dataset"].startswith("ds-")
    # The same again is the same dataset, file and hash.
    again = ask(site, kind="rankings")
    assert (again["sha256"], again["dataset"]) == (found["sha256"], found["dataset"])
    jobs = site.boss.get("/api/owner/exports")["jobs"]
    assert [one["state"] for one in jobs[:2]] == ["done", "done"]
    actions = [row["action"] for row in site.boss.get("/api/owner/audit?action=export")["rows"]]
    assert actions[:4] == ["export.done", "export.asked"] * 2


def test_on_postgresql(tmp_path):
    project = make_project("postgresql", tmp_path / "project")
    store = project.open_store()
    fill(store)
    by = LABELERS[0].id
    row = {
        "id": by, "name": by, "name_key": by, "owner": True, "stage": "active", "screen": False,
        "scores": "{}", "created_at": "2026-01-01",
    }  # fmt: skip
    with writing(store.engine) as connection:
        connection.execute(accounts.insert(), row)
    request = {"kind": "rankings", "purpose": "training", "split": None, "rubric": None}
    job_id = add_job(store, request, by=by, at="2026-01-01")
    run_job(project, job_id)
    found = job(store, job_id)
    assert (found["state"], found["total"], unfinished(store)) == ("done", 6, [])
    assert file_hash(project.folder / found["path"]) == found["sha256"]
    store.engine.dispose()


def test_held_out_labels_only_to_evaluate(site):
    found = ask(site, kind="rankings", purpose="evaluation", split="test")
    rows = [json.loads(line) for line in site.boss.http.get(found["link"]).text.splitlines()]
    assert {row["labeler_role"] for row in rows} == {"held_out"}
    with pytest.raises(Unwelcome, match="test split is for evaluation"):
        site.boss.post("/api/owner/exports", {"kind": "rankings", "split": "test"})


def test_weights_are_what_the_reward_model_reads(site, tmp_path):
    from understudy.records import Ranking, read_records
    from understudy.training.weights import read_labeler_weights

    found = ask(site, kind="labeler_weights")
    weights = json.loads(site.boss.http.get(found["link"]).text)
    assert set(weights) == {site.id_of("Ann"), site.id_of("Ben")}
    rankings = site.project.folder / "rankings.jsonl"
    rankings.write_bytes(site.boss.http.get(ask(site, kind="rankings")["link"]).content)
    path = tmp_path / "weights.json"
    path.write_text(json.dumps(weights))
    assert read_labeler_weights(path, read_records(rankings, Ranking)) == weights
    rankings.unlink()


def test_counts_of_the_team(site):
    found = ask(site, kind="team")
    assert json.loads(site.boss.http.get(found["link"]).text)["answered"] is None


def test_what_cannot_be_exported_says_so_in_one_line(site):
    found = ask(site, kind="demonstrations")
    assert found["state"] == "failed"
    assert "no demonstrations" in found["error"]
    assert "\n" not in found["error"]
    assert found["link"] is None
    for path in (f"/api/owner/exports/{found['id']}/file", "/api/owner/exports/ex-none/file"):
        with pytest.raises(Unwelcome):
            site.boss.get(path)


def test_a_job_that_was_killed_is_resumed(site):
    by = site.id_of("Olga")
    request = {"kind": "rankings", "purpose": "training", "split": None, "rubric": None}
    killed = add_job(site.store, request, by=by, at="2026-01-01T00:00:00")
    command = [sys.executable, "-m", "understudy.labeling.owner.export_job"]
    process = subprocess.Popen([*command, str(site.project.folder), killed])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    set_job(site.store, killed, state="running")  # as if it had been at it
    resume(LabelApp(store=site.store, project=site.project))
    assert finished(site, killed)["state"] == "done"
    # Started once more, it stays as it is.
    before = job(site.store, killed)
    run_job(site.project, killed)
    assert job(site.store, killed) == before


def test_a_job_whose_process_dies_is_failed(site):
    by = site.id_of("Olga")
    lost = add_job(site.store, {"kind": "team"}, by=by, at="2026-01-01T00:00:00")
    # There is no project there, so the process ends with an error.
    elsewhere = LabelApp(store=site.store, project=type(site.project)(
        folder=site.project.folder / "nowhere", store="sqlite:///none", split_key="x"
    ))  # fmt: skip
    start(elsewhere, lost).join()
    found = finished(site, lost)
    assert found["state"] == "failed"
    assert "failed with exit code 1; the server's log says why" in found["error"]


def test_a_file_that_has_changed_is_not_given_out(site):
    more_items(site.project, num=1, start=NUM_ITEMS).engine.dispose()
    assert label_everything(site.ann, Careful("Ann")) == 1
    found = ask(site, kind="rankings")
    forget(ForgetConfig(user=f"u{NUM_ITEMS}", project=site.project.folder))
    with pytest.raises(Unwelcome) as refused:
        site.boss.get(f"/api/owner/exports/{found['id']}/file")
    assert (refused.value.status, refused.value.code) == (409, "changed")
    fresh = ask(site, kind="rankings")
    assert (fresh["state"], fresh["total"]) == ("done", found["total"] - 1)
