"""Every rank reads its slices of a folder, and has what one process reads."""

import json
import sys

import pytest
from tests.distributed.loading_worker import KINDS
from tests.distributed.torchrun import ROOT, Job, findings, run_script

pytestmark = pytest.mark.thorough


@pytest.fixture
def found(quick):
    return findings(quick / "loading")


def test_slices_are_what_one_process_reads(found):
    for rank in found:
        for kind, checks in rank["equal"].items():
            assert all(checks.values()), (kind, checks)


def test_ranks_that_split_layers_read_their_parts(quick):
    first, second = findings(quick / "loading-tensor")
    for rank in (first, second):
        for kind, checks in rank["equal"].items():
            assert all(checks.values()), (kind, checks)
    assert first["said"]["gpt2"] == (
        "tensor_parallel is 2, but layers of gpt2 cannot be split among ranks, only those of "
        "llama, mistral, qwen2, gpt_neox, opt; leave tensor_parallel out"
    )
    assert second["said"]["gpt2"] == "2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("lacks", "its files lack 1 weight: model.layers.1.mlp.up_proj.weight"),
        ("is_larger", "model.norm.weight has another shape in its files than in its config.json"),
        ("has_nan", "NaN in 1 weight of model.embed_tokens.weight"),
        ("unties", "ties lm_head.weight to model.embed_tokens.weight, but the files hold diff"),
    ],
)
def test_a_folder_that_is_broken_on_one_rank_ends_all(found, change, message):
    first, second = (rank["said"][change] for rank in found)
    assert first.startswith("rank 1: ")
    assert message in first
    assert second == "2", "the exit code of a mistake"


def test_tied_weights_that_are_in_the_file_twice_are_one(found):
    assert [rank["said"]["ties_twice"] for rank in found] == ["", ""]


@pytest.mark.slow
@pytest.mark.parametrize(("world", "replicas"), [(2, 1), (4, 2)])
def test_every_architecture_is_read_in_slices(tmp_path, world, replicas):
    for rank in run_script("loading_worker.py", tmp_path, replicas, world=world):
        assert rank["equal"].keys() == set(KINDS)
        for kind, checks in rank["equal"].items():
            assert all(checks.values()), (kind, checks)


@pytest.mark.slow
def test_no_rank_ever_holds_more_than_its_share_and_a_layer(tmp_path):
    out = tmp_path / "loading.json"
    words = ["--ranks", "2", "4", "--layers", "8", "--hidden", "768", "--out", str(out)]
    ended = Job([sys.executable, str(ROOT / "benchmarks" / "loading.py"), *words], 1800).wait()
    assert ended.code == 0, ended.stderr
    found = json.loads(out.read_text())
    sizes = found["bytes"]
    assert sizes["model"] > 250e6
    for world, peaks in found["peaks"].items():
        share = sizes["model"] / int(world)
        assert peaks["load"] < share + sizes["block"], (world, peaks)
        # Beside a layer, the embeddings or the head: half of the root.
        assert peaks["save"] < share + sizes["block"] + sizes["root"] / 2, (world, peaks)
