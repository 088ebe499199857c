"""What is older than the project keeps it goes, like the records of a user who is forgotten."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.stores import LABELERS, answer, fill, labels_of

from understudy.cli import main
from understudy.commands.export import ExportConfig, export
from understudy.records import Prompt
from understudy.store.engine import writing
from understudy.store.erasure.expiry import cutoff, expire
from understudy.store.maintenance import check
from understudy.store.project import FILE, open_project
from understudy.store.prompts.log import Event, PromptLog
from understudy.store.tables import prompts

AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
CANARY = "canary 5d81c, which was asked a long time ago"


@pytest.fixture
def aged(project):
    """A project that keeps prompts for 90 days, with some of January and May, and some without a
    time."""
    store = project.open_store()
    fill(store, 3)  # of January
    texts = {"old": ("2026-03-31T23:00:00+00:00", CANARY), "new": ("2026-05-01", "Why?")}
    for name, (time, text) in {**texts, "undated": (None, "When?")}.items():
        prompt = Prompt(id=name, prompt=text, user_id="ann", created_at=time)
        store.add_prompts([prompt])
        store.add_responses([answer(prompt, k) for k in range(2)])
        store.add_labels(labels_of(prompt, LABELERS[0]))
    written = Prompt(
        id="w", prompt="Do it.", user_id="labeler-l1", source="labeler", created_at="2020-01-01"
    )
    store.add_prompts([written])
    export(ExportConfig(kind="demonstrations", project=project.folder))
    log = PromptLog(project.log)
    for time, name, text in (("2026-04-01", "a", CANARY), ("2026-06-01", "b", "Why not?")):
        log.append([Event("prompt", name, "ann", f"{time}T00:00:00", {"prompts": [text]})])
    body = {"kind": "correction", "value": "better", "index": 0}
    log.append([Event("feedback", "a", "ann", "2026-06-20T00:00:00", body)])
    log.close()
    store.engine.dispose()
    with (project.folder / FILE).open("a") as file:
        file.write("[privacy]\nretention_days = 90\n")
    return open_project(project.folder)


def test_old_prompts_go_with_all_that_hangs_on_them(aged) -> None:
    dry = expire(aged, dry_run=True, at=AT)
    assert dry.table().startswith(
        "would delete prompts from before 2026-04-02T12:00:00.000000+00:00 (kept for 90 days): 4 "
        "prompts with 21 labels in the store, 2 rows of the log"
    )
    assert "  old of ann, sent 2026-03-31T23:00:00.000000+00:00" in dry.table()
    assert len(list(aged.open_store().prompts())) == 7
    done = expire(aged, at=AT)
    assert (done.num_prompts, done.num_labels, done.num_logged) == (4, 21, 2)
    assert done.datasets == dry.datasets
    assert len(done.datasets) == 1
    assert "kept: 1 prompt without created_at" in done.table()
    assert {prompt.id for prompt in aged.open_store().prompts()} == {"new", "undated", "w"}
    log = PromptLog(aged.log)
    assert [event.request_id for _, event in log.events()] == ["b"]
    log.close()
    for path in aged.folder.rglob("*"):
        assert not path.is_file() or b"5d81c" not in path.read_bytes(), path
    assert "the store is sound" in check(aged)
    again = expire(aged, at=AT)
    assert again.nothing


def test_days_that_are_given_win_over_the_projects(aged) -> None:
    dry = expire(aged, days=365, dry_run=True, at=AT)
    assert dry.nothing
    assert "would delete" in dry.table()


def test_nothing_expires_unless_it_is_said(project, capsys) -> None:
    assert main(["prompts", "expire", "--project", str(project.folder)]) == 2
    assert "sets no [privacy] retention_days" in capsys.readouterr().err
    assert main(["prompts", "expire", "--days", "0", "--project", str(project.folder)]) == 2
    assert "days is 0; it must be a whole number from 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("privacy = 3", r"privacy is 3; write it as a table"),
        ("[privacy]\nretention = 3", r"\[privacy\] key 'retention' is not known; known: \['reten"),
        ("[privacy]\nretention_days = '3'", r"retention_days is '3'; it must be a whole number"),
        ("[privacy]\nretention_days = true", r"retention_days is True; it must be"),
    ],
)
def test_a_wrong_setting_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / FILE).write_text(f'store = "sqlite:///s"\nsplit_key = "k"\n{text}\n')
    with pytest.raises(ValueError, match=problem):
        open_project(tmp_path)


def test_the_cutoff_is_in_utc_whatever_the_clock_says() -> None:
    at = datetime.fromisoformat("2026-03-02T01:00:00+02:00")
    assert cutoff(1, at) == "2026-02-28T23:00:00.000000+00:00"


def test_what_cannot_be_dated_is_kept_and_said(project) -> None:
    """Rows that an older version, or another program, has written as they came."""
    store = project.open_store()
    times = {
        "epoch": "1700000000",
        "american": "03/04/2020",
        "empty": "",
        "year": "2020",
        "old": "2020-01-01T00:00:00-08:00",
        "short": "2020-06-01 10:00Z",
        "new": "2026-06-30T23:30:00-02:00",
    }
    store.add_prompts(Prompt(id=name, prompt=f"Ask {name}?", user_id="ann") for name in times)
    with writing(store.engine) as connection:
        for name, time in times.items():
            connection.execute(prompts.update().where(prompts.c.id == name).values(created_at=time))
    dry = expire(project, days=1, dry_run=True, at=AT).table()
    assert "old of ann, sent 2020-01-01T08:00:00.000000+00:00" in dry
    assert "short of ann, sent 2020-06-01T10:00:00.000000+00:00" in dry
    assert "kept: 4 prompts whose created_at is not a full time, like ''" in dry
    assert expire(project, days=1, at=AT).num_prompts == 2
    left = {prompt.id for prompt in store.prompts()}
    assert left == {"epoch", "american", "empty", "year", "new"}
    store.engine.dispose()
