import resource
import sys

import pytest
import torch

from understudy.core.allocator import keep_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other allocators")
def test_memory_that_was_freed_is_not_touched_anew():
    if not keep_freed_memory():
        pytest.skip("the C library is not glibc")
    size = 2**21  # floats: 8 MB, which glibc would ask the system for each time
    for _ in range(3):
        torch.ones(size)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(8):
        torch.ones(size)
    pages = 8 * size * 4 // resource.getpagesize()
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before < pages / 4
