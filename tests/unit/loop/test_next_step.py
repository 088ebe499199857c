"""`understudy` alone: the loop, and the command that comes next."""

import json
import os

from understudy.cli import main
from understudy.loop.next_step import next_command


def put_run(folder, stage, status="done", age=0):
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"stage": stage, "status": status}))
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
    assert command.startswith("understudy ppo")
    assert str(tmp_path / "runs" / "reward") in command


def test_an_unfinished_run_is_to_be_resumed(tmp_path):
    put_run(tmp_path / "sft", "sft", status="running")
    assert "--resume" in next_command(tmp_path)


def test_a_project_wants_prompts(tmp_path):
    (tmp_path / "project.toml").write_text("")
    assert next_command(tmp_path).startswith("understudy prompts add")


def test_the_files_of_others_are_passed_over(tmp_path):
    (tmp_path / "run.json").write_text("[1]")
    put_run(tmp_path / "theirs", "another program's")
    assert "understudy demo" in next_command(tmp_path)
