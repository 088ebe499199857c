"""Copies of a sharded policy for rollouts: a whole copy on each rank, or one that several ranks
hold together, each with a part of every layer.

Sampling straight from the shards would gather the whole model for every token, and ranks whose
responses differ in length would deadlock. The copy receives the policy's weights before each
rollout, a layer at a time, and gives up its memory afterwards. Sampling uses the same engine as one
process does; ranks that share a copy draw the same tokens and exchange only activations.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM

from understudy.engines.engine import Draw
from understudy.engines.generation import generate
from understudy.models.compute import round_products
from understudy.models.policies import Policy
from understudy.models.sharding import compute, is_sharded
from understudy.models.splitting import split, split_weights
from understudy.models.trunk import device_of

Groups = tuple[dist.ProcessGroup, ...]

PARITY = 1e-4
"""Largest allowed difference between the copy's and the policy's log-probs of a few tokens."""
SPLIT_BF16_PARITY = 0.2
"""The same in bf16 where ranks share a copy, since partial sums are rounded."""


class Replica:
    """An engine on an unsharded copy of the policy, or on the policy itself if it is not
    sharded."""

    exact = True
    context: int | None = None

    def __init__(self, policy: Policy, group: dist.ProcessGroup | None = None) -> None:
        """`group` are the ranks that share a copy; None for a whole one."""
        self.model = unsharded(policy, group) if is_sharded(policy) else policy
        self.version = 0
        """Number of calls of `synced`."""
        self.ranks = 1 if group is None else group.size()
        """Ranks that share a copy."""

    @contextmanager
    def synced(self, policy: Policy, ids_BT: Tensor, mask_BT: Tensor) -> Iterator[Policy]:
        """The policy to sample from, with the current weights; a copy's memory is freed after the
        block. Collective.

        RuntimeError, on all ranks, if a copy's weights differ from the shards in any bit, or its
        log-probs of the given tokens differ from the policy's.
        """
        self.version += 1
        if self.model is policy:
            yield policy
            return
        hold(self.model)
        self._sync(policy, ids_BT, mask_BT)
        yield self.model
        release(self.model)

    @contextmanager
    def drawing(self, policy: Policy, ids_BT: Tensor, mask_BT: Tensor) -> Iterator[Draw]:
        """`generation.generate` on the policy of `synced`."""
        with self.synced(policy, ids_BT, mask_BT) as model:
            yield partial(generate, model)

    @torch.no_grad()
    def _sync(self, policy: Policy, ids_BT: Tensor, mask_BT: Tensor) -> None:
        copy_weights(policy.model, self.model.model)
        kinds = {name: weight.dtype for name, weight in self.model.named_parameters()}
        found, expected = checksum(self.model), checksum(policy, kinds)
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
        if not float(worst) < (SPLIT_BF16_PARITY if policy.bf16 and self.ranks > 1 else PARITY):
            raise RuntimeError(
                f"version {self.version} of the rollout weights gives log-probs that are "
                f"{float(worst):.2g} from the policy's; nothing was sampled"
            )


def unsharded(policy: Policy, group: dist.ProcessGroup | None = None) -> Policy:
    """A frozen, unsharded policy for the weights of a sharded one, which it does not have yet, nor
    memory for them: whole, or this rank's part of a copy that `group` shares."""
    model, config = policy.model, copy.deepcopy(policy.config)
    with torch.device("meta"):
        whole = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    as_copy(whole, config.model_type, group, policy.bf16)
    for module in whole.modules():
        module.to_empty(device=device_of(policy), recurse=False)
        release(module)
    whole.tie_weights()  # `to_empty` gave each name storage of its own
    buffers = dict(model.named_buffers())
    for name, buffer in whole.named_buffers():
        buffer.copy_(buffers[name])
    found = Policy(whole.requires_grad_(False).eval(), policy.stop_ids)
    found.bf16 = policy.bf16
    return found


def as_copy(model: nn.Module, model_type: str, group: dist.ProcessGroup | None, bf16: bool) -> None:
    """Turn a network without storage into a rollout copy, or this rank's part of one.

    With bf16 the layers' linear maps hold rounded weights, as a pass multiplies with them.
    """
    if group is not None:
        split(model, model_type, group)
    if bf16:
        round_products(model)


def hold(model: nn.Module) -> None:
    """Allocate memory for a copy's weights, uninitialised."""
    for weight in model.parameters():
        weight.untyped_storage().resize_(weight.nbytes)


def release(model: nn.Module) -> None:
    """Free the memory of a copy's weights."""
    for weight in model.parameters():
        weight.untyped_storage().resize_(0)


@torch.no_grad()
def copy_weights(policy: nn.Module, replica: nn.Module) -> None:
    """Copy the shards' weights into an unsharded model, one layer at a time. Collective."""
    target, done = dict(replica.named_parameters()), set()
    parts = {full: (module, name) for full, module, name in split_weights(replica)}
    for prefix, module in policy.named_modules():
        if not isinstance(module, FSDPModule):
            continue
        unit: Any = module
        unit.unshard()
        for name, parameter in unit.named_parameters():
            key = f"{prefix}.{name}".lstrip(".")
            if key in done or (isinstance(parameter, DTensor) and not _is_gathered(parameter)):
                continue
            owner, own = parts.get(key, (None, ""))
            if isinstance(parameter, DTensor):  # already this rank's part
                target[key].copy_(parameter.to_local())
            else:
                target[key].copy_(parameter if owner is None else owner.part(own, parameter))
            done.add(key)
        unit.reshard()
    assert done == set(target), "a weight belongs to no layer"


def _is_gathered(weight: DTensor) -> bool:
    """Whether a weight is gathered as far as it can be: only split over the ranks of its layer."""
    return weight.device_mesh.mesh_dim_names == ("tensor",)


@torch.no_grad()
def checksum(policy: Policy, kinds: Mapping[str, torch.dtype] | None = None) -> int:
    """The sum of all weights' bits as integers. It does not depend on order, so the sums of the
    parts add up to it. `kinds` are the types to round weights to, by name. Collective for a sharded
    or split policy."""
    sums: dict[Groups, int] = {}
    parts: dict[str, Groups] = {
        name: (module.group,) for name, module, _ in split_weights(policy.model)
    }
    for name, parameter in policy.named_parameters():
        groups, local = parts.get(name, ()), parameter.detach()
        if isinstance(parameter, DTensor):
            mesh, local = parameter.device_mesh, parameter.to_local()
            dims = [dim for dim in mesh.mesh_dim_names or () if dim != "replicate"]
            groups = tuple(mesh.get_group(dim) for dim in dims)
        local = local if kinds is None else local.to(kinds[name])
        sums[groups] = sums.get(groups, 0) + _bits(local)
    whole = 0
    for groups, mine in sums.items():
        total = torch.tensor([_wrapped(mine)], device=device_of(policy))
        for group in groups:
            dist.all_reduce(total, group=group)
        whole += int(total.item())
    return _wrapped(whole) % 2**64


def _bits(tensor: Tensor) -> int:
    if not tensor.numel():
        return 0
    kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return int(tensor.contiguous().view(kind).sum(dtype=torch.int64))


def _wrapped(number: int) -> int:
    """An integer as a signed 64-bit one, since sums of tensors wrap around."""
    return (number + 2**63) % 2**64 - 2**63
