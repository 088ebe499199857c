"""The memory of one pass, from a dry run: the trainers' operations on tensors without storage.

PyTorch's fake tensors have shapes and lifetimes, but no values, so a pass of a 175B model runs in
seconds. A fake process group stands for several ranks, and training's own `shard` divides the
weights. Each layer adds the same, so a pass is run at two depths and extrapolated.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import ref

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from understudy.engines.replica import as_copy
from understudy.loop.planner.networks import Network
from understudy.models.compute import checkpoint_activations, round_products
from understudy.models.cpu.applies import applies
from understudy.models.cpu.direct import DirectPass, Rows
from understudy.models.dropout import set_dropout
from understudy.models.ops import chunk_rows, chunked_logprobs
from understudy.models.policies import Policy
from understudy.models.scalar import ScalarModel
from understudy.models.sharding import compute, shard


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """The shape of a pass, and how it is computed."""

    rows: int
    """Rows of tokens."""
    length: int
    """Tokens in each row."""
    reads: int
    """Tokens at the end of each row that go through the head."""
    masked: bool = False
    """Whether attention gets an explicit mask: rankings that share a prompt."""
    keeps: str = "sum"
    """"sum" adds to existing gradients, "none" computes none."""
    frozen: bool = False
    """Whether the weights are never trained."""
    shards: int = 1
    """Ranks over which the weights are divided."""
    tensor: int = 1
    """Ranks that split each layer."""
    copy: int = 0
    """Ranks that share the rollout copy that computes the pass; 0: the sharded network does."""
    device: str = "cuda"
    """"cuda" or "cpu"."""
    bf16: bool = False
    """Compute in bf16."""
    rounded: bool = False
    """Whether the layers' matrices are stored in bf16."""
    checkpointing: bool = False
    """Recompute activations."""
    dropout: float = 0.0
    """Residual dropout."""


class Live(TorchDispatchMode):
    """The bytes of all live tensors that operations have made."""

    def __init__(self) -> None:
        super().__init__()
        self._storages: dict[int, tuple[Any, int]] = {}
        self.peak = 0

    def bytes(self) -> int:
        """Live bytes now, from current sizes: a storage may have been emptied but not freed."""
        found = [(key, known, known[0]()) for key, known in self._storages.items()]
        self._storages = {key: known for key, known, storage in found if storage is not None}
        return sum(storage.nbytes() for _, _, storage in found if storage is not None)

    def add(self, value: Any) -> bool:
        """Count a tensor; returns whether its storage is new or has changed its size."""
        if not isinstance(value, Tensor):
            return False
        local = value.to_local() if isinstance(value, DTensor) else value
        storage = local.untyped_storage()
        key, size = id(storage), storage.nbytes()  # PyTorch keeps one Python object per storage
        known = self._storages.get(key, (None, 0))
        self._storages[key] = ref(storage), size
        return known[0] is None or known[0]() is None or known[1] != size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count its results."""
        result = func(*args, **(kwargs or {}))
        changed = [self.add(value) for value in tree_leaves(result)]
        if any(changed):
            self.peak = max(self.peak, self.bytes())
        return result


@contextmanager
def fake_ranks(shards: int, replicas: int = 1, tensor: int = 1) -> Iterator[DeviceMesh | None]:
    """A mesh of ranks that do not exist, seen from rank 0; None for a single one."""
    world = shards * replicas * tensor
    if world == 1:
        yield None
        return
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=world)
    try:
        names = ("replicate", "shard", "tensor")
        yield init_device_mesh("cpu", (replicas, shards, tensor), mesh_dim_names=names)
    finally:
        dist.destroy_process_group()


def local_bytes(
    network: Network, shards: int, replicas: int = 1, tensor: int = 1, rounded: bool = False
) -> int:
    """Bytes of the weights on the first rank, to check the planned ones: sharded as the trainers
    do, without storage, and with `rounded` in bf16 like the trainers' frozen weights."""
    with torch.device("meta"):
        model = network.build()
    with fake_ranks(shards, replicas, tensor) as mesh:
        shard(_root(model), mesh)
        if rounded:
            round_products(model)
        here = (w.to_local() if isinstance(w, DTensor) else w for w in model.parameters())
        return sum(weight.nbytes for weight in here)


def _root(model: Policy | ScalarModel) -> nn.Module:
    """The module that the trainers shard."""
    return model.model if isinstance(model, Policy) else model


