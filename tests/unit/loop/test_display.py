"""What people see while a plan runs."""

import io

from rich.console import Console

from understudy.loop.display import Lines, board, clock, fitting
from understudy.loop.plan import Stage
from understudy.loop.runner import StageState


def state(name: str, how: str, group: str = "", **fields) -> StageState:
    stage = Stage(name=name, meaning=f"what {name} means", function="m:f", outputs=(), group=group)
    return StageState(stage, state=how, **fields)


def drawn(*states: StageState) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(board(states, "title", height=25))
    return console.file.getvalue()


def test_the_board_has_a_row_per_step_with_its_meaning():
    text = drawn(
        state("sft", "done", seconds=61.0),
        state("sample-0", "done", "sample", seconds=10, fraction=1.0),
        state("sample-1", "waiting", "sample"),
        state("ppo", "failed", reason="out of paper"),
    )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert lines[0] == "title"
    assert lines[1].split() == ["+", "sft", "1:01", "what", "sft", "means"]
    assert lines[2].startswith("> sample")
    assert lines[3].startswith("! ppo")
    assert lines[3].endswith("out of paper")


def test_plain_lines_without_a_terminal(capsys):
    lines = Lines("title")
    lines.changed(state("sft", "running", reason="not done yet"))
    lines.changed(state("sft", "done", seconds=125))
    lines.changed(state("ppo", "running", reason="settings changed: lr 1 -> 2"))
    lines.changed(state("ppo", "failed", reason="out of paper"))
    assert [line.split("] ")[1] for line in capsys.readouterr().err.splitlines()] == [
        "title",
        "sft: what sft means",
        "sft: done in 2:05",
        "ppo: what ppo means (settings changed: lr 1 -> 2)",
        "ppo: failed: out of paper",
    ]


def test_clock():
    assert [clock(s) for s in (0, 59.6, 605)] == ["0:00", "1:00", "10:05"]


def test_a_low_terminal_shows_what_matters():
    states = {"a": "done", "b": "fresh", "c": "running", "d": "waiting", "e": "waiting"}
    assert fitting(states, 9) == (["a", "b", "c", "d", "e"], "")
    assert fitting(states, 4) == (["b", "c", "d", "e"], "1 more finished")
    assert fitting(states, 2) == (["c", "d"], "2 more finished, 1 more to come")
