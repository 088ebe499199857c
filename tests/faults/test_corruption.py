"""200 of 200 broken checkpoints are found before a tensor reaches a model; pickles never run."""

import contextlib
import logging
import pickle
import random
import shutil
from pathlib import Path

import pytest
from tests.faults.runs import prepare, run, train

from understudy.models.policies import load_policy
from understudy.models.scalar import load_scalar
from understudy.models.text import read_text
from understudy.records import Demonstration, read_records
from understudy.training.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint

pytestmark = pytest.mark.faults

NUM_FAULTS = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = prepare(tmp_path_factory.mktemp("faults"))
    assert run("ppo_ptx", folder, folder / "run") == 0
    return folder


def flip(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data) * 8)
    data[at // 8] ^= 1 << at % 8
    path.write_bytes(data)
    return f"bit {at} of {path.name}"


def truncate(path: Path, rng: random.Random) -> str:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])
    return f"truncated {path.name}"


def blank(path: Path, rng: random.Random) -> str:
    path.write_bytes(bytes(path.stat().st_size))
    return f"zeros in {path.name}"


def remove(path: Path, rng: random.Random) -> str:
    path.unlink()
    return f"removed {path.name}"


def swap(path: Path, rng: random.Random) -> str:
    """With another file of this checkpoint, or with the same file of the checkpoint before."""
    before = path.parent.parent / "step-3" / path.name
    others = [p for p in (*path.parent.iterdir(), before) if p.read_bytes() != path.read_bytes()]
    other = rng.choice(sorted(others))
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    if other != before:
        other.write_bytes(mine)
    return f"{path.name} swapped with {other}"


def test_every_fault_is_found_and_the_step_before_is_used(folder, tmp_path, caplog):
    rng = random.Random(0)
    found, missed = 0, []
    for number in range(NUM_FAULTS):
        out = tmp_path / str(number)
        shutil.copytree(folder / "run" / "checkpoints", out / "checkpoints")
        newest = out / "checkpoints" / "step-4"
        path = rng.choice(sorted(newest.iterdir()))
        what = rng.choice((flip, flip, flip, truncate, blank, remove, swap))(path, rng)
        try:
            load_checkpoint(newest)
            missed.append(what)
        except CheckpointError:
            found += 1
        with caplog.at_level(logging.WARNING):
            assert latest_checkpoint(out) == out / "checkpoints" / "step-3", what
        assert "falling back to the previous one" in caplog.text
        caplog.clear()
        shutil.rmtree(out)
    assert (found, missed) == (NUM_FAULTS, [])


def test_a_whole_checkpoint_in_another_ones_place_is_found(folder, tmp_path):
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(folder / "run" / "checkpoints", checkpoints)
    shutil.rmtree(checkpoints / "step-4")
    shutil.copytree(checkpoints / "step-3", checkpoints / "step-4")
    assert latest_checkpoint(tmp_path) == checkpoints / "step-3"


# Pickles


class _Trap:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_the_trap_works(tmp_path):
    pickle.loads(pickle.dumps(_Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


def slots(folder: Path) -> list[tuple[Path, str]]:
    """(file, what reads it) for every file that is ever read."""
    found = [(p, "policy") for p in sorted((folder / "policy").iterdir())]
    found += [(p, "reward") for p in sorted((folder / "reward").iterdir())]
    found += [(p, "run") for p in sorted((folder / "run/checkpoints/step-4").iterdir())]
    found += [(folder / "run/run.json", "run"), (folder / "run/metrics.jsonl", "run")]
    return [*found, (folder / "demos.jsonl", "demos"), (folder / "text.txt", "text")]


def read(kind: str, folder: Path) -> None:
    if kind == "policy":
        load_policy(folder / "policy")
    elif kind == "reward":
        load_scalar(folder / "reward")
    elif kind == "demos":
        read_records(folder / "demos.jsonl", Demonstration)
    elif kind == "text":
        read_text(folder / "text.txt")
    else:
        (folder / "run/results.json").unlink(missing_ok=True)
        record = folder / "run/run.json"
        record.write_bytes(record.read_bytes().replace(b'"done"', b'"running"'))
        train("ppo_ptx", folder, folder / "run", resume=True)


def test_a_pickle_in_any_file_slot_is_never_run(folder, tmp_path):
    names = [(path.relative_to(folder), kind) for path, kind in slots(folder)]
    assert len(names) > 20
    for index, (name, kind) in enumerate(names):
        copy, marker = tmp_path / str(index), tmp_path / "sprung"
        shutil.copytree(folder, copy)
        (copy / name).write_bytes(pickle.dumps(_Trap(marker)))
        with contextlib.suppress(ValueError, OSError):  # some slots are not needed to load
            read(kind, copy)
        assert not marker.exists(), name
        shutil.rmtree(copy)


@pytest.mark.parametrize("kind", ["policy", "reward"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "training_args.bin"])
def test_a_pickle_instead_of_the_weights_is_refused(kind, name, folder, tmp_path):
    shutil.copytree(folder / kind, tmp_path / kind)
    (tmp_path / kind / "model.safetensors").unlink()
    (tmp_path / kind / name).write_bytes(pickle.dumps(_Trap(tmp_path / "sprung")))
    with pytest.raises(ValueError, match=kind):
        read(kind, tmp_path)
    assert not (tmp_path / "sprung").exists()
