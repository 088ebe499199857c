"""Writes and reads a safetensors file one tensor at a time, computing the file's sha256.

The functions of `safetensors` hold every tensor's bytes at once: twice the memory of the state. The
format: 8 bytes with the header's length, a JSON header of dtypes, shapes and offsets, then the
tensors' bytes.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""The format's names of the dtypes that we save."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def bytes_of(tensor: Tensor) -> memoryview:
    """A tensor's bytes in order: a view if it is contiguous in host memory, else a copy."""
    flat = tensor.detach().cpu().contiguous().flatten()
    data: Any = flat.view(torch.uint8).numpy() if flat.numel() else b""
    return memoryview(data)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Write and sync a safetensors file; its length and sha256."""
    header, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for data in (len(text).to_bytes(8, "little"), text):
            file.write(data)
            digest.update(data)
        for tensor in tensors.values():
            view = bytes_of(tensor)
            file.write(view)
            digest.update(view)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": 8 + len(text) + offset, "sha256": digest.hexdigest()}


def read_tensors(path: Path, facts: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a file that `write_tensors` wrote, verified on the bytes returned.

    ValueError unless length and sha256 equal `facts`; its text continues a sentence that starts
    with the file's name.
    """
    wrong = ValueError("does not match its sha256")
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size != facts.get("bytes") or size < 8:
            raise wrong
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if length > size - 8:
            raise wrong
        text = file.read(length)
        digest.update(first)
        digest.update(text)
        try:
            tensors = _empty_tensors(json.loads(text), size - 8 - length)
        except (ValueError, KeyError, TypeError, RuntimeError, AttributeError):
            raise wrong from None
        for tensor in tensors.values():
            if tensor.numel():
                view = bytes_of(tensor)
                if file.readinto(view) != len(view):
                    raise wrong
                digest.update(view)
        if file.read(1) or digest.hexdigest() != facts.get("sha256"):
            raise wrong
    return tensors


def _empty_tensors(header: dict[str, Any], size: int) -> dict[str, Tensor]:
    """Tensors to read into, in the file's order; ValueError unless they fill `size` bytes."""
    tensors, offset = {}, 0
    for name, facts in header.items():
        dtype, shape = DTYPES[facts["dtype"]], facts["shape"]
        end = offset + math.prod(shape) * dtype.itemsize
        if facts["data_offsets"] != [offset, end] or end > size:
            raise ValueError(name)
        tensors[name] = torch.empty(shape, dtype=dtype)
        offset = end
    if offset != size:
        raise ValueError(size)
    return tensors
