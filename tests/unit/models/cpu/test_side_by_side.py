import threading

import pytest
import torch

from understudy.models.cpu.side_by_side import side_by_side

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_jobs_run_at_once_on_a_core_each(two_threads):
    meet = threading.Barrier(2)

    def job(name):
        meet.wait(timeout=60)  # none gets past this alone
        torch.ones(8).sum()
        return name, torch.get_num_threads()

    found = side_by_side([lambda: job("a"), lambda: job("b")], CPU)
    assert found == [("a", 1), ("b", 1)]
    assert torch.get_num_threads() == 2


def test_one_core_runs_them_in_turn():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    here = threading.get_ident()
    assert side_by_side([threading.get_ident, threading.get_ident], CPU) == [here, here]
    torch.set_num_threads(before)


def test_an_error_comes_out_when_all_have_ended(two_threads):
    ended = []

    def fails():
        raise ValueError("no")

    def works():
        ended.append(True)

    with pytest.raises(ValueError, match="no"):
        side_by_side([fails, works], CPU)
    assert ended == [True]
