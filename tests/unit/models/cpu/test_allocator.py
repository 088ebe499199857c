"""Freed memory stays in the process once it was asked to, and goes back to the system otherwise."""

import subprocess
import sys

import pytest
from tests.docs.pages import ROOT

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from understudy.models.cpu.allocator import keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

if "keep" in sys.argv and not keep_freed_memory():
    sys.exit(75)
before = resident()
held = [np.ones(2**17 * size) for size in (8, 5, 40, 4, 6, 8, 3, 7)]  # megabytes
peak = resident()
del held
print((resident() - before) / (peak - before))
"""


def share_kept(*words: str) -> float:
    """Of the memory of freed blocks, the share that is still resident; in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    if done.returncode == 75:
        pytest.skip("the C library is not glibc")
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other allocators")
def test_freed_memory_is_kept() -> None:
    assert share_kept("keep") > 0.8
    assert share_kept() < 0.5
