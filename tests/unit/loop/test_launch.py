import pytest

from understudy.cli import main
from understudy.loop.commands import TRAINERS
from understudy.loop.launch import LaunchConfig, _exit_code, _said

NAMES = ", ".join(TRAINERS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cards", "2"], f"launch starts {NAMES}: understudy launch --cards 2 -- sft "),
        (["--cards", "2", "--", "demo"], f"launch starts {NAMES}; got 'demo': "),
        (["--nodes", "2", "--", "sft"], "nodes is 2, so head must name the machine where"),
        (["--cards", "-1", "--", "sft"], "cards must be at least 0"),
    ],
)
def test_what_cannot_be_started_is_said(words, message, capsys):
    assert main(["launch", *words]) == 2
    assert capsys.readouterr().err.startswith(f"understudy: error: {message}")


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ({0: 0, 1: 0}, 0),
        ({0: 75, 1: 75}, 75),
        ({0: 2}, 2),
        ({0: 1, 1: 2}, 1),
        ({0: 75}, 1),
        ({0: 75, 1: 1}, 1),
        ({}, 1),
    ],
)
def test_the_exit_code_is_the_ranks_own(codes, expected):
    assert _exit_code(codes, 2, {}) == expected


def test_ranks_that_left_no_code_are_named(capsys):
    assert _exit_code({0: 75}, 2, {1: 9}) == 1
    assert "1 of 2 ranks ended early; rank 1 died by signal 9" in capsys.readouterr().err


def test_the_words_that_go_before_the_command_that_resumes():
    assert _said(LaunchConfig(), 2) == "launch --cards 2 --"
    assert _said(LaunchConfig(nodes=2, head="a:1"), 8) == (
        "launch --cards 8 --nodes 2 --head a:1 --job understudy --"
    )


@pytest.mark.parametrize("command", ["demo", "sample"])
def test_a_command_of_one_process_is_refused_under_a_launcher(command, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert main([command]) == 2
    assert f"{command} runs in one process, not under a launcher" in capsys.readouterr().err
