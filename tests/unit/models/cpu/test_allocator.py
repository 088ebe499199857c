import resource
import sys

import pytest
import torch

from understudy.models.cpu.allocator import keep_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other allocators")
def test_memory_that_was_freed_is_not_touched_anew():
    if not keep_freed_memory():
        pytest.skip("the C library is not glibc")
    # A pass holds tensors of many sizes and frees them together. (One block alone need not find its
    # own place again: the C library asks for a little more than it gave back. By default it keeps
    # blocks of up to 32 MB too, if it feels like it, but never a larger one.)
    megabytes = (8, 5, 40, 4, 6, 8, 3, 7)

    def work() -> None:
        _held = [torch.ones(2**18 * size) for size in megabytes]

    for _ in range(4):
        work()
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(8):
        work()
    pages = 8 * sum(megabytes) * 2**20 // resource.getpagesize()
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before < pages / 8
