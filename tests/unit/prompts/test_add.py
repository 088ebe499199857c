"""Prompts into the store, from files and the gateway's log; intake there keeps who is where."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.stores import make_project

from understudy.prompts.add import AddConfig, add_prompts
from understudy.prompts.build import BuildConfig, build_files
from understudy.records import Message, Prompt, RecordError, iter_records, write_records
from understudy.store.engine import reading
from understudy.store.prompts.log import Event, PromptLog
from understudy.store.prompts.records import User
from understudy.store.tables import feedback, prompts


@pytest.fixture
def project(tmp_path: Path):
    return make_project("sqlite", tmp_path / "project")


def recorded(project) -> None:
    """A log with a chat, a completion of two prompts with two answers each, and feedback."""
    log = PromptLog(project.log)
    turns = [{"role": "user", "content": "Hi"}]
    longer = [{"role": "system", "content": "Be kind."}, *turns]
    answer = {"model": "sft", "temperature": 0.5, "seed": None, "n": 2}
    log.append(
        [
            Event("prompt", "c1", "ann", "2026-01-01", chat(turns)),
            Event("prompt", "c2", "bob", "2026-01-02", chat(longer)),
            Event("answer", "c1", "ann", "2026-01-01", {**answer, "responses": ["Hello", "Yes"]}),
            Event(
                "answer", "c2", "bob", "2026-01-02", {**answer, "responses": ["Good day"], "n": 1}
            ),
            Event("prompt", "t1", "ann", "2026-01-03", {**chat([]), "prompts": ["One", "Two"]}),
            Event("answer", "t1", "ann", "2026-01-03", {**answer, "responses": list("abcd")}),
            Event("feedback", "c1", "ann", "2026-01-04", opinion("thumb", "up", 1)),
            Event("feedback", "t1", "ann", "2026-01-04", opinion("choice", 3, 0)),
            Event("feedback", "c2", "bob", "2026-01-04", opinion("thumb", "up", 9)),
        ]
    )
    log.close()


def chat(turns: list) -> dict:
    return {"prompts": [turns], "organization_id": "acme", "kind": "chat"}


def opinion(kind: str, value: object, index: int) -> dict:
    return {"kind": kind, "value": value, "index": index}


def test_the_log_brings_prompts_answers_and_feedback_once(project) -> None:
    recorded(project)
    said = add_prompts(AddConfig(project=project.folder, log=True))
    assert said.splitlines() == [
        "log: prompts 4 new, 0 known",
        "log: responses 7 new, 0 known",
        "log: feedback 2 new, 0 known, 1 without consent or response left out",
    ]
    again = add_prompts(AddConfig(project=project.folder, log=True))
    assert "prompts 0 new, 4 known" in again
    store = project.open_store()
    found = {prompt.id: prompt for prompt in store.prompts()}
    assert found["p-c1-0"].prompt == "Hi"
    assert found["p-c2-0"].prompt == (Message("system", "Be kind."), Message("user", "Hi"))
    assert found["p-t1-1"].prompt == "Two"
    assert found["p-c2-0"].organization_id == "acme"
    assert [r.response for r in store.responses("p-t1-1")] == ["c", "d"]
    assert {r.prompt for r in store.responses("p-t1-1")} == {"Two"}
    with reading(store.engine) as connection:
        rows = connection.execute(select(feedback.c.response_id, feedback.c.value))
        assert sorted(map(tuple, rows)) == [("r-c1-1", '"up"'), ("r-t1-3", "3")]


def test_who_took_the_consent_back_is_left_out_with_the_answers(project) -> None:
    recorded(project)
    project.open_store().add_user(User("ann", None, False))
    said = add_prompts(AddConfig(project=project.folder, log=True)).splitlines()
    assert said[0] == "log: prompts 1 new, 0 known, 3 without consent or response left out"
    assert said[1].startswith("log: responses 1 new, 0 known, 6 ")


def test_csv_jsonl_and_parquet(project, tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_text('\ufeffprompt,user_id,consent\n"Two\nlines, ""quoted""",u1,yes\nSecond,u2,no\n')
    assert [p.prompt for p in iter_records(str(path), Prompt)] == ['Two\nlines, "quoted"', "Second"]
    given = Prompt(id="j1", prompt="Third", user_id="u3")
    files = [write_records(tmp_path / name, [given]) for name in ("a.jsonl", "b.parquet")]
    said = add_prompts(AddConfig(project=project.folder, data=(str(path), *map(str, files))))
    assert [line.split(": ")[1] for line in said.splitlines()] == [
        "1 new, 0 known, 1 without consent or response left out",
        "1 new, 0 known",
        "0 new, 1 known",
    ]
    path.write_text("prompt,consent\nx,perhaps\n")
    with pytest.raises(RecordError, match=r"old.csv line 2: field 'consent' is 'perhaps'"):
        list(iter_records(str(path), Prompt))
    with pytest.raises(ValueError, match="nothing to add"):
        AddConfig(project=project.folder)


