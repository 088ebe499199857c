"""Writes and reads sharded tensors of a checkpoint: each rank writes its own shards.

The files are safetensors, `shard-00001-...` by rank 0 and so on, written and read by
`torch.distributed.checkpoint`, which reassembles them for any number of ranks: each reads the
slices that it needs. Nothing is pickled.
"""

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from understudy.training.ranks import Ranks


def write_shards(folder: Path, tensors: dict[str, Tensor], ranks: Ranks) -> dict[str, Any]:
    """Write this rank's shards, synced; length and sha256 of every rank's files, by name.

    OSError, on rank 0, if any rank could not write. All ranks must call it.
    """
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    with _errors_of_ranks():
        save(tensors, storage_writer=writer)
    facts: dict[str, Any] = {}
    with ranks.together():
        for path in folder.glob(f"shard-{ranks.rank + 1:05d}-*.safetensors"):
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                facts[path.name] = {"bytes": file.tell(), "sha256": digest}
    every = ranks.from_all(facts)
    return {name: fact for found in every for name, fact in found.items()}


def read_shards(
    folder: Path, tensors: Mapping[str, Tensor | None], ranks: Ranks
) -> dict[str, Tensor]:
    """Read named tensors from a folder's files, each into the given tensor, full or sharded, or for
    None into a new full tensor. All ranks must call it."""
    reader = HuggingFaceStorageReader(str(folder))
    known: Any = reader.read_metadata().state_dict_metadata
    found = {
        name: torch.empty(known[name].size, dtype=known[name].properties.dtype)
        if tensor is None
        else tensor.detach()
        for name, tensor in tensors.items()
    }
    with _errors_of_ranks(), warnings.catch_warnings():
        # One process loads without a process group on purpose, and the library warns about that.
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        load(found, storage_reader=reader, no_dist=ranks.world == 1)
    return found


@contextmanager
def _errors_of_ranks() -> Iterator[None]:
    """Turn the library's error, which covers all ranks, into an OSError of the first rank that
    failed."""
    try:
        yield
    except CheckpointException as error:
        rank = min(error.failures)
        reason = error.failures[rank][0]
        raise OSError(f"rank {rank}: {reason}") from None
