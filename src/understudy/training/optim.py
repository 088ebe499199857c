"""AdamW, learning-rate schedules as pure functions of the step, and a step that refuses non-finite
gradients."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from understudy.models.sharding import global_norm, local_part, meshes_of, parts_of

Schedule = Callable[[int, int], float]


def make_optimizer(
    model: nn.Module,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; betas from C; eps and weight decay are not published.

    Weight decay does not apply to biases and norms (one-dimensional parameters).
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=True)
    if isinstance(parameters[0], DTensor):
        _begin(optimizer)
    return optimizer


def _begin(optimizer: torch.optim.Optimizer) -> None:
    """Create the optimiser states, so that a checkpoint's shards have tensors to be read into. A
    step of size zero changes no weight."""
    rates = [group["lr"] for group in optimizer.param_groups]
    set_lr(optimizer, 0.0)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    _step(optimizer)
    optimizer.zero_grad()
    for group, lr in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = lr
    for states in optimizer.state.values():
        states["step"].zero_()


def _step(optimizer: torch.optim.Optimizer) -> None:
    """One optimiser step, for the weights of one mesh at a time (`meshes_of`)."""
    every = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    by_mesh = meshes_of(every)
    if len(by_mesh) == 1:
        optimizer.step()
        return
    gradients = {parameter: parameter.grad for parameter in every}
    for chosen in by_mesh:
        for parameter in every:
            parameter.grad = None
        for parameter in chosen:
            parameter.grad = gradients[parameter]
        optimizer.step()


def cosine_to(fraction: float = 0.1) -> Schedule:
    """(step, total) -> multiplier: a half cosine from 1 at step 0 to `fraction` at the last step
    (s3.5, C.1)."""

    def multiplier(step: int, total: int) -> float:
        progress = min(step / max(total - 1, 1), 1.0)
        return fraction + (1 - fraction) * 0.5 * (1 + math.cos(math.pi * progress))

    return multiplier


def constant_with_warmup(warmup_iterations: int = 10, start: float = 0.1) -> Callable[[int], float]:
    """iteration -> multiplier: linear from `start` at iteration 0 to 1 at `warmup_iterations`, then
    1 (C.4)."""

    def multiplier(iteration: int) -> float:
        if iteration >= warmup_iterations:
            return 1.0
        return start + (1 - start) * iteration / warmup_iterations

    return multiplier


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` in every parameter group from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = lr


@dataclass(frozen=True, slots=True)
class StepResult:
    """The outcome of an optimiser step."""

    grad_norm: float
    """Norm of all gradients together, before clipping."""
    skipped: bool
    """True if the norm was not finite: weights and optimiser state are unchanged."""


def gradient_norm(parameters: Iterable[Tensor]) -> float:
    """Norm of all gradients together."""
    return _norm([p.grad for p in parameters if p.grad is not None])


def _norm(gradients: list[Tensor]) -> float:
    if isinstance(gradients[0], DTensor):
        return global_norm(gradients)
    return float(nn.utils.get_total_norm(gradients))


def clip_and_step(
    optimizer: torch.optim.Optimizer,
    parameters: Iterable[Tensor],
    max_norm: float | None = None,
) -> StepResult:
    """Clip the global gradient norm (if `max_norm` is given), step, and clear the gradients; skip
    the step if the norm is not finite."""
    grads = [p.grad for p in parameters if p.grad is not None]
    assert grads, "no parameter has a gradient"
    grad_norm = _norm(grads)
    finite = math.isfinite(grad_norm)
    if finite:
        if max_norm is not None and grad_norm > max_norm:
            torch._foreach_mul_([local_part(g) for g in grads], max_norm / (grad_norm + 1e-6))
        _step(optimizer)
    optimizer.zero_grad(set_to_none=True)
    return StepResult(grad_norm, skipped=not finite)


def load_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load a `state_dict` that one process saved; states are sharded like their parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {
        index: {
            name: parts_of(value, parameters[index])
            if isinstance(value, Tensor) and value.ndim
            else value
            for name, value in states.items()
        }
        for index, states in saved["state"].items()
    }
    optimizer.load_state_dict({**saved, "state": state})


class TooManySkips(FloatingPointError):
    """Several steps in a row had non-finite gradients: training is broken."""


@dataclass(slots=True)
class SkipGuard:
    """Counts steps skipped in a row and gives up after `limit`."""

    limit: int = 5
    """Skips in a row that end the run."""
    in_a_row: int = 0
    """Skips since the last good step."""

    def note(self, result: StepResult) -> None:
        """Count one step; raises TooManySkips at the limit."""
        self.in_a_row = self.in_a_row + 1 if result.skipped else 0
        if self.in_a_row >= self.limit:
            raise TooManySkips(
                f"{self.in_a_row} steps in a row had non-finite gradients (the weights are those "
                "of the last good step); lower lr, or look for broken rows in the data"
            )
