"""Reads a network from a Hugging Face folder: whole, or only this rank's slice of each tensor.

With several ranks `transformers` builds the network without storage, `divide` shards it, and
`transformers` then reads the slices that the shards hold: no process ever has the whole network.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, PreTrainedModel
from transformers.core_model_loading import WeightConverter

from understudy.models.sharding import local_part
from understudy.models.splitting import check_split
from understudy.records.convert import many

_ASKED = (
    "prepare_distribute_model",
    "maybe_distribute_model",
    "mark_tied_weights_as_initialized",
)
"""Undocumented methods of `transformers` that `_Sliced` overrides."""
_SHOWN = 3
"""Most names that an error lists."""
_ANOTHER_SHAPE = "{} has another shape in its files than in its config.json"
Divide = Callable[[PreTrainedModel], None]
"""Shards a network that has no storage yet."""


def read_network(
    auto: Any, path: str, dtype: torch.dtype, divide: Divide | None = None
) -> PreTrainedModel:
    """The network in a folder or on the hub, as the library's class `auto` (`AutoModel`, ...)
    reads it; with `divide`, this rank's part of it, on the CPU.

    Raises what the library raises, and ValueError for files that lack weights, which the library
    would draw at random. Not collective.
    """
    options: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False}
    if divide is None:
        whole: PreTrainedModel
        whole, info = auto.from_pretrained(path, dtype=dtype, output_loading_info=True, **options)
        _refuse_lacking(info["missing_keys"])
        return whole
    for name in _ASKED:
        if not hasattr(PreTrainedModel, name):
            raise _other_library(name)
    with torch.device("meta"):
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        kind = type(auto.from_config(config, dtype=dtype, trust_remote_code=False))
    asked: set[str] = set()
    # FSDP2 subclasses this class in turn, and its name reaches users: keep the model's own.
    body = {"divide": staticmethod(divide), "asked": asked, "__module__": kind.__module__}
    sliced: Any = type(kind.__name__, (_Sliced, kind), body)
    network: PreTrainedModel = sliced.from_pretrained(
        path, dtype=dtype, distributed_config=object(), **options
    )
    if unasked := sorted(set(_ASKED) - asked):
        raise _other_library(unasked[0])
    _check_shapes(network, Path(path))
    return network


def check_divisible(path: str, mesh: DeviceMesh | None) -> None:
    """ValueError if the ranks of `mesh` cannot split the layers of the network in a folder."""
    if mesh is not None and mesh["tensor"].size() > 1:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        check_split(config, mesh["tensor"].size(), "tensor_parallel")


def _refuse_lacking(names: Collection[str]) -> None:
    if names:
        found = many(len(names), "weight")
        shown = ", ".join(sorted(names)[:_SHOWN])
        more = " and others" if len(names) > _SHOWN else ""
        raise ValueError(f"its files lack {found}: {shown}{more}; copy the whole model again")


def _other_library(name: str) -> ValueError:
    return ValueError(
        f"transformers {transformers.__version__} does not let several ranks read a model in "
        f"slices: it never calls {name}; install the version of requirements.lock"
    )


def _check_shapes(network: Any, folder: Path) -> None:
    """ValueError if a tensor has another shape in the files: the library compares only slices, and
    this rank's may match. Skipped where the library converts weights, since shapes then differ
    anyway."""
    if any(isinstance(change, WeightConverter) for change in network._weight_conversions):
        return
    prefix = f"{network.base_model_prefix}."
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    shapes |= {name.removeprefix(prefix): shape for name, shape in shapes.items()}
    shapes |= {prefix + name: shape for name, shape in shapes.items()}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 (it is no mapping)
                shape = stored.get_slice(name).get_shape()
                if shapes.get(name, shape) != shape:
                    raise ValueError(_ANOTHER_SHAPE.format(name))


class _Sliced:
    """Overrides what the library calls to distribute a network, so that `divide` shards it instead
    of the library's own plan."""

    divide: Divide
    asked: set[str]
    """Which of these methods the library has called."""
    config: Any
    all_tied_weights_keys: dict[str, str]
    get_parameter_or_buffer: Any

    @classmethod
    def prepare_distribute_model(cls, config: Any, device_map: Any = None) -> tuple[Any, Any, None]:
        """Does nothing, since the ranks have already joined."""
        cls.asked.add("prepare_distribute_model")
        return config, device_map, None

    @classmethod
    def maybe_distribute_model(cls, model: Any, config: Any, mesh: None) -> Any:
        """Tie the tied weights and shard the network, before the files are read."""
        cls.asked.add("maybe_distribute_model")
        del model.config.distributed_config
        model.tie_weights()
        cls.divide(model)
        return model

    def mark_tied_weights_as_initialized(self, loading_info: Any) -> None:
        """Refuse files that lack weights before the library draws them: drawing is collective, and
        other ranks' files may have the weights."""
        self.asked.add("mark_tied_weights_as_initialized")
        for name, *_ in loading_info.mismatched_keys:
            raise ValueError(_ANOTHER_SHAPE.format(name))
        lacking = loading_info.missing_keys - self.all_tied_weights_keys.keys()
        _refuse_lacking([name for name in lacking if isinstance(self._named(name), DTensor)])
        for name, source in self.all_tied_weights_keys.items():
            self._tie(name, source, loading_info)
        super().mark_tied_weights_as_initialized(loading_info)  # type: ignore[misc]

    def _tie(self, name: str, source: str, loading_info: Any) -> None:
        """Keep one of two tied weights that are both in the files. This compares local parts, since
        the library's own comparison is collective."""
        if name in loading_info.missing_keys or source in loading_info.missing_keys:
            return
        if not torch.equal(local_part(self._named(name)), local_part(self._named(source))):
            raise ValueError(
                f"its config.json ties {name} to {source}, but the files hold different weights; "
                "set tie_word_embeddings to false there"
            )
        loading_info.missing_keys.add(name)

    def _named(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self.get_parameter_or_buffer(name)
        return tensor