def test_a_data_set_by_name(project, tmp_path: Path, monkeypatch) -> None:
    """As `datasets` saves it, and as the hub has it: Parquet files and no script."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [{"prompt": f"Question {i}?", "user_id": f"u{i}"} for i in range(4)]
    data = datasets.Dataset.from_list(rows)
    datasets.DatasetDict(train=data, test=data.select([3])).save_to_disk(str(tmp_path / "saved"))
    for split, members in (("train", data), ("test", data.select([3]))):
        path = tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        members.to_parquet(path)
    for number, name in enumerate(("saved", "hub")):
        names = (str(tmp_path / name), str(tmp_path / f"{name}#test"))
        said = add_prompts(AddConfig(project=project.folder, data=names)).splitlines()
        new = 0 if number else 4
        assert said[0].endswith(f"{name}: {new} new, {4 - new} known")
        assert said[1].endswith(f"{name}#test: 0 new, 1 known")
    assert [p.prompt for p in project.open_store().prompts()] == sorted(
        (f"Question {i}?" for i in range(4)), key=lambda text: Prompt.from_json({"prompt": text}).id
    )
    with pytest.raises(RecordError, match=r"data set .*saved#valid .* cannot be read"):
        add_prompts(AddConfig(project=project.folder, data=(f"{tmp_path / 'saved'}#valid",)))


def test_intake_in_the_store_keeps_users_in_their_splits(project) -> None:
    store = project.open_store()
    early = [
        Prompt(id=f"p{i}", prompt=f"Question {i} of many?", user_id=f"u{i}") for i in range(40)
    ]
    mail = Prompt(id="m", prompt="Write to bob@example.com today", user_id="u1", created_at="2026")
    store.add_prompts([*early, mail])
    report = build_files(BuildConfig(project=project.folder, pii="drop"))
    assert report.num_kept == 40
    before = {prompt.user_id: prompt.split for prompt in store.prompts(built=True)}
    assert set(before.values()) == {"train", "valid", "test"}
    with reading(store.engine) as connection:
        (dropped,) = connection.execute(select(prompts.c.dropped_by).where(prompts.c.id == "m"))
    assert dropped[0] == "pii"
    store.add_prompts(replace(p, id=f"x{p.id}", prompt=f"Other {p.id}") for p in early)
    build_files(BuildConfig(project=project.folder, pii="drop"))
    after = {(prompt.user_id, prompt.split) for prompt in store.prompts(built=True)}
    assert after == set(before.items())
    assert project.intake_report.is_file()
    for wrong in (
        {"project": project.folder, "out": Path("x.jsonl")},
        {"out": Path("x.jsonl")},
        {},
    ):
        with pytest.raises(ValueError, match="needs --data and --out, or --project"):
            BuildConfig(**wrong)
    with pytest.raises(ValueError, match=r"split key is in project\.toml"):
        build_files(BuildConfig(project=project.folder, split_key="mine"))
