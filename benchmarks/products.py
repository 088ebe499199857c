"""The two libraries for fp32 products on this processor: the gain of `models/cpu/products.py`.

    python benchmarks/products.py

Both take turns, one product each, so that a machine that slows down slows both. The weight is
passed plain, as in a forward pass, and transposed, as for a gradient. OMP_NUM_THREADS sets the
threads.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.models.cpu.allocator import keep_freed_memory
from understudy.models.cpu.products import times

SHAPES = [(128, 128), (128, 512), (512, 128), (2048, 8192), (8192, 2048)]
"""Inputs and outputs: the benchmark's Llama of 1.1M parameters, and one of about a billion."""
ROWS = {
    128: (512, 2560, 5120),
    512: (512, 2560, 5120),
    2048: (32, 256, 1024),
    8192: (32, 256, 1024),
}
"""Tokens by number of inputs."""


def main() -> None:
    """Print a table of GFLOP/s."""
    keep_freed_memory()
    print(f"{torch.get_num_threads()} threads, medians in GFLOP/s")
    print("| inputs to outputs | rows | weight | torch.mm | models/cpu/products.py | times |")
    print("|---|---|---|---|---|---|")
    for num_inputs, num_outputs in SHAPES:
        for rows in ROWS[num_inputs]:
            for name, transposed in (("as it is", False), ("transposed", True)):
                x_NK = torch.randn(rows, num_inputs)
                weight_MK = torch.randn(num_outputs, num_inputs)
                if transposed:
                    weight_MK = torch.randn(num_inputs, num_outputs).T
                plain, ours = rates(x_NK, weight_MK)
                shape = f"{num_inputs} to {num_outputs} | {rows} | {name}"
                print(f"| {shape} | {plain:.0f} | {ours:.0f} | {ours / plain:.2f} |", flush=True)


def rates(x_NK: Tensor, weight_MK: Tensor) -> tuple[float, float]:
    """GFLOP/s of both, in turns, for about two seconds."""
    work = 2 * x_NK.numel() * weight_MK.shape[0]
    ways: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (F.linear, times)
    seconds: tuple[list[float], ...] = ([], [])
    until = time.perf_counter() + 2.0
    while time.perf_counter() < until or len(seconds[0]) < 5:
        for way, taken in zip(ways, seconds, strict=True):
            started = time.perf_counter()
            way(x_NK, weight_MK)
            taken.append(time.perf_counter() - started)
    plain, ours = (work / statistics.median(taken[1:]) / 1e9 for taken in seconds)
    return plain, ours


if __name__ == "__main__":
    main()
