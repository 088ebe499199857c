"""Independent parts of the work on one processor, each on its own share of the cores.

In a small model an operation takes well under a millisecond, and a processor that splits each one
over all its cores spends a fifth of the time on their waiting for one another. Two networks that do
not need each other keep the cores just as busy without that.
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
    """What the jobs return, in their order; the first error is raised when all have ended.

    On a CPU with a core or more for each they run at once, else one after the other. No job may
    write what another reads or writes. Whatever the caller has set for its own thread, such as
    `torch.no_grad`, a job sets for itself.

    `threads`: how many all jobs may use; None: as many as the caller's operations.
    """
    threads = torch.get_num_threads() if threads is None else threads
    several = dist.is_initialized() and dist.get_world_size() > 1
    # Two threads would send what the ranks exchange in an order that differs from rank to rank.
    if several or device.type != "cpu" or len(jobs) < 2 or threads < len(jobs):
        return [job() for job in jobs]
    futures = [_workers(len(jobs), threads).submit(job) for job in jobs]
    wait(futures)
    return [future.result() for future in futures]


@cache
def _workers(count: int, threads: int) -> ThreadPoolExecutor:
    """`count` threads of Python with an equal share of `threads` cores each."""
    started, callers = threading.Barrier(count), torch.get_num_threads()

    def begin() -> None:
        torch.set_num_threads(threads // count)
        torch.get_num_threads()  # or the thread's first operation would set the number anew
        started.wait()

    workers = ThreadPoolExecutor(count, "side-by-side", initializer=begin)
    wait([workers.submit(torch.get_num_threads) for _ in range(count)])
    # The number holds for the thread that sets it, but threads to come begin with the last one set.
    torch.set_num_threads(callers)
    return workers
