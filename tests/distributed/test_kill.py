"""A rank is killed at any point of a checkpoint: the job ends, and the run goes on from it."""

from pathlib import Path

import pytest
from tests.distributed.torchrun import Job, run_script, torchrun
from tests.fixtures_data import write_demonstrations
from tests.fixtures_models import save_model_folder

WORKER = Path(__file__).with_name("kill_worker.py")
POINTS = [
    *((0, f"checkpoint/{name}@2") for name in ("begin", "manifest", "rename", "renamed", "end")),
    *((rank, "checkpoint/file@2") for rank in (0, 1)),
    (1, "checkpoint/end@2"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill")
    save_model_folder(folder / "base")
    write_demonstrations(folder / "demos.jsonl")
    run_script("kill_worker.py", folder, "straight", -1, "none")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "point"), POINTS)
def test_a_run_whose_rank_is_killed_ends_in_the_same_bits(folder, rank, point):
    out = f"killed-{rank}-{point.replace('/', '-')}"
    killed = Job(torchrun(2, WORKER, folder, out, rank, point), 600).wait()
    assert killed.code != 0
    assert "Signal 9 (SIGKILL) received by PID" in killed.stderr
    run_script("kill_worker.py", folder, out, -1, "none")
    for name in ("metrics.jsonl", "results.json", "model/model.safetensors"):
        assert (folder / out / name).read_bytes() == (folder / "straight" / name).read_bytes()
