"""Saves a sharded model as an ordinary Hugging Face folder, without gathering all of it at once.

Each tensor is gathered from the ranks in turn; the first rank collects up to 5 GB, writes a file,
and continues.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from understudy.models.sharding import is_writer, wait_for_writer, whole_tensors

FILE_BYTES = 5_000_000_000
"""Most bytes of one file, the library's default; a larger tensor gets its own file."""


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

    Names and shapes in the files are those of the library for `model`.
    """
    parts: list[tuple[Path, list[str]]] = []
    held: dict[str, Tensor] = {}
    size = total = 0

    def flush() -> None:
        path = folder / f"part-{len(parts)}.safetensors"
        named = {k: v.contiguous() for k, v in revert_weight_conversion(model, held).items()}
        save_file(named, path, metadata={"format": "pt"})
        parts.append((path, list(named)))
        held.clear()

    for name, tensor in tensors:
        here = tensor.numel() * tensor.element_size()
        if held and size + here > limit:
            flush()
            size = 0
        held[name] = tensor.cpu()
        size, total = size + here, total + here
    flush()
    if len(parts) == 1:
        parts[0][0].rename(folder / "model.safetensors")
        return
    where: dict[str, str] = {}
    for number, (path, names) in enumerate(parts, start=1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        path.rename(folder / file)
        where |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": where}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (folder / "model.safetensors.index.json").write_text(text)
