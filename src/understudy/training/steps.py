"""The bookkeeping of a training loop, the same for all trainers: load the newest checkpoint, show
progress, log, save, stop when told to.

    steps = Steps(run, state, total=40, every=config.save_every)
    steps.resume()
    with steps.shown("SFT"):
        while steps.left:
            metrics = one_step(steps.step)
            steps.done(metrics)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from understudy.models.lora import load_weights, weights_of
from understudy.training.checkpoint import crash_point
from understudy.training.optim import (
    SkipGuard,
    StepResult,
    clip_and_step,
    load_optimizer,
    make_optimizer,
    set_lr,
)
from understudy.training.run import Run, Saved
from understudy.training.stop import Stop, stop_on_signal

Metrics = dict[str, float | Tensor]
"""Metrics of a step by name; tensors (of one number) become numbers when they are logged."""


class State(Protocol):
    """The state of a trainer, besides the number of steps."""

    def trees(self) -> dict[str, Any]:
        """The parts kept as tensors."""

    def counters(self) -> dict[str, Any]:
        """The parts kept as JSON."""

    def load(self, trees: dict[str, Any], counters: dict[str, Any]) -> None:
        """Restore a checkpoint's contents."""


M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Learner(Generic[M]):
    """A network that learns, its optimiser, and its count of skipped steps."""

    model: M
    """The network that is trained."""
    optimizer: torch.optim.Optimizer
    """AdamW over the trained parameters."""
    guard: SkipGuard = field(default_factory=SkipGuard)
    """Gives up after too many non-finite gradients in a row."""

    @classmethod
    def of(cls, model: M, lr: float, weight_decay: float = 0.0) -> "Learner[M]":
        """A learner before its first step."""
        return cls(model, make_optimizer(model, lr, weight_decay=weight_decay))

    def step(self, max_grad_norm: float | None, lr: float | None = None) -> StepResult:
        """Clip and step, at the rate `lr` if given; TooManySkips after several skips in a row."""
        if lr is not None:
            set_lr(self.optimizer, lr)
        result = clip_and_step(self.optimizer, self.model.parameters(), max_grad_norm)
        self.guard.note(result)
        return result

    def trees(self) -> dict[str, Any]:
        """Weights and optimiser state."""
        return {"model": weights_of(self.model), "optimizer": self.optimizer.state_dict()}

    def counters(self) -> dict[str, Any]:
        """Skips in a row."""
        return {"skips": self.guard.in_a_row}

    def load(self, trees: dict[str, Any], counters: dict[str, Any]) -> None:
        """Restore a checkpoint's contents."""
        load_weights(self.model, trees["model"])
        load_optimizer(self.optimizer, trees["optimizer"])
        self.guard.in_a_row = int(counters["skips"])


@dataclass(slots=True)
class Steps:
    """The steps of a run, and the work after each."""

    run: Run
    """Where to log and save."""
    state: State
    """What to save."""
    total: int
    """Total number of steps."""
    every: int
    """Steps between checkpoints; 0 saves so often that saving takes a tenth of the time."""
    unit: str = "step"
    """The name of a step in checkpoints."""
    step: int = 0
    """Steps done."""
    _stop: Stop = field(default_factory=Stop)

    def resume(self) -> None:
        """Return to the newest intact checkpoint, or to the start, and truncate the logs to it."""
        saved = self.run.restore(self.state.trees)
        if saved is not None:
            trees, counters = saved
            self.state.load(trees, counters)
            self.step = int(counters[self.unit])

    @property
    def left(self) -> int:
        """Steps still to do."""
        return self.total - self.step

    @contextmanager
    def shown(self, title: str) -> Iterator[None]:
        """The loop's context: progress on the terminal, signals that ask for a save."""
        with self.run.progress(self.total, title), stop_on_signal() as self._stop:
            yield

    def done(self, metrics: Metrics, save_last: bool = False) -> None:
        """Count a step as done: log its metrics, save if a save is due.

        A process that was told to stop saves and raises SystemExit(75), unless this is the last
        step. `save_last` always saves that one, since the work after it may take long.
        """
        self.step += 1
        self.run.log(self.step, {name: float(value) for name, value in metrics.items()})
        crash_point(f"{self.run.record['stage']}/{self.unit}")
        last = self.left == 0
        stopping = self.run.stops(self._stop) and not last
        now = stopping or (last and save_last)
        self.run.save_if_due(self.step, self._saved, every=self.every, last=last, now=now)
        if stopping:
            raise self.run.stopped(self.step)

    def _saved(self) -> Saved:
        return self.state.trees(), self.state.counters() | {self.unit: self.step}
