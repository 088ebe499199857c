"""The processes that train one model together: their ranks, their work, their communication.

`torchrun` (or `understudy launch`) starts the same command on every card. All ranks read the same
data and plan the same passes; each computes its share of them (`deal`), and sums over the ranks
give the whole batch's results. A single process needs no process group: for `ALONE`, every
operation is the identity.

Ranks exchange numbers and text, never pickled objects.
"""

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

T = TypeVar("T")

TIMEOUT = timedelta(hours=2)
"""How long a rank waits for the others: longer than the longest responses take to sample."""
FIRST_RANKS_HEAD_START = timedelta(seconds=5)
"""How long a rank that found a mistake waits for rank 0 to report the same."""
LEAST_TORCH = (2, 13)
"""The oldest PyTorch on which several processes have been tested."""
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Share:
    """A pass that a rank computes."""

    number: int
    """Its index in the plan that all ranks share."""
    counts: bool
    """False for an idle pass, computed only to keep the ranks in step, and then discarded."""

    @property
    def weight(self) -> float:
        """The factor on its loss."""
        return float(self.counts)


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """The processes of a run, seen from one of them."""

    rank: int = 0
    """Number of this process, from 0."""
    world: int = 1
    """Number of processes."""
    tensor: int = 1
    """Number of processes that split each layer; they take the same passes."""
    mesh: DeviceMesh | None = None
    """(replicate, shard, tensor); None for a single process."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes the logs and prints to the user."""
        return self.rank == 0

    @property
    def data_rank(self) -> int:
        """Index of this process's share of the passes."""
        return self.rank // self.tensor

    @property
    def data_world(self) -> int:
        """Number of shares."""
        return self.world // self.tensor

    def deal(self, num_passes: int) -> Iterator[Share]:
        """This rank's passes of `num_passes`: every `data_world`-th, starting at its data rank.

        Plans are sorted by length, so the ranks' passes are about equally long. Every rank gets
        equally many; the last pass may be idle. A pass is collective, and a rank that ran one fewer
        would leave the others waiting.
        """
        for start in range(0, num_passes, self.data_world):
            number = start + self.data_rank
            yield Share(min(number, num_passes - 1), counts=number < num_passes)

    def budget(self, lengths: Sequence[int], tokens: int) -> int:
        """Tokens per pass: at most `tokens`, and few enough that rows of these lengths give each
        data rank a pass."""
        if self.data_world == 1 or not lengths:
            return tokens
        share = -(-sum(lengths) // self.data_world)
        return min(tokens, max(share, *lengths))

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the data ranks, in fp64."""
        return self._reduced(values, dist.ReduceOp.SUM, 0.0)

    def sums(self, values: Mapping[str, float]) -> dict[str, float]:
        """`sum` of named values; every rank gives the same names in the same order."""
        return dict(zip(values, self.sum(list(values.values())), strict=True))

    def max(self, values: Sequence[float]) -> list[float]:
        """The largest of each value over the data ranks."""
        return self._reduced(values, dist.ReduceOp.MAX, -float("inf"))

    def agree(self, flag: bool) -> bool:
        """Whether `flag` is true on any rank; the same result on all."""
        if self.world == 1:
            return flag
        wanted = torch.tensor([int(flag)], device=self.device)
        dist.all_reduce(wanted, dist.ReduceOp.MAX)
        return bool(wanted.item())

    def sum_tensor(self, x: Tensor) -> Tensor:
        """`x` summed over the data ranks, in place; exact where at most one rank has a value."""
        if self.world > 1:
            if self.rank % self.tensor:
                x.zero_()
            dist.all_reduce(x)
        return x

    def max_tensor(self, x: Tensor) -> Tensor:
        """The largest `x` of the data ranks, in place."""
        if self.world > 1:
            dist.all_reduce(x, dist.ReduceOp.MAX)
        return x

    def gather_rows(self, rows: Sequence[Sequence[int]]) -> list[list[list[int]]]:
        """Every rank's rows of integers, in rank order; rows may differ in number and length.

        They are sent as one tensor, preceded by their lengths and padded with -1.
        """
        if self.world == 1:
            return [[list(row) for row in rows]]
        shape = [len(rows), max((len(row) for row in rows), default=0)]
        most = [int(n) for n in self._reduced([float(n) for n in shape], dist.ReduceOp.MAX, 0.0)]
        mine = torch.full((most[0], most[1] + 1), -1, dtype=torch.long)
        for index, row in enumerate(rows):
            mine[index, 0] = len(row)
            mine[index, 1 : 1 + len(row)] = torch.as_tensor(row, dtype=torch.long)
        every = [torch.empty_like(mine, device=self.device) for _ in range(self.world)]
        dist.all_gather(every, mine.to(self.device))
        return [[row[1 : 1 + row[0]] for row in table.tolist() if row[0] >= 0] for table in every]

    def check_groups(self, size: int, setting: str) -> None:
        """ValueError if the ranks do not divide into groups of `size`."""
        if self.world == 1 < size:
            raise ValueError(
                f"{setting} is {size}, which needs as many processes; start them with: understudy "
                f"launch --cards {size} -- ..."
            )
        if self.world % size:
            raise ValueError(
                f"{setting} is {size}, which does not divide the {self.world} processes; choose a "
                "divisor"
            )

    def group(self, size: int) -> dist.ProcessGroup | None:
        """The group of `size` neighbouring ranks that includes this one; None for size 1.
        Collective."""
        return dist.new_subgroups(size)[0] if size > 1 else None

    def from_all(self, value: Any) -> list[Any]:
        """JSON data of every rank, in rank order, on all ranks."""
        if self.world == 1:
            return [value]
        text = json.dumps(value).encode()
        size = torch.tensor([len(text)], device=self.device)
        dist.all_reduce(size, dist.ReduceOp.MAX)
        mine = torch.full((int(size.item()),), ord(" "), dtype=torch.uint8)
        mine[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        every = [torch.empty_like(mine, device=self.device) for _ in range(self.world)]
        dist.all_gather(every, mine.to(self.device))
        return [json.loads(bytes(data.cpu().numpy())) for data in every]

    def from_rank(self, source: int, value: Any) -> Any:
        """JSON data of rank `source`, on all ranks."""
        if self.world == 1:
            return value
        text = json.dumps(value).encode() if self.rank == source else b""
        size = torch.tensor([len(text)], device=self.device)
        dist.broadcast(size, source)
        data = torch.zeros(int(size.item()), dtype=torch.uint8)
        if self.rank == source:
            data = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        data = data.to(self.device)
        dist.broadcast(data, source)
        return json.loads(bytes(data.cpu().numpy()))

    def on_first(self, work: Callable[[], T]) -> T | None:
        """The result of `work` on rank 0, None on the others, once rank 0 is done; an error in it
        ends all ranks."""
        result = None
        with self.together():
            if self.is_first:
                result = work()
        return result

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that ends on all ranks if it fails on one.

        Rank 0 then raises the error of the lowest rank that failed, so that it appears once; the
        others exit with its code. Notes appear once too: the others' standard error is closed
        meanwhile. The block must not contain collective operations.
        """
        if self.world == 1:
            yield
            return
        failure: Exception | SystemExit | None = None
        try:
            with nullcontext() if self.is_first else redirect_stderr(io.StringIO()):
                yield
        except (Exception, SystemExit) as error:
            failure = error
        failed = self.rank if failure is not None else self.world
        lowest = torch.tensor([failed], device=self.device)
        dist.all_reduce(lowest, dist.ReduceOp.MIN)
        source = int(lowest.item())
        if source == self.world:
            return
        code, message = self.from_rank(source, _code_and_message(failure))
        if self.rank == 0 and failure is not None:
            raise failure
        if self.rank == 0:
            kind = ValueError if code == 2 else OSError
            raise kind(f"rank {source}: {message}")
        raise SystemExit(code)

    def wait(self) -> None:
        """Wait for all ranks."""
        if self.world > 1:
            dist.barrier()

    @property
    def device(self) -> torch.device:
        """The device of tensors that the ranks exchange."""
        if self.world > 1 and dist.get_backend() == "nccl":
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("cpu")

    def _reduced(self, values: Sequence[float], how: Any, neutral: float) -> list[float]:
        if self.world == 1:
            return list(values)
        mine = list(values) if self.rank % self.tensor == 0 else [neutral] * len(values)
        found = torch.tensor(mine, dtype=torch.float64, device=self.device)
        dist.all_reduce(found, how)
        return found.tolist()


ALONE = Ranks()
"""A single process."""


def _code_and_message(error: BaseException | None) -> tuple[int, str]:
    if isinstance(error, SystemExit):
        return (error.code if isinstance(error.code, int) else 1), str(error.code)
    if isinstance(error, ValueError):
        return 2, str(error)
    return 1, f"{type(error).__name__}: {error}"


def world_size() -> int:
    """The number of processes according to the environment; 1 outside torchrun."""
    return _number("WORLD_SIZE") if "WORLD_SIZE" in os.environ else 1


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    if not text.isdecimal():
        raise ValueError(
            f"the environment has WORLD_SIZE but {name} is {text!r}; start several processes with "
            "`understudy launch` or torchrun"
        )
    return int(text)


def join_ranks(replicas: int = 1, tensor: int = 1) -> Ranks:
    """The ranks that torchrun started; `ALONE` for a single process.

    Each of `replicas` groups of ranks holds all weights; within a group `tensor` ranks split each
    layer, and weights are sharded over the rest. ValueError if these do not divide the number of
    processes.
    """
    world = world_size()
    if world == 1:
        if replicas * tensor > 1:
            raise ValueError(
                f"replicas {replicas} x tensor_parallel {tensor} need as many processes; start "
                f"them with: understudy launch --cards {replicas * tensor} -- ..."
            )
        return ALONE
    for name in _VARIABLES:
        if name not in os.environ:
            _number(name)
    rank, local = _number("RANK"), _number("LOCAL_RANK")
    if world % (replicas * tensor):
        raise ValueError(
            f"{world} processes cannot be laid out as replicas {replicas} x tensor_parallel "
            f"{tensor} x shards; their product must divide the number of processes"
        )
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < LEAST_TORCH:
        raise ValueError(
            f"several processes need PyTorch {LEAST_TORCH[0]}.{LEAST_TORCH[1]} or later; this is "
            f"{torch.__version__}"
        )
    cuda = torch.cuda.is_available()
    if cuda:
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"this machine has {torch.cuda.device_count()} cards, too few for its process "
                f"{local} (from 0); start at most one process per card"
            )
        torch.cuda.set_device(local)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo", timeout=TIMEOUT)
    mesh = init_device_mesh(
        "cuda" if cuda else "cpu",
        (replicas, world // (replicas * tensor), tensor),
        mesh_dim_names=("replicate", "shard", "tensor"),
    )
    return Ranks(rank, world, tensor, mesh)


def is_first_to_fail(message: str) -> bool:
    """Whether this rank is the first to fail, according to torchrun's own store: later errors are
    mostly lost connections, or the same error again.

    The other ranks give rank 0 a few seconds, since most mistakes affect every rank.
    """
    rank = os.environ.get("RANK", "0")
    mine = f"{rank}: {message}"
    key = f"understudy/failed/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    try:
        store = TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=10),
        )
        if rank != "0":
            with suppress(RuntimeError):  # rank 0 reported no mistake
                store.wait([key], FIRST_RANKS_HEAD_START)
        return store.compare_set(key, "", mine).decode() == mine
    except (RuntimeError, KeyError, ValueError):  # the store ended with rank 0
        return True


def leave_ranks() -> None:
    """Close the process group, if any; PyTorch warns at exit if it is open."""
    if dist.is_initialized():
        dist.destroy_process_group()
