"""SFT and reward runs killed with SIGKILL at each crash point end, resumed, with the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fixtures_data import write_demonstrations, write_rankings
from tests.fixtures_models import save_model_folder

from understudy.records import file_hash
from understudy.training.checkpoint import CRASH_VARIABLE

SCRIPT = """
import sys
from pathlib import Path
from understudy.sft.config import SFTConfig
from understudy.sft.train import train_sft
from understudy.reward.config import RewardConfig
from understudy.reward.run import train_reward

stage, folder, out, resume = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] == "1"
common = dict(model=str(folder / "base"), out=out, resume=resume, lr=1e-3, save_every=2)
if stage == "sft":
    demos = folder / "demos.jsonl"
    train_sft(SFTConfig(data=demos, valid_data=demos, epochs=2, batch_size=4, **common))
else:
    train_reward(RewardConfig(data=folder / "rankings.jsonl", batch_size=2, **common))
"""
POINTS = {
    "sft": ["checkpoint/begin", "checkpoint/manifest@2", "checkpoint/renamed"],
    "reward": ["checkpoint/file@2", "checkpoint/rename@2", "checkpoint/end@2"],
}


def start(stage: str, folder: Path, out: Path, resume: bool, crash: str = "") -> int:
    command = [sys.executable, "-c", SCRIPT, stage, str(folder), str(out), str(int(resume))]
    environment = os.environ | {CRASH_VARIABLE: crash}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def outcome(out: Path) -> list[str]:
    return [file_hash(out / name) for name in ("metrics.jsonl", "results.json", "model")]


@pytest.mark.slow
@pytest.mark.parametrize("stage", POINTS)
def test_killed_anywhere_and_resumed_it_ends_the_same(stage, tmp_path):
    save_model_folder(tmp_path / "base")
    write_demonstrations(tmp_path / "demos.jsonl")
    write_rankings(tmp_path / "rankings.jsonl")
    assert start(stage, tmp_path, tmp_path / "straight", False) == 0
    expected = outcome(tmp_path / "straight")
    for index, point in enumerate(POINTS[stage]):
        out = tmp_path / f"killed-{index}"
        assert start(stage, tmp_path, out, False, crash=point) == -9, point
        assert start(stage, tmp_path, out, True) == 0, point
        assert outcome(out) == expected, point
