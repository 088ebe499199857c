"""Moves what a phase of training does not need to main memory (`cpu_offload`).

Only storages move: tensors, shards and optimizer states stay the same objects, without memory while
they are away. A storage that several owners share stays while a phase needs any of them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from understudy.models.sharding import local_part

Tensors = Callable[[], Iterable[Tensor]]


@dataclass(slots=True)
class Offload:
    """The owners of tensors, and the phases that need them."""

    owners: dict[str, Tensors] = field(default_factory=dict)
    """By owner, a function that lists its current tensors."""
    phases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The owners that each phase needs; without phases nothing moves."""
    _away: dict[int, tuple[torch.UntypedStorage, Tensor]] = field(default_factory=dict)
    """Storages without memory, and buffers with their contents."""
    _buffers: dict[int, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def only(self, phase: str) -> None:
        """Bring what the phase needs, and send away what it does not."""
        if not self.phases:
            return
        needed = self._storages(self.phases[phase])
        every = self._storages(self.owners)
        for key, storage in every.items():  # first make room
            if key not in needed and key not in self._away and storage.resizable():
                self._send(key, storage)
        for key in needed.keys() & self._away.keys():
            self._bring(key)

    def _storages(self, names: Iterable[str]) -> dict[int, torch.UntypedStorage]:
        found = (
            local_part(tensor).untyped_storage()
            for name in names
            if name in self.owners
            for tensor in self.owners[name]()
        )
        # PyTorch keeps one Python object per storage.
        return {id(storage): storage for storage in found}

    def _send(self, key: int, storage: torch.UntypedStorage) -> None:
        size, on_card = storage.nbytes(), storage.device.type == "cuda"
        buffer = self._buffers.get(key)
        if buffer is None or len(buffer) != size:
            buffer = torch.empty(size, dtype=torch.uint8, pin_memory=on_card)
            self._buffers[key] = buffer
        buffer.copy_(_bytes_of(storage))
        storage.resize_(0)
        self._away[key] = storage, buffer

    def _bring(self, key: int) -> None:
        storage, buffer = self._away.pop(key)
        storage.resize_(len(buffer))
        _bytes_of(storage).copy_(buffer)


def _bytes_of(storage: torch.UntypedStorage) -> Tensor:
    """A storage's bytes, as a view."""
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)  # type: ignore[call-overload]
