"""The command that comes next: of `understudy` alone, and at the end of a command."""

import json
import os
import re

import pytest

from understudy.cli import main
from understudy.loop.commands import COMMANDS
from understudy.loop.examples import EXAMPLES
from understudy.loop.next_step import AFTER, next_command, say_next
from understudy.loop.options import parse
from understudy.loop.real import RealConfig
from understudy.records import Response
from understudy.store import open_project


def put_run(folder, stage, status="done", age=0):
    folder.mkdir(parents=True)
    config = {"model": "their-model", "reward_model": "their-reward-model"}
    record = {"stage": stage, "status": status, "config": config}
    (folder / "run.json").write_text(json.dumps(record))
    os.utime(folder / "run.json", (1e9 - age, 1e9 - age))


def test_an_empty_folder_is_sent_to_the_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "understudy demo" in shown
    assert "reward model" in shown


def test_the_newest_run_decides(tmp_path):
    put_run(tmp_path / "runs" / "sft", "sft", age=10)
    put_run(tmp_path / "runs" / "reward", "reward")
    command = next_command(tmp_path)
    assert f"understudy ppo --model their-model --reward-model {tmp_path}/runs/reward" in command


def test_an_unfinished_run_is_to_be_resumed(tmp_path):
    put_run(tmp_path / "sft", "sft", status="running")
    assert "--resume" in next_command(tmp_path)


def test_a_project_wants_the_first_step_that_is_missing(tmp_path):
    folder = tmp_path / "mine"
    assert main(["new", str(folder)]) == 0
    assert next_command(tmp_path).startswith("cd mine && understudy")
    assert next_command(folder).startswith("understudy prompts add")
    raw = tmp_path / "raw.jsonl"
    raw.write_text('{"prompt": "Name a prime.", "user_id": "u1", "consent": true}\n')
    assert main(["prompts", "add", "--data", str(raw), "--project", str(folder)]) == 0
    assert next_command(folder).startswith("understudy prompts build")
    assert main(f"prompts build --test-share 0 --project {folder}".split()) == 0
    assert next_command(folder).startswith("understudy sample")
    assert main(["labels", "plan", "--kinds", "demonstrate", "--project", str(folder)]) == 0
    store = open_project(folder).open_store()
    (prompt,) = store.prompts()
    store.add_responses(
        [Response(id="r1", prompt_id=prompt.id, prompt=prompt.prompt, response="7", model="m")]
    )
    assert next_command(folder).startswith("understudy labelers invite")
    assert main(["labelers", "invite", "Ann", "--project", str(folder)]) == 0
    assert next_command(folder) == "understudy label"


def test_a_broken_project_is_said_below_the_diagram(tmp_path, monkeypatch, capsys):
    (tmp_path / "project.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    assert "key 'store' is missing" in capsys.readouterr().out


def test_the_files_of_others_are_passed_over(tmp_path):
    (tmp_path / "run.json").write_text("[1]")
    put_run(tmp_path / "theirs", "another program's")
    assert "understudy demo" in next_command(tmp_path)


@pytest.mark.parametrize("name", AFTER)
def test_what_follows_a_command_names_a_real_command(name, capsys):
    (command,) = [command for command in COMMANDS if command.name == name]
    config = parse(command.load_config(), EXAMPLES[name].split(), prog=f"understudy {name}")
    say_next(name, config)
    said = capsys.readouterr().err
    assert said.startswith("next: ")
    assert "None" not in said
    words = re.findall(r"understudy (\S+)", said)
    assert set(words) <= {command.name.split()[0] for command in COMMANDS}
    assert words or "report.html" in said


def test_after_a_study_of_a_real_model_its_own_report_is_named(capsys):
    say_next("real", RealConfig(study="methods"))
    assert "next: open runs/real/study_methods/report.html\n" in capsys.readouterr().err


def test_a_command_ends_by_naming_the_next_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.jsonl").write_text('{"instruction": "Name a prime.", "output": "7"}\n')
    assert main("data convert theirs.jsonl --out ours.jsonl".split()) == 0
    assert "next: understudy data check ours.jsonl\n" in capsys.readouterr().err


def test_a_command_that_failed_names_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main("data convert theirs.jsonl --out ours.jsonl".split()) == 2
    assert "next:" not in capsys.readouterr().err
