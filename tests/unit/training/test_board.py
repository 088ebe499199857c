"""TensorBoard event files say what metrics.jsonl and timings.jsonl say, once per step."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.fixtures_ppo import tiny_config, write_world

from understudy.ppo.train import train_ppo
from understudy.training.board import Board
from understudy.training.run import Run, read_lines


def on_the_board(out: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    names = events.Tags()["scalars"]
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in names}


def in_the_files(out: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for file in ("metrics.jsonl", "timings.jsonl"):
        for row in read_lines(out / file):
            for name in set(row) - {"step"}:
                found.setdefault(name, []).append((row["step"], pytest.approx(row[name], rel=1e-6)))
    return found


class Stopped(Exception):
    pass


def test_a_resumed_run_has_every_step_once(tmp_path, monkeypatch):
    config = tiny_config(write_world(tmp_path / "world"), tmp_path / "run", tensorboard=True)
    log = Run.log

    def stop_after_step_3(run, step, metrics):
        log(run, step, metrics)
        if step == 3:  # logged and shown, but its checkpoint is not written yet
            raise Stopped

    monkeypatch.setattr(Run, "log", stop_after_step_3)
    with pytest.raises(Stopped):
        train_ppo(config)
    monkeypatch.undo()
    assert len(on_the_board(config.out)["ppo/kl"]) == 3
    train_ppo(replace(config, resume=True))
    shown = on_the_board(config.out)
    assert shown == in_the_files(config.out)
    assert [step for step, _ in shown["ppo/kl"]] == [1, 2, 3, 4]
    assert "ppo/seconds_rollout" in shown


def test_numbers_that_are_not_finite_are_left_out(tmp_path):
    rows = [{"step": 1, "ppo/kl": 0.5, "ppo/score": None}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    board = Board(tmp_path)
    board.add(1, {"ppo/kl": 0.5, "ppo/score": float("nan")})
    board.add(2, {"ppo/kl": float("inf"), "ppo/score": 1.0})
    board.close()
    assert on_the_board(tmp_path) == {"ppo/kl": [(1, 0.5)], "ppo/score": [(2, 1.0)]}


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    config = tiny_config(write_world(tmp_path / "world"), tmp_path / "run", tensorboard=True)
    with pytest.raises(ValueError, match=r"pip install 'understudy\[tensorboard\]'"):
        train_ppo(config)
    assert not config.out.exists()
