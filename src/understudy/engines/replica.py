"""A whole copy of a sharded policy on each rank, for rollouts.

Sampling straight from the shards would gather the whole model for every token, and ranks whose
responses differ in length would deadlock. The copy receives the policy's weights before each
rollout, a layer at a time, and then samples without communication, through the same engine as one
process.
"""

import copy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM

from understudy.models.policies import Policy
from understudy.models.sharding import compute, is_sharded
from understudy.models.trunk import device_of

PARITY = 1e-4
"""Largest allowed difference between the copy's and the policy's log-probs of a few tokens."""


class Replica:
    """A policy's unsharded weights; the policy itself if it is not sharded."""

    def __init__(self, policy: Policy) -> None:
        self.model = unsharded(policy) if is_sharded(policy) else policy
        self.version = 0
        """Number of calls of `sync`."""

    @torch.no_grad()
    def sync(self, policy: Policy, ids_BT: Tensor, mask_BT: Tensor) -> None:
        """Copy the policy's weights, and check the copy on a few tokens. Collective.

        RuntimeError, on all ranks, if the copy's weights differ from the shards in any bit, or its
        log-probs of the tokens from the policy's.
        """
        self.version += 1
        if not is_sharded(policy):
            return
        copy_weights(policy.model, self.model.model)
        found, expected = checksum(self.model), checksum(policy)
        wrong = torch.tensor([int(found != expected)], device=ids_BT.device)
        dist.all_reduce(wrong, dist.ReduceOp.MAX)
        if wrong.item():
            raise RuntimeError(
                f"version {self.version} of the rollout weights differs from the policy's on some "
                f"rank (checksum {found:x} here, {expected:x} of the policy); nothing was sampled"
            )
        here_BT, _ = self.model.logprobs(ids_BT, mask_BT)
        there_BT, _ = compute(policy.model, policy.logprobs, ids_BT, mask_BT)
        worst = (here_BT - there_BT).abs().max()
        dist.all_reduce(worst, dist.ReduceOp.MAX)
        if not float(worst) < PARITY:
            raise RuntimeError(
                f"version {self.version} of the rollout weights gives log-probs that are "
                f"{float(worst):.2g} from the policy's; nothing was sampled"
            )


def unsharded(policy: Policy) -> Policy:
    """A frozen whole model like a sharded policy, whose weights are yet to be set."""
    model, config = policy.model, copy.deepcopy(policy.config)
    with torch.device("meta"):
        whole = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    whole.to_empty(device=device_of(policy))
    whole.tie_weights()  # each name has got storage of its own
    buffers = dict(model.named_buffers())
    for name, buffer in whole.named_buffers():
        buffer.copy_(buffers[name])
    found = Policy(whole.requires_grad_(False).eval(), policy.stop_ids)
    found.bf16 = policy.bf16
    return found


@torch.no_grad()
def copy_weights(policy: nn.Module, replica: nn.Module) -> None:
    """Copy the shards' weights into an unsharded model, one layer at a time. Collective."""
    target, done = dict(replica.named_parameters()), set()
    for prefix, module in policy.named_modules():
        if not isinstance(module, FSDPModule):
            continue
        unit: Any = module
        unit.unshard()
        for name, parameter in unit.named_parameters():
            key = f"{prefix}.{name}".lstrip(".")
            if not isinstance(parameter, DTensor) and key not in done:
                target[key].copy_(parameter)
                done.add(key)
        unit.reshard()
    assert done == set(target), "a weight belongs to no layer"


@torch.no_grad()
def checksum(model: nn.Module) -> int:
    """The sum of all weights' bits as integers: independent of order, so the shards' sums add up to
    it. Collective for a sharded model."""
    total, mesh = 0, None
    for parameter in model.parameters():
        local: Tensor = parameter
        if isinstance(parameter, DTensor):
            local, mesh = parameter.to_local(), parameter.device_mesh
        if local.numel():
            kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}[local.element_size()]
            total += int(local.contiguous().view(kind).sum(dtype=torch.int64))
    if mesh is not None:
        mine = torch.tensor([_wrapped(total)], device=next(model.parameters()).device)
        dist.all_reduce(mine, group=mesh.get_group(mesh.ndim - 1))  # replicas hold the same bits
        total = int(mine.item())
    return _wrapped(total) % 2**64


def _wrapped(number: int) -> int:
    """An integer as a signed 64-bit one, since sums of tensors wrap around."""
    return (number + 2**63) % 2**64 - 2**63
