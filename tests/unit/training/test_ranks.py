import pytest
import torch
import torch.distributed as dist

from understudy.training.ranks import ALONE, Share, join_ranks, world_size


@pytest.fixture
def torchrun(monkeypatch):
    """The environment of process 0 of 2."""
    values = dict(RANK="0", WORLD_SIZE="2", LOCAL_RANK="0", MASTER_ADDR="::1", MASTER_PORT="1")
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_alone_is_the_identity_without_a_process_group():
    assert join_ranks() is ALONE
    assert not dist.is_initialized()
    x = torch.tensor([1.0, 2.0])
    assert ALONE.sum_tensor(x) is x
    assert ALONE.is_first
    assert ALONE.sum([0.1]) == ALONE.max([0.1]) == [0.1]
    assert ALONE.sums({"a": 0.1}) == {"a": 0.1}
    assert (ALONE.agree(True), ALONE.agree(False)) == (True, False)
    assert ALONE.gather_rows([[3], []]) == [[[3], []]]
    assert ALONE.group(1) is None
    assert ALONE.from_rank(0, "text") == "text"
    assert ALONE.from_all("text") == ["text"]
    assert ALONE.on_first(lambda: 5) == 5
    assert list(ALONE.deal(3)) == [Share(i, counts=True) for i in range(3)]
    ALONE.wait()
    with pytest.raises(OSError, match="full"), ALONE.together():
        raise OSError("full")


def test_torchrun_with_one_process_is_alone(torchrun):
    torchrun.setenv("WORLD_SIZE", "1")
    assert world_size() == 1
    assert join_ranks() is ALONE


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "MASTER_ADDR"])
def test_half_an_environment_is_refused(torchrun, name):
    torchrun.delenv(name)
    with pytest.raises(ValueError, match=f"has WORLD_SIZE but {name} is ''; start several"):
        join_ranks()


def test_a_world_size_that_is_no_number_is_refused(torchrun):
    torchrun.setenv("WORLD_SIZE", "two")
    with pytest.raises(ValueError, match="WORLD_SIZE is 'two'"):
        join_ranks()


@pytest.mark.parametrize("layout", [dict(replicas=3), dict(tensor=4), dict(replicas=2, tensor=2)])
def test_a_layout_must_divide_the_world(torchrun, layout):
    with pytest.raises(ValueError, match="2 processes cannot be laid out as replicas"):
        join_ranks(**layout)


def test_a_layout_for_several_needs_several():
    with pytest.raises(ValueError, match="understudy launch --cards 2 -- "):
        join_ranks(replicas=2)
