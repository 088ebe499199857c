"""Two ranks stop, skip and fail together."""

import pytest
from safetensors.torch import load_file
from tests.distributed.torchrun import findings

pytestmark = pytest.mark.thorough


@pytest.fixture
def folder(quick):
    return quick / "ends"


@pytest.fixture
def found(folder):
    return findings(folder)


def test_a_signal_to_one_rank_saves_all_at_the_same_step(found):
    for rank in found:
        assert rank["stopped"] == ["SystemExit", "75"]
        assert rank["saved"] == ["step-1"]


def test_the_resumed_run_ends_in_the_same_bits(found, folder):
    assert all(rank["straight"] == rank["resumed"] == ["done", ""] for rank in found)
    for name in ("metrics.jsonl", "results.json"):
        assert (folder / "stopped" / name).read_bytes() == (folder / "straight" / name).read_bytes()
    weights, expected = (
        load_file(folder / run / "model" / "model.safetensors") for run in ("stopped", "straight")
    )
    assert all(weights[name].equal(expected[name]) for name in expected)


def test_a_bad_gradient_of_one_rank_is_skipped_by_all(found):
    assert all(rank["skipped"] == [0, 1, 0] for rank in found)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("another lr", "rank 1: its settings differ from rank 0's (lr); start the"),
        ("adapter", "lora_rank is 2, but adapters train in one process"),
        ("judge", "reward_model needs sampled responses, which sft draws in one process only"),
        ("lost model", "rank 1: model folder "),
    ],
)
def test_a_mistake_is_said_by_rank_0_and_ends_all(found, folder, case, message):
    first, second = (rank[case] for rank in found)
    assert first[0] == "ValueError"
    assert first[1].startswith(message)
    assert second == ["SystemExit", "2"]
    assert not (folder / "adapter").exists()
    assert not (folder / "lost").exists()
