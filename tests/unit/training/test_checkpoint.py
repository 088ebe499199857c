import json
import os
import random
import signal
import subprocess
import sys

import pytest
import torch
from torch import nn

from understudy.training.checkpoint import (
    CheckpointError,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    remove_checkpoints,
    save_checkpoint,
    sealed,
    tree_hash,
)


def trained():
    """A model with tied weights and an optimiser that has made a step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95))
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def save(tmp_path, step, **kwargs):
    model, optimizer = trained()
    trees = {"policy": model.state_dict(), "optimizer": optimizer.state_dict()}
    return save_checkpoint(tmp_path, step, trees, {"iteration": step}, **kwargs), trees


def test_what_is_saved_is_what_loads(tmp_path):
    path, trees = save(tmp_path, 3)
    loaded, state = load_checkpoint(path)
    assert state == {"iteration": 3}
    assert tree_hash(loaded) == tree_hash(trees)
    model, optimizer = trained()
    model.load_state_dict(loaded["policy"])
    optimizer.load_state_dict(loaded["optimizer"])
    assert tree_hash(optimizer.state_dict()) == tree_hash(trees["optimizer"])
    assert isinstance(loaded["optimizer"]["param_groups"][0]["betas"], tuple)


def test_hash_sees_one_changed_bit():
    tree = {"a": torch.zeros(4), "b": [1, None, "x"]}
    before = tree_hash(tree)
    tree["a"].view(torch.int32)[2] = 1
    assert tree_hash(tree) != before
    assert tree_hash({"a": torch.zeros(4), "b": [2, None, "x"]}) != before


def test_retention_keeps_the_newest(tmp_path):
    for step in (1, 2, 10):
        save(tmp_path, step, keep=2)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-2", "step-10"]
    assert latest_checkpoint(tmp_path).name == "step-10"


def test_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None


def flip_a_bit(path, rng):
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(path, rng):
    path.write_bytes(path.read_bytes()[:-1])


def remove(path, rng):
    path.unlink()


def zero(path, rng):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, remove, zero])
@pytest.mark.parametrize(
    "name",
    [
        "policy.safetensors",
        "optimizer.safetensors",
        "state.json",
        "structure.json",
        "manifest.json",
    ],
)
def test_damage_is_found_and_the_one_before_is_used(tmp_path, caplog, damage, name):
    save(tmp_path, 1)
    path, _ = save(tmp_path, 2)
    damage(path / name, random.Random(0))
    with pytest.raises(CheckpointError, match="step-2"):
        load_checkpoint(path)
    assert latest_checkpoint(tmp_path).name == "step-1"
    assert "falling back" in caplog.text
    assert not path.exists()


def test_random_bit_flips_are_all_found(tmp_path):
    path, _ = save(tmp_path, 1)
    rng = random.Random(1)
    tensors = path / "policy.safetensors"
    whole = tensors.read_bytes()
    for _ in range(50):
        flip_a_bit(tensors, rng)
        with pytest.raises(CheckpointError):
            load_checkpoint(path)
        tensors.write_bytes(whole)


@pytest.mark.parametrize("name", ["policy.safetensors", "state.json", "structure.json"])
def test_a_manifest_without_a_file_is_found(tmp_path, caplog, name):
    save(tmp_path, 1)
    path, _ = save(tmp_path, 2)
    listing = json.loads((path / "manifest.json").read_text())
    del listing["files"][name]
    (path / "manifest.json").write_text(json.dumps(sealed(listing), indent=1))
    with pytest.raises(CheckpointError, match=f"manifest.json does not list {name}"):
        load_checkpoint(path)
    assert latest_checkpoint(tmp_path).name == "step-1"
    assert f"does not list {name}" in caplog.text


@pytest.mark.parametrize("word", ['"run"', '"logs"', '"bytes"', '"sha256"', '"a-run"'])
def test_any_change_to_the_manifest_is_found(tmp_path, word):
    path, _ = save(tmp_path, 1, run="a-run", logs={})
    text = (path / "manifest.json").read_text()
    assert word in text
    (path / "manifest.json").write_text(text.replace(word, word[:-2] + 'x"', 1))
    with pytest.raises(CheckpointError, match="was changed after it was written"):
        load_checkpoint(path)


def test_another_runs_checkpoint_is_refused_and_kept(tmp_path):
    path, _ = save(tmp_path, 1, run="a")
    assert latest_checkpoint(tmp_path, "a") == latest_checkpoint(tmp_path) == path
    with pytest.raises(ValueError, match="step-1 is the checkpoint of another run"):
        latest_checkpoint(tmp_path, "b")
    assert path.exists()


def test_all_go_at_the_end(tmp_path):
    save(tmp_path, 1)
    remove_checkpoints(tmp_path)
    remove_checkpoints(tmp_path)
    assert not list(tmp_path.iterdir())


def test_swapped_files_are_found(tmp_path):
    path, _ = save(tmp_path, 1)
    one, two = path / "policy.safetensors", path / "optimizer.safetensors"
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(CheckpointError, match="sha256"):
        load_checkpoint(path)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-1"]
    assert latest_checkpoint(tmp_path).name == "step-1"


CHILD = """
import sys, torch
from pathlib import Path
from understudy.training.checkpoint import save_checkpoint
for step in (1, 2):
    trees = {"a": {"w": torch.full((4,), float(step))}, "b": {"w": torch.zeros(2)}}
    save_checkpoint(Path(sys.argv[1]), step, trees, {"step": step}, keep=1)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "newest"),
    [
        ("checkpoint/begin@2", 1),
        ("checkpoint/file@3", 1),
        ("checkpoint/file@4", 1),
        ("checkpoint/manifest@2", 1),
        ("checkpoint/rename@2", 1),
        ("checkpoint/renamed@2", 2),
        ("checkpoint/end@2", 2),
    ],
)
def test_killed_anywhere_a_whole_checkpoint_is_left(tmp_path, point, newest):
    env = os.environ | {"UNDERSTUDY_CRASH_AT": point}
    child = subprocess.run([sys.executable, "-c", CHILD, tmp_path], env=env, check=False)
    assert child.returncode == -signal.SIGKILL
    trees, state = load_checkpoint(latest_checkpoint(tmp_path))
    assert state == {"step": newest}
    assert trees["a"]["w"].tolist() == [newest] * 4
    save_checkpoint(tmp_path, 3, trees, state, keep=1)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-3"]
