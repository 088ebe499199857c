"""A user who leaves: no byte of theirs is left, and what was made from it is named."""

import json
import sqlite3
from pathlib import Path

import pytest
from tests.stores import LABELERS, answer, fill, labels_of

from understudy.commands.export import ExportConfig, export
from understudy.commands.users import ForgetConfig, forget
from understudy.records import Prompt, file_hash
from understudy.store.engine import SQLITE_PRAGMAS
from understudy.store.erasure import removal
from understudy.store.lineage import lineage, models_that_used
from understudy.store.maintenance import backup, check
from understudy.store.prompts.log import Event, PromptLog
from understudy.store.prompts.records import User

CANARY = "canary 7f3a9 in a prompt that nobody else wrote \u2713"


def make_run(folder: Path, data: Path, parents: dict | None = None) -> None:
    """A run folder as a trainer leaves it."""
    folder.mkdir(parents=True)
    (folder / "model").mkdir()
    record = {
        "stage": "sft",
        "code_version": "abc",
        "seed": 3,
        "inputs": {"data": {"path": str(data), "sha256": file_hash(data)}},
        "parents": {name: str(path.resolve()) for name, path in (parents or {}).items()},
    }
    (folder / "run.json").write_text(json.dumps(record))


@pytest.fixture
def used(project):
    """A project whose datasets and runs have used the canary's prompt."""
    store = project.open_store()
    fill(store, 3)
    prompt = Prompt(id="c1", prompt=CANARY, user_id="leaving", tags={"note": CANARY})
    store.add_prompts([prompt])
    store.add_responses([answer(prompt, k) for k in range(2)])
    store.add_labels(label for who in LABELERS[:2] for label in labels_of(prompt, who))
    export(ExportConfig(kind="demonstrations", project=project.folder))
    export(ExportConfig(kind="ratings", project=project.folder))
    data = project.datasets / "demonstrations-training.jsonl"
    make_run(project.runs / "sft", data)
    make_run(
        project.runs / "ppo", project.runs / "sft" / "run.json", {"data": project.runs / "sft"}
    )
    make_run(project.runs / "other", project.runs / "sft" / "run.json")
    log = PromptLog(project.log)
    for user, text in (("leaving", CANARY), ("u0", "something else")):
        log.append([Event("prompt", f"r-{user}", user, "2026", {"prompts": [text]})])
    log.close()
    store.engine.dispose()
    return project


def test_a_models_lineage_leads_to_the_users(used) -> None:
    tree = lineage(used.open_store(), used.runs / "ppo" / "model")
    lines = [line.strip() for line in tree.splitlines()]
    assert lines[0].startswith(f"run {used.runs.resolve() / 'ppo'} (stage sft, code abc, seed 3)")
    assert any(line.startswith(f"run {used.runs.resolve() / 'sft'}") for line in lines)
    assert lines.count("labelers: 2: l1 (training), l2 (training)") == 1
    tree = lineage(used.open_store(), used.runs / "sft")
    assert "data: dataset ds-" in tree
    assert "5 demonstrations for training" in tree
    assert "labelers: 2: l1 (training), l2 (training)" in tree
    assert "users: 4: leaving, u0, u1, u2" in tree
    with pytest.raises(ValueError, match="is not in a run folder"):
        lineage(used.open_store(), used.folder)


def test_packed_text_leads_to_the_files_that_it_is_from(used) -> None:
    data = used.datasets / "demonstrations-training.jsonl"
    make_run(used.runs / "packed", data)
    path = used.runs / "packed" / "run.json"
    record = json.loads(path.read_text())
    record["inputs"] = {
        "text": {"path": "pages", "sha256": "0", "packed_from": [record["inputs"]["data"]]}
    }
    path.write_text(json.dumps(record))
    lines = lineage(used.open_store(), used.runs / "packed").splitlines()
    assert lines[1] == "  text: pages, packed from"
    assert lines[2].startswith("    text 1: dataset ds-")
    assert "leaving" in lines[-1]
    found = models_that_used(used.runs, {file_hash(data)})
    assert [run.name for run in found] == ["packed", "ppo", "sft"]


