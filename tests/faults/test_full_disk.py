"""Trainers on a file system that fills up: one clear line, and the checkpoint before is whole."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.runs import outcome
from tests.fixtures_data import write_demonstrations, write_rankings
from tests.fixtures_models import save_model_folder
from tests.fixtures_ppo import write_world

from understudy.training.checkpoint import latest_checkpoint, list_checkpoints

pytestmark = pytest.mark.faults

MOUNT = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc"]
"""A shell that may mount, as any user may in a namespace of their own (Linux)."""
SCRIPT = """
disk=$1 size=$2 kept=$3; shift 3
mount -t tmpfs -o size=$size tmpfs "$disk"
code=0; "$@" || code=$?
cp -a "$disk/run" "$kept"
exit $code
"""


def can_mount(folder: Path) -> bool:
    command = [*MOUNT, 'mount -t tmpfs tmpfs "$1"', "sh", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    if not can_mount(folder):
        pytest.skip("no small file system can be mounted here")
    save_model_folder(folder / "base")
    write_demonstrations(folder / "demos.jsonl")
    write_rankings(folder / "rankings.jsonl")
    write_world(folder)
    return folder


def command(stage: str, world: Path, out: Path, *more: str) -> list[str]:
    """The command line of a trainer with a checkpoint every step or two."""
    base, demos = world / "base", world / "demos.jsonl"
    options = {
        "sft": f"--model {base} --data {demos} --epochs 3 --batch-size 4 --save-every 2",
        "reward": f"--model {base} --data {world}/rankings.jsonl --batch-size 2 --save-every 2",
        "ppo": f"--model {world}/policy --reward-model {world}/reward --save-every 1 "
        f"--prompts {world}/prompts.jsonl --pretrain-data {world}/text.txt --ptx-length 8 "
        "--ptx-sequences-per-episode 0.5 --episodes 32 --batch-size 8 --num-minibatches 2 "
        "--max-response-tokens 6",
    }[stage]
    words = [sys.executable, "-m", "understudy.cli", stage, *options.split()]
    return [*words, "--keep-checkpoints", "--out", str(out), *more]


def size_of(folder: Path) -> int:
    """Bytes below a folder, in whole pages as a file system counts."""
    return sum(-(-p.stat().st_size // 4096) * 4096 for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("stage", ["sft", "reward", "ppo"])
def test_a_disk_that_fills_up(stage, world, tmp_path):
    subprocess.run(command(stage, world, tmp_path / "straight"), check=True, capture_output=True)
    expected = tmp_path / "straight"
    one = size_of(latest_checkpoint(expected))
    # Two checkpoints fit, and half of a third; SFT keeps the best model so far beside them.
    model = size_of(expected / "model") if stage == "sft" else 0
    size = model + int(2.5 * one) + 16 * 4096
    (tmp_path / "disk").mkdir()
    arguments = [str(tmp_path / "disk"), str(size), str(tmp_path / "kept")]
    train = command(stage, world, tmp_path / "disk" / "run")
    result = subprocess.run(
        [*MOUNT, SCRIPT, "sh", *arguments, *train], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert "checkpoint of step" in last
    assert "No space left on device" in last
    assert "Traceback" not in result.stderr
    kept = tmp_path / "kept"
    assert len(list_checkpoints(kept)) == 2
    assert latest_checkpoint(kept) == list_checkpoints(kept)[-1]  # whole, nothing set aside
    assert not list((kept / "checkpoints").glob("*.tmp-*"))
    subprocess.run(command(stage, world, kept, "--resume"), check=True, capture_output=True)
    assert outcome(kept) == outcome(expected)
    shutil.rmtree(tmp_path)
