"""Checkpoints go from any number of ranks to any other, tensor for tensor."""

import json
import random

import pytest
from tests.distributed.checkpoint_worker import Trained, write_as_one
from tests.distributed.torchrun import findings, run_script

from understudy.training.checkpoint import (
    CheckpointError,
    latest_checkpoint,
    load_checkpoint,
    read_manifest,
)
from understudy.training.ranks import ALONE

pytestmark = pytest.mark.thorough


@pytest.fixture
def folder(quick):
    return quick / "checkpoint"


@pytest.fixture
def one(quick):
    return json.loads((quick / "one.json").read_text())


@pytest.fixture
def found(folder):
    return findings(folder)


def test_ranks_read_what_they_wrote_and_go_on_alike(found):
    for rank in found:
        assert rank["loaded"] == rank["second"] != rank["first"]
        assert rank["state"] == {"step": 2}
        assert rank["go on alike"]


def test_each_rank_writes_its_own_half(found):
    for rank in found:
        shards = [size for name, size in rank["sizes"].items() if name.startswith("shard-")]
        assert len(shards) == 2
        assert max(shards) < 0.6 * sum(shards)


def test_one_process_reads_what_several_wrote(found, folder):
    run = Trained(ALONE, seed=7)
    path = latest_checkpoint(folder / "several", "a")
    assert run.load(path) == {"step": 2}
    assert run.hashes() == found[0]["second"]


def test_several_read_what_one_process_wrote(found, one):
    assert all(rank["of one process"] == one for rank in found)


def test_parts_of_split_layers_come_from_any_layout_and_go_to_any(found, one, folder):
    for rank in found:
        assert rank["parts of several"] == rank["second"]
        assert rank["parts of one process"] == one
        assert rank["of parts"] == rank["parts"]
    run = Trained(ALONE, seed=7)
    run.load(latest_checkpoint(folder / "parts"))
    assert run.hashes() == found[0]["parts"]


def test_all_ranks_fall_back_over_a_file_that_one_of_them_finds_broken(found, folder):
    assert all(rank["fell back to"] == "step-1" for rank in found)
    aside = [path.name for path in (folder / "broken/checkpoints").iterdir()]
    assert any(name.startswith("step-2.corrupt-") for name in aside)


def test_nothing_is_pickled(found, folder):
    files = {path.name for path in (folder / "several/checkpoints/step-2").iterdir()}
    assert {name.rpartition(".")[2] for name in files} == {"json", "safetensors"}
    assert files - {"manifest.json"} == set(
        read_manifest(folder / "several/checkpoints/step-2")["files"]
    )


def test_every_flip_truncation_and_deletion_is_found(found, folder):
    """40 faults in each kind, at places drawn at random, none of which reaches a tensor."""
    path = folder / "several/checkpoints/step-2"
    rng = random.Random(0)
    files = sorted(file for file in path.iterdir())
    for number in range(120):
        file = rng.choice(files)
        data = file.read_bytes()
        if number % 3 == 0:
            broken = bytearray(data)
            broken[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            file.write_bytes(broken)
        elif number % 3 == 1:
            file.write_bytes(data[: rng.randrange(len(data))])
        else:
            file.unlink()
        with pytest.raises(CheckpointError):
            verified(path)
        file.write_bytes(data)
    assert verified(path)


def verified(path):
    """Whether `latest_checkpoint` would take it."""
    from understudy.training.checkpoint import _files_of, _verify

    for name, facts in _files_of(read_manifest(path), path).items():
        _verify(path, name, facts)
    return bool(load_checkpoint(path))


@pytest.mark.slow
def test_four_ranks_write_what_one_process_reads(tmp_path):
    expected = write_as_one(tmp_path)
    found = run_script("checkpoint_worker.py", tmp_path, world=4)
    run = Trained(ALONE, seed=7)
    run.load(latest_checkpoint(tmp_path / "several"))
    for rank in found:
        assert run.hashes() == rank["second"] == rank["loaded"]
        assert rank["of one process"] == expected
