"""Stops a trainer between two steps and resumes it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file

from understudy.training import steps


class _Stopped(Exception):
    pass


def check_resume_is_exact(train: Callable[[Any], Path], config: Any, *after: int) -> None:
    """Runs that die, one after each of these numbers of steps, and resume end, bit for bit, where
    one that never stopped ends: weights, metrics, results."""
    straight = train(replace(config, out=config.out.with_name("straight")))
    for number in after:
        dies = replace(config, out=config.out.with_name(f"dies-after-{number}"))
        _check_resume(train, dies, straight, number)


def _check_resume(train: Callable[[Any], Path], config: Any, straight: Path, after: int) -> None:
    step, calls = steps.clip_and_step, []

    def dying(*args: Any) -> Any:
        if len(calls) == after:
            raise _Stopped
        calls.append(1)
        return step(*args)

    with patch.object(steps, "clip_and_step", dying), pytest.raises(_Stopped):
        train(config)
    resumed = train(replace(config, resume=True))
    for name in ("metrics.jsonl", "results.json"):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes()
    files = sorted(path.name for path in (straight / "model").glob("*.safetensors"))
    assert files
    for name in files:
        found, expected = (load_file(run / "model" / name) for run in (resumed, straight))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)
