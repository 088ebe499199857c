"""The rollout copy of a sharded policy."""

import pytest
from tests.distributed.replica_worker import CASES
from tests.distributed.torchrun import findings, run_script

pytestmark = pytest.mark.thorough


@pytest.fixture
def found(quick):
    return findings(quick / "replica")


def check(found, kind, sharing):
    for rank in found:
        here = rank[f"{kind}-{sharing}"]
        assert here["equal"], "the bits of the policy"
        assert here["checksum"]
        assert here["answers"], "the responses of one process"
        assert here["tied"] == kind.endswith(("tied", "opt", "gpt2"))
        assert here["version"] == 1
        assert here["held"] == 0, "memory after the rollout"
        assert (here["share"] == 1) == (sharing == 1)


@pytest.mark.parametrize(("kind", "sharing"), [("llama_tied", 1), ("gpt2", 2)])
def test_a_copy_has_the_policys_bits_and_gives_one_processs_answers(found, kind, sharing):
    check(found, kind, sharing)


def test_a_whole_copy_in_bf16_rounds_as_the_policy_does(found):
    for rank in found:
        assert rank["bf16-1"]["equal"]
        assert rank["bf16-1"]["answers"]
        assert rank["bf16-1"]["share"] < 0.85, "the layers take half; embeddings and head do not"
        assert rank["bf16-2"]["share"] < rank["bf16-1"]["share"] - 0.05


@pytest.mark.parametrize("sharing", [1, 2])
def test_one_flipped_bit_on_one_rank_stops_all(found, sharing):
    for rank in found:
        assert (
            "version 1 of the rollout weights differs from the policy's"
            in (rank[f"flipped-{sharing}"])
        )


@pytest.mark.slow
def test_every_architecture_is_shared_by_two_ranks(tmp_path):
    found = run_script("replica_worker.py", tmp_path)
    for kind, sharing in CASES:
        check(found, kind, sharing)
