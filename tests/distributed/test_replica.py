"""The rollout copy of a sharded policy."""

import pytest
from tests.distributed.torchrun import findings

pytestmark = pytest.mark.thorough


@pytest.fixture
def found(quick):
    return findings(quick / "replica")


@pytest.mark.parametrize("kind", ["llama_tied", "gpt2"])
def test_a_copy_has_the_policys_bits_and_gives_one_processs_answers(found, kind):
    for rank in found:
        stale, equal, same_checksum, same_answers, version, tied = rank[kind]
        assert not stale, "the checksum does not see that the weights moved"
        assert equal
        assert same_checksum
        assert same_answers
        assert version == 1
        assert tied


def test_one_flipped_bit_on_one_rank_stops_all(found):
    for rank in found:
        assert "version 2 of the rollout weights differs from the policy's" in rank["flipped"]
