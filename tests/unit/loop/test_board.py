"""What the board reads of runs, and whom it answers."""

import json

import httpx2
import pytest

from understudy.cli import main
from understudy.loop.board import build_board, find_runs, read_after, summary


def test_a_log_is_read_from_where_it_was_left(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_after(path, "") == {"rows": [], "next": "", "reset": False}
    path.write_text('{"step": 1, "a": 2}\n{"step": 2')
    first = read_after(path, "")
    assert first["rows"] == [{"step": 1, "a": 2}]
    with path.open("a") as file:
        file.write(', "a": 3}\nnot json\n[1]\n')
    second = read_after(path, first["next"])
    assert second["rows"] == [{"step": 2, "a": 3}]
    assert not second["reset"]
    assert read_after(path, second["next"])["rows"] == []


@pytest.mark.parametrize("mark", ["x-9", "1-99999999", "nonsense"])
def test_an_unknown_mark_begins_again(tmp_path, mark):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    got = read_after(path, mark)
    assert got["rows"] == [{"step": 1}]
    assert got["reset"]


def test_runs_are_found_at_any_depth_but_not_in_checkpoints(tmp_path):
    for name in ("a", "b/c", "a/checkpoints/step-1"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_text("{}")
    assert [name for name, _ in find_runs(tmp_path)] == ["a", "b/c"]


def test_a_damaged_run_is_listed_as_unreadable(tmp_path):
    (tmp_path / "run.json").write_text("{")
    assert summary("x", tmp_path)["status"] == "unreadable"


@pytest.fixture
def ask(tmp_path):
    (tmp_path / "run").mkdir()
    record = {"stage": "sft", "status": "done", "config": {}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "secret": 1}\n')
    transport = httpx2.ASGITransport(app=build_board(tmp_path))

    async def get(path, host="localhost"):
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.get(path)

    import asyncio

    return lambda *arguments: asyncio.run(get(*arguments))


def test_only_logs_of_runs_are_served(ask):
    assert ask("/api/runs").json()[0]["name"] == "run"
    assert ask("/api/metrics?run=run").json()["rows"] == []
    for query in (
        "metrics?run=.",
        "metrics",
        "config?run=run",
        "metrics?run=..",
        "run.json?run=run",
    ):
        assert ask(f"/api/{query}").status_code == 404, query
    assert ask("/static/..%2Fboard.py").status_code == 404


def test_another_host_name_is_refused(ask):
    assert ask("/api/runs", "evil.example").status_code == 421


def test_a_folder_that_is_not_there_is_one_line(tmp_path, capsys):
    assert main(["board", str(tmp_path / "none")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_a_setting_that_is_not_finite_does_not_hide_the_other_runs(tmp_path):
    record = {"stage": "kto", "status": "done", "config": {"desirable_weight": float("inf")}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    found = summary("kto", tmp_path)
    assert found["config"] == {"desirable_weight": None}
    json.dumps(found, allow_nan=False)
