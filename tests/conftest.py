"""Settings of every test: one thread, no network, the same random examples each time."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts its threads
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["MPLBACKEND"] = "Agg"
# Where it is set, every process that a test starts would compile the whole package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "understudy",
    deadline=None,  # two busy cores make any deadline a lottery
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("understudy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests go first: they are few and long, so a worker that is done early then takes
    short ones, and none of the sites, browsers and databases that a file's tests share is set up
    twice. GPU tests are skipped where there is no GPU; torch is asked only if there are any.
    """
    items.sort(key=lambda item: not item.nodeid.startswith("tests/web/"))
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
