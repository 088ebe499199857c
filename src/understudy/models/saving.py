"""Saves a sharded model as an ordinary Hugging Face folder, without gathering all of it at once.

Tensors are gathered from the ranks one at a time. The first rank collects a decoder layer, writes
it as a part, and continues; parts are then joined into files of up to 5 GB.
"""

import json
import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from understudy.models.sharding import is_writer, wait_for_writer, whole_tensors

FILE_BYTES = 5_000_000_000
"""Most bytes of one file; a larger tensor gets its own."""
_COPY_BYTES = 2**24
_LAYER = re.compile(r".*?\.\d+\.")
"""The part of a weight's name that names its layer."""


def save_shards(
    model: nn.Module,
    write: Callable[[Iterable[tuple[str, Tensor]]], None],
    more: Mapping[str, Tensor] | None = None,
    prefix: str = "",
) -> None:
    """Let the first rank `write` all weights of a sharded model, under `prefix`, and then `more`.
    Collective."""
    tensors = ((prefix + name, tensor) for name, tensor in whole_tensors(model))
    if is_writer(model):
        write(_then(tensors, more or {}))
    deque(tensors, maxlen=0)  # the other ranks only take part in the gathering
    wait_for_writer(model)


def _then(
    tensors: Iterable[tuple[str, Tensor]], more: Mapping[str, Tensor]
) -> Iterable[tuple[str, Tensor]]:
    yield from tensors
    yield from more.items()


def write_weights(
    folder: Path,
    tensors: Iterable[tuple[str, Tensor]],
    model: PreTrainedModel,
    limit: int = FILE_BYTES,
) -> None:
    """Write tensors to safetensors files of at most `limit` bytes, with an index if there are
    several.

    The files have the library's names and shapes for `model`. Memory holds the tensors of one
    decoder layer, or one other tensor, and the tensor that comes next.
    """
    parts: list[Path] = []
    held: dict[str, Tensor] = {}
    size, total, layer = 0, 0, None

    def flush() -> None:
        path = folder / f"part-{len(parts)}.safetensors"
        named = {k: v.contiguous() for k, v in revert_weight_conversion(model, held).items()}
        save_file(named, path, metadata={"format": "pt"})
        parts.append(path)
        held.clear()

    for name, tensor in tensors:
        found = _LAYER.match(name)
        same = found is not None and found[0] == layer  # the library may join tensors of a layer
        if held and not (same and size + tensor.nbytes <= limit):
            flush()
            size = 0
        layer = found and found[0]
        held[name] = tensor.cpu()
        size, total = size + tensor.nbytes, total + tensor.nbytes
    flush()
    files = _merged(parts, limit)
    if len(files) == 1:
        files[0][0].rename(folder / "model.safetensors")
        return
    where: dict[str, str] = {}
    for number, (path, names) in enumerate(files, start=1):
        file = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        path.rename(folder / file)
        where |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": where}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (folder / "model.safetensors.index.json").write_text(text)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor in a safetensors file."""

    name: str
    kind: str
    """Its type: F32, BF16, ..."""
    shape: list[int]
    path: Path
    start: int
    """Offset of its first byte in the file."""
    size: int
    """Its size in bytes."""


def _merged(parts: Sequence[Path], limit: int) -> list[tuple[Path, list[str]]]:
    """Join the parts, which are deleted, into files of at most `limit` bytes of numbers: (file,
    names of its tensors)."""
    groups: list[list[_Stored]] = []
    size = 0
    for part in parts:
        tensors = list(_stored(part))
        here = sum(tensor.size for tensor in tensors)
        if not groups or size + here > limit:
            groups.append([])
            size = 0
        groups[-1] += tensors
        size += here
    return [_join(group) for group in groups]


def _join(tensors: list[_Stored]) -> tuple[Path, list[str]]:
    """Join these tensors of several safetensors files into one file, copying a piece at a time."""
    parts = {tensor.path: None for tensor in tensors}
    first, names = tensors[0].path, [tensor.name for tensor in tensors]
    if len(parts) == 1:
        return first, names
    # Like the library: types of many bytes first, so that each tensor is aligned.
    tensors.sort(key=lambda one: -(one.size // max(math.prod(one.shape), 1)))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for one in tensors:
        offsets = [end, end + one.size]
        header[one.name] = {"dtype": one.kind, "shape": one.shape, "data_offsets": offsets}
        end += one.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = first.with_name(f"joined-{first.name}")
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for one in tensors:
            with one.path.open("rb") as file:
                file.seek(one.start)
                for start in range(0, one.size, _COPY_BYTES):
                    out.write(file.read(min(_COPY_BYTES, one.size - start)))
    for part in parts:
        part.unlink()
    return path, names


def _stored(path: Path) -> Iterator[_Stored]:
    """The tensors of a safetensors file: 8 bytes with the header's length, the header, the
    numbers."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    for name, one in header.items():
        start, end = one["data_offsets"]
        yield _Stored(name, one["dtype"], one["shape"], path, 8 + length + start, end - start)
