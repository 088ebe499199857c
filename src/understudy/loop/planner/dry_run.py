"""The planned bytes against the trainers' own: networks are sharded without weights, on as many
ranks as planned, through `models.sharding.shard`."""

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from understudy.loop.planner.job import Layout
from understudy.loop.planner.networks import Network
from understudy.loop.planner.passes import fake_ranks
from understudy.models.policies import Policy
from understudy.models.sharding import shard


def local_bytes(network: Network, layout: Layout) -> int:
    """Bytes of the weights on the first rank once they are sharded."""
    with torch.device("meta"):
        model = network.build()
    with fake_ranks(layout.shards, layout.replicas) as mesh:
        shard(model.model if isinstance(model, Policy) else model, mesh)
        return sum(_local(weight).nbytes for weight in model.parameters())


def _local(weight: Tensor) -> Tensor:
    return weight.to_local() if isinstance(weight, DTensor) else weight
