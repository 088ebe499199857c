"""A sharded model learns what one process learns, in fp64."""

import pytest
from tests.distributed.sharding_worker import KINDS
from tests.distributed.torchrun import findings, run_script

pytestmark = pytest.mark.thorough


@pytest.fixture
def found(quick):
    return findings(quick / "sharding")


def check(found, kind, share=0.55):
    for rank in found:
        here = rank[kind]
        assert max(here["loss"], here["norm"], here["evaluated"]) < 1e-12
        assert here["weights"] < 1e-11
        assert here["tied"]
        assert here["groups"] == 2
        assert here["local"] < share  # rows that do not divide leave one rank a little more


@pytest.mark.parametrize("kind", ["llama_tied", "gpt2"])
def test_two_ranks_learn_what_one_process_learns(found, kind):
    check(found, kind)


def test_ranks_that_split_layers_learn_what_one_process_learns(quick):
    check(findings(quick / "sharding-tensor"), "qwen2", share=0.85)  # embeddings are whole


def test_averaged_gradients_and_idle_passes_that_count_would_be_noticed(found):
    for rank in found:
        assert rank["average"]["norm"] > 1e-3
        assert rank["idle"]["norm"] > 1e-3


def test_whole_weights_go_into_shards_and_come_out_again(found):
    assert all(rank["filled"] for rank in found)


@pytest.mark.slow
def test_every_architecture_learns_what_one_process_learns(tmp_path):
    found = run_script("sharding_worker.py", tmp_path, 1)
    for kind in KINDS:
        check(found, kind)


@pytest.mark.slow
@pytest.mark.parametrize(("world", "share"), [(2, 0.85), (4, 0.45)])
def test_every_architecture_is_split_among_ranks(tmp_path, world, share):
    found = run_script("sharding_worker.py", tmp_path, 1, 2, world=world)
    for kind in KINDS:
        if kind != "gpt2":
            check(found, kind, share)


@pytest.mark.slow
def test_replicas_of_shards_learn_the_same(tmp_path):
    for rank in run_script("sharding_worker.py", tmp_path, 2, world=4):
        for kind in KINDS:
            assert max(rank[kind]["loss"], rank[kind]["norm"]) < 1e-12
            assert rank[kind]["weights"] < 1e-11
