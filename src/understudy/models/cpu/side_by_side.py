"""Independent jobs on one processor, each on its own share of the cores.

In a small model an operation takes well under a millisecond; if each one is split over all cores,
the cores spend a fifth of the time waiting for each other. Two independent networks, each on its
own cores, avoid that.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


def side_by_side(
    jobs: Sequence[Callable[[], T]], device: torch.device, threads: int | None = None
) -> list[T]:
    """The jobs' results, in order; the first error is raised when all have ended.

    On a CPU with at least one core per job they run at once, else one after the other. No job may
    write what another reads or writes. Thread-local settings of the caller, such as
    `torch.no_grad`, do not apply: a job sets its own. `threads` is the number of threads for all
    jobs together, by default the caller's.
    """
    threads = torch.get_num_threads() if threads is None else threads
    several = dist.is_initialized() and dist.get_world_size() > 1
    # Two threads could order collective operations differently on different ranks.
    if several or device.type != "cpu" or len(jobs) < 2 or threads < len(jobs):
        return [job() for job in jobs]
    futures = [_workers(len(jobs), threads).submit(job) for job in jobs]
    wait(futures)
    return [future.result() for future in futures]


@cache
def _workers(count: int, threads: int) -> ThreadPoolExecutor:
    """`count` Python threads with an equal share of `threads` cores each."""
    started, callers = threading.Barrier(count), torch.get_num_threads()

    def begin() -> None:
        torch.set_num_threads(threads // count)
        torch.get_num_threads()  # otherwise the thread's first operation resets it
        started.wait()

    workers = ThreadPoolExecutor(count, "side-by-side", initializer=begin)
    wait([workers.submit(torch.get_num_threads) for _ in range(count)])
    # The setting is per thread, but new threads start with the last value set.
    torch.set_num_threads(callers)
    return workers
