"""Settings of every test: one thread, no network, the same random examples each time."""

import gc
import os
import sys
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts its threads
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["MPLBACKEND"] = "Agg"
# Where it is set, this process and those that tests start would compile all modules every time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
from hypothesis import HealthCheck, settings

sys.dont_write_bytecode = False
settings.register_profile(
    "understudy",
    deadline=None,  # two busy cores make any deadline a lottery
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("understudy")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What importing makes stays: the garbage collector need not look at it while the tests are
    imported, which takes it a fifth of that time, nor afterwards.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


LONG = ("tests/web/", "tests/distributed/", "tests/faults/", "tests/loop/", "tests/unit/world/")
"""Folders whose tests are few and long, or share what takes long to set up."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests go first, so that a worker that is done early takes short ones from the end, and
    no site, browser or process that a file's tests share is set up twice. GPU tests are skipped
    where there is no GPU; torch is asked only if there are any.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def vllm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running vLLM server; skips where its environment is missing."""
    from tests import vllm_server as module

    if module.python() is None:
        pytest.skip("no environment with vLLM: `make test-vllm` makes one")
    folder = tmp_path_factory.mktemp("vllm")
    server = module.VLLM(folder, folder / "log.txt")
    try:
        server.wait_until_up()
        yield server
    finally:
        server.kill()