def test_forgetting_leaves_no_byte_and_names_what_was_made(used, backend: str) -> None:
    data = used.datasets / "demonstrations-training.jsonl"
    (used.runs / "sft" / "samples.jsonl").write_text(json.dumps({"prompt": CANARY}) + "\n")
    (used.datasets / ".x.jsonl.ds-1.partial").write_text(CANARY)
    used.intake_report.write_text(CANARY[:20])
    before = len(data.read_text().splitlines())
    result = forget(ForgetConfig(user="leaving", project=used.folder))
    assert (result.num_prompts, result.num_labels, result.num_logged) == (1, 6, 1)
    assert len(result.datasets) == 2
    assert result.models == [str(used.runs.resolve() / name) for name in ("ppo", "sft")]
    trace = used.runs / "sft" / "samples.jsonl"
    assert result.traces == [str(trace)]
    assert "train it again" in result.table()
    trace.unlink()
    for path in used.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"7f3a9" not in content, path
            assert b"leaving" not in content, path
    assert len(data.read_text().splitlines()) == before - 2
    assert "the store is sound" in check(used)
    tree = lineage(used.open_store(), used.runs / "sft")
    assert "2 forgotten since" in tree  # the run's hash still leads to the dataset
    assert "users: 3: u0, u1, u2" in tree
    with pytest.raises(ValueError, match="there is no user 'leaving'"):
        forget(ForgetConfig(user="leaving", project=used.folder))
    log = PromptLog(used.log)
    assert [event.user_id for _, event in log.events()] == ["u0"]
    log.close()


def test_a_backup_is_a_store(used, backend: str, tmp_path: Path) -> None:
    backup(used, tmp_path / "copy")
    with pytest.raises(ValueError, match="exists"):
        backup(used, tmp_path / "copy")
    assert CANARY.encode() in (tmp_path / "copy.log").read_bytes()
    if backend == "sqlite":
        (tmp_path / "copy").rename(used.folder / "store.sqlite")
        assert "the store is sound" in check(used)


def test_a_run_that_was_cut_short_is_made_good_by_the_next(used, monkeypatch) -> None:
    data = used.datasets / "demonstrations-training.jsonl"

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr(removal, "_rewrite", killed)
        with pytest.raises(KeyboardInterrupt):
            forget(ForgetConfig(user="leaving", project=used.folder))
    assert b"7f3a9" in data.read_bytes()
    assert "a removal is unfinished" in check(used)
    result = forget(ForgetConfig(user="leaving", project=used.folder))
    assert result.num_prompts == 0
    assert len(result.datasets) == 2  # which nothing in the store says any more
    assert result.models == [str(used.runs.resolve() / name) for name in ("ppo", "sft")]
    assert b"7f3a9" not in data.read_bytes()
    with pytest.raises(ValueError, match="there is no user 'leaving'"):
        forget(ForgetConfig(user="leaving", project=used.folder))


def test_a_dry_run_says_the_same_and_changes_nothing(used) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in used.datasets.iterdir())
    plan = forget(ForgetConfig(user="leaving", project=used.folder, dry_run=True))
    assert "would delete leaving: 1 prompt with 6 labels in the store, 1 row of" in plan.table()
    assert "  c1 of leaving, sent at an unknown time" in plan.table()
    assert sorted((path, path.stat().st_mtime_ns) for path in used.datasets.iterdir()) == before
    done = forget(ForgetConfig(user="leaving", project=used.folder))
    for name in ("num_prompts", "num_labels", "num_logged", "datasets", "models"):
        assert getattr(plan, name) == getattr(done, name)


def test_backups_are_named(used, tmp_path: Path) -> None:
    for name in ("gone", "[kept]"):
        backup(used, tmp_path / name)
    (tmp_path / "gone").unlink()
    (tmp_path / "gone.log").unlink()
    (tmp_path / ".gone.0af.tmp").write_text("a backup that was killed")
    result = forget(ForgetConfig(user="leaving", project=used.folder))
    found = [line.partition(" of ")[0] for line in result.backups]
    assert sorted(Path(path).name for path in found) == [".gone.0af.tmp", "[kept]", "[kept].log"]
    assert result.table().count("may contain them: delete it") == 3


def test_somebody_who_reads_is_in_the_way_and_it_is_said(used, backend: str, monkeypatch) -> None:
    if backend == "postgresql":
        pytest.skip("test_erase.py has it")
    monkeypatch.setitem(SQLITE_PRAGMAS, "busy_timeout", "50")
    reader = sqlite3.connect(used.folder / "store.sqlite")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM users").fetchone()
    store = used.open_store()
    store.add_user(User("new", None, True))
    result = forget(ForgetConfig(user="leaving", project=used.folder))
    assert result.left == ["the store's write-ahead log: another process reads it; run again"]
    reader.close()
    store.engine.dispose()
    assert forget(ForgetConfig(user="leaving", project=used.folder)).left == []
    with pytest.raises(ValueError, match="there is no user"):
        forget(ForgetConfig(user="leaving", project=used.folder))