@lru_cache(maxsize=256)
def pass_bytes(network: Network, one: Pass) -> int:
    """Peak bytes that a pass adds to what is held before it: activations, gathered layers and
    temporary tensors.

    The peak is either where activations are largest or after the backward pass of the layers,
    when the embedding's gradient is made. Both grow linearly with the number of layers, from the
    first layer on, or from the third if layers are gathered.
    """
    low = 1 if one.shards * one.tensor == 1 else 3
    if network.layers <= low:
        return max(_run(network, one, network.layers))
    few, more = _run(network, one, low), _run(network, one, low + 1)
    rest = network.layers - low
    return max(a + rest * (b - a) for a, b in zip(few, more, strict=True))


def _run(network: Network, one: Pass, layers: int) -> tuple[int, int]:
    """The peaks of a network of `layers` layers: (before the embedding's gradient, from it on)."""
    lengths = torch.ones(one.rows, one.length)
    places = torch.arange(one.length).expand(one.rows, -1)
    full = [one.length] * one.rows
    direct_rows = Rows.masked(places, full) if one.masked else Rows.padded(lengths)
    with torch.device("meta"):  # adapters cannot be added to fake tensors
        model = network.build(layers)
        if one.rounded:
            round_products(model)
    root = _root(model)
    with fake_ranks(max(one.shards, one.copy), tensor=one.tensor) as mesh, ExitStack() as stack:
        if one.copy:
            group = None if mesh is None else dist.group.WORLD
            as_copy(root, network.config.model_type, group, one.bf16)
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        root.to_empty(device="cpu")
        (model.model if isinstance(model, Policy) else model.trunk).tie_weights()
        _prepare(model, one, None if one.copy else mesh)
        live, early = Live(), [0]
        embeddings = model.trunk.get_input_embeddings()
        embeddings.register_forward_hook(_note_end(live, early))
        for held in (*root.parameters(), *root.buffers()):
            live.add(held.detach())
            live.add(held.grad)
        before = live.bytes()
        with live, nullcontext() if one.keeps != "none" else torch.no_grad():
            loss = compute(root, _loss, model, one, direct_rows)
            if one.keeps == "sum":
                loss.backward()
    return max(early[0], 0 if early[0] else live.peak) - before, live.peak - before


def _prepare(model: Policy | ScalarModel, one: Pass, mesh: DeviceMesh | None) -> None:
    """Make a network ready for a pass, as the trainers do."""
    model.bf16 = one.bf16
    set_dropout(model, one.dropout)
    model.train(one.dropout > 0)
    if one.frozen:
        model.requires_grad_(False)
    if one.checkpointing:
        checkpoint_activations(model)
    # Joining two mesh dimensions reads values, which fake tensors lack.
    with unset_fake_temporarily() if one.tensor > 1 else nullcontext():
        shard(_root(model), mesh)
    for weight in model.parameters() if one.keeps == "sum" else ():
        weight.grad = torch.zeros_like(weight) if weight.requires_grad else None


def _note_end(live: Live, early: list[int]) -> Callable[..., None]:
    """A hook that saves the peak when the gradient reaches the embeddings, then resets it."""

    def reached(gradient: Tensor) -> None:
        early[0], live.peak = live.peak, 0

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(reached)

    return hook


def _loss(model: Policy | ScalarModel, one: Pass, direct_rows: Rows) -> Tensor:
    """A loss with the trainers' operations, that reads no tensor's values."""
    ids_BT = torch.zeros(one.rows, one.length, dtype=torch.long)
    row_N = torch.arange(one.rows).repeat_interleave(one.reads)
    column_N = torch.arange(one.length - one.reads, one.length).repeat(one.rows)
    mask = torch.zeros(one.rows, 1, one.length, one.length) if one.masked else None
    trunk = model.trunk
    if one.device == "cpu" and not one.bf16 and applies(trunk, one.length):
        read_N = row_N * one.length + column_N
        hidden_ND = DirectPass(trunk)(direct_rows, ids_BT, read_N, mask)
    else:
        inputs: dict[str, Any] = {"input_ids": ids_BT, "use_cache": False}
        if mask is not None:
            inputs["position_ids"] = torch.zeros_like(ids_BT)
        with model.autocast():
            hidden_BTD = trunk(attention_mask=mask, **inputs).last_hidden_state
        hidden_ND = (hidden_BTD.bfloat16() if one.bf16 else hidden_BTD)[row_N, column_N]
    if isinstance(model, ScalarModel):
        return model.read(hidden_ND).sum()
    head, labels_N = model.head, ids_BT[row_N, column_N]
    logprobs_N, _ = chunked_logprobs(
        hidden_ND,
        head.weight_VD,
        labels_N,
        chunk=chunk_rows(head.weight_VD.shape[0], one.device),
        bias=head.bias_V,
        softcap=head.softcap,
    )
    return logprobs_N.sum()
