"""Policies: load, save and log-probabilities, for any causal language model of `transformers`.

Shapes: B sequences, T tokens, D hidden size, V vocabulary, N selected positions. Masks are 1 at
real tokens. The head of a language model is always applied to selected positions only (see
`ops.chunked_logprobs`).
"""

import json
import os
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
import transformers
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
)
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.chat import add_stop_ids, stop_ids
from understudy.models.chat_format import format_of
from understudy.models.loading import check_divisible, read_network
from understudy.models.lora import has_adapter, merged_weights, write_adapter
from understudy.models.ops import chunked_logprobs
from understudy.models.saving import save_shards, write_weights
from understudy.models.sharding import class_name, compute, is_sharded, local_part, shard
from understudy.models.trunk import TrunkModel, device_of
from understudy.records.convert import many

LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
"""Errors that the library raises for an invalid folder."""
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SCALAR_HEAD = "scalar_head.safetensors"
"""The head's file in a reward model's folder."""
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")


def load_policy(
    path: Path | str, dtype: torch.dtype = torch.float32, mesh: DeviceMesh | None = None
) -> tuple["Policy", Tokenizer]:
    """(policy in eval mode, tokenizer) from a folder or hub name; ValueError says what is missing.

    Remote code is never run. The vocabulary does not change: padding needs no token of its own. The
    model's generation config gets all of the tokenizer's `stop_ids`, so that other programs stop at
    the same tokens.

    With `mesh` the policy is sharded, and each rank reads its slices of the files. Reading is not
    collective; afterwards all ranks must call `check_computes`, which is.
    """
    path = check_language_model(path)
    tokenizer = load_tokenizer(path)
    check_weights(path)
    check_divisible(path, mesh)
    with quiet_library():
        try:
            divide = None if mesh is None else partial(shard, mesh=mesh)
            model = read_network(AutoModelForCausalLM, path, dtype, divide)
        except Exception as error:  # the library raises many types for a broken config
            raise ValueError(
                f"{path} cannot be loaded as a causal language model: {one_line(error)}"
            ) from None
    check_rows(path, model, tokenizer)
    check_finite(path, model)
    if model.generation_config is not None:
        add_stop_ids(tokenizer, model.generation_config.eos_token_id)
        stops = sorted(stop_ids(tokenizer))
        model.generation_config.eos_token_id = stops if len(stops) > 1 else stops[0]
    policy = Policy(model.eval(), stop_ids(tokenizer))
    if mesh is None:
        check_computes(path, policy)
    return policy, tokenizer


def without_weights(path: Path | str) -> tuple["Policy", Tokenizer]:
    """Like `load_policy`, without the weights: for shapes, stop tokens and context."""
    path = check_language_model(path)
    tokenizer = load_tokenizer(path)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path))
    except Exception as error:  # the library raises many types for a broken config
        raise ValueError(
            f"{path} cannot be loaded as a causal language model: {one_line(error)}"
        ) from None
    settings = model.generation_config
    with suppress(OSError):  # a folder may have none
        settings = GenerationConfig.from_pretrained(path)
    if settings is not None:
        add_stop_ids(tokenizer, settings.eos_token_id)
    return Policy(model.eval(), stop_ids(tokenizer)), tokenizer


def check_computes(path: Path | str, policy: "Policy") -> None:
    """ValueError if the policy in `path` cannot compute, or if `check_head` refuses it. Collective
    for a sharded policy, which must be on its device."""
    try:
        with torch.no_grad():
            compute(policy.model, check_head, policy)
    except (TypeError, RuntimeError, ArithmeticError, LookupError, AttributeError) as error:
        raise ValueError(f"{path} cannot compute: {one_line(error)}") from None


def load_tokenizer(path: Path | str) -> Tokenizer:
    """The tokenizer of a model folder, with a chat template; notes on the template go to standard
    error, once."""
    path = check_folder(path)
    folder = Path(path)
    if folder.is_dir() and not any((folder / name).exists() for name in _TOKENIZER_FILES):
        raise ValueError(
            f"{path} has no tokenizer (tokenizer.json); add the model's own with "
            "tokenizer.save_pretrained(folder)"
        )
    try:
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    except Exception as error:  # the library raises many types for a broken file
        raise ValueError(f"{path}: the tokenizer cannot be read: {one_line(error)}") from None
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"{path}: the tokenizer has no end-of-sequence token, so responses could never end; "
            "set eos_token in tokenizer_config.json"
        )
    try:
        notes = format_of(tokenizer).notes
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if notes:
        say_once(f"the chat template of {path} " + "; it ".join(notes))
    return tokenizer


@cache
def say_once(note: str) -> None:
    """Print a note on standard error, once per process."""
    print(f"understudy: note: {note}", file=sys.stderr, flush=True)


def save_policy(policy: "Policy", tokenizer: Tokenizer, folder: Path | str) -> Path:
    """Save in Hugging Face format (safetensors) so that the folder appears whole or not at all.

    A LoRA adapter is merged into the saved model, and also saved by itself in `adapter` beside the
    folder. All ranks must call it for a sharded model; the first one writes.
    """
    model = policy.model
    if is_sharded(model):
        save_shards(model, lambda tensors: _write_sharded(model, tokenizer, folder, tensors))
        return Path(folder)
    with atomic_folder(folder) as partial, quiet_library():
        weights = merged_weights(model) if has_adapter(model) else None
        model.save_pretrained(partial, state_dict=weights)
        tokenizer.save_pretrained(partial)
    save_adapter(model, folder)
    return Path(folder)


def _write_sharded(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    folder: Path | str,
    tensors: Iterable[tuple[str, Tensor]],
) -> None:
    with atomic_folder(folder) as partial, quiet_library():
        model.save_pretrained(partial, state_dict={})  # everything except the weights
        name_architecture(partial / "config.json", class_name(model))
        tokenizer.save_pretrained(partial)
        write_weights(partial, tensors, model)


def name_architecture(path: Path, name: str) -> None:
    """Set the architecture in a config.json, so that other programs load the right class."""
    row = json.loads(path.read_text())
    row["architectures"] = [name]
    path.write_text(json.dumps(row, indent=2, sort_keys=True) + "\n")


def save_adapter(model: PreTrainedModel, folder: Path | str) -> None:
    """Write the model's adapter, if it has one, to `adapter` beside its saved model `folder`."""
    if has_adapter(model):
        with atomic_folder(Path(folder).with_name("adapter")) as partial:
            write_adapter(model, partial)


@contextmanager
def atomic_folder(folder: Path | str) -> Iterator[Path]:
    """A fresh folder beside `folder` that replaces it if the block succeeds."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid4().hex[:12]
    partial, old = (
        folder.with_name(f".{folder.name}.{mark}.tmp"),
        folder.with_name(f".{folder.name}.{mark}.old"),
    )
    partial.mkdir()
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    except SafetensorError as error:  # raised when the disk is full
        raise OSError(f"{folder} cannot be written: {one_line(error)}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Head:
    """The map from the trunk's hidden states to logits: softcap(scale * (hidden @ weight.T +
    bias))."""

    weight_VD: Tensor
    """Unembedding."""
    bias_V: Tensor | None
    """Bias, where the architecture has one."""
    scale: float
    """Constant factor on the logits (Cohere, Granite), else 1."""
    softcap: float | None
    """Soft cap of the logits (Gemma 2), else None."""


class Policy(TrunkModel):
    """A causal language model of the library: its trunk, its head, its precision and the tokens
    that end a response.

    Its weights keep the library's names, in `state_dict` and everywhere else.
    """

    def __init__(self, model: PreTrainedModel, stop_ids: Collection[int] = ()) -> None:
        super().__init__()
        self.model = model
        """The library's model."""
        self.stop_ids = frozenset(stop_ids)
        """Ids of the tokens that end a response."""
        self.train(model.training)

    @property
    def trunk(self) -> PreTrainedModel:  # type: ignore[override]
        """The model without its head."""
        trunk: PreTrainedModel = self.model.base_model
        return trunk

    @property
    def config(self) -> Any:
        """The library's config."""
        return self.model.config

    @property
    def head(self) -> Head:
        """The language-model head, with its current weights."""
        output: Any = self.model.get_output_embeddings()
        config = self.config
        scale = float(getattr(config, "logit_scale", None) or 1.0)
        scale /= float(getattr(config, "logits_scaling", None) or 1.0)
        softcap = getattr(config, "final_logit_softcapping", None)
        return Head(output.weight, getattr(output, "bias", None), scale, softcap)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The library's forward pass."""
        return self.model(*args, **kwargs)

    def logprobs_at(
        self,
        input_ids_BT: Tensor,
        attention_mask_BT: Tensor,
        row_N: Tensor,
        column_N: Tensor,
        labels_N: Tensor,
        temperature: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """(logprobs_N, entropy_N) in fp32 of each label under the prediction at its row and column.
        The head runs only there, in chunks."""
        hidden_ND = self.hidden_at(input_ids_BT, attention_mask_BT, row_N, column_N)
        head = self.head
        if head.softcap is None:
            temperature = temperature / head.scale
        else:
            assert head.scale == 1.0, "no architecture has both a scale and a cap"
        return chunked_logprobs(
            hidden_ND, head.weight_VD, labels_N, temperature, bias=head.bias_V, softcap=head.softcap
        )

    def logprobs(
        self,
        input_ids_BT: Tensor,
        attention_mask_BT: Tensor,
        temperature: float = 1.0,
        at_BT: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(logprobs_BT, entropy_BT) in fp32: column t is for predicting token t from those before
        it.

        0 at t = 0, at padding, and where `at` (for example the response tokens) is 0: the head does
        not run there.
        """
        wanted_BT = attention_mask_BT.bool() if at_BT is None else at_BT.bool()
        # The previous token must be real too: the first token of a left-padded row has no
        # prediction.
        wanted_BT = wanted_BT[:, 1:] & attention_mask_BT[:, :-1].bool()
        row_N, column_N = wanted_BT.nonzero(as_tuple=True)
        labels_N = input_ids_BT[:, 1:][wanted_BT]
        logprobs_N, entropy_N = self.logprobs_at(
            input_ids_BT, attention_mask_BT, row_N, column_N, labels_N, temperature
        )
        zeros_BT = torch.zeros(input_ids_BT.shape, dtype=logprobs_N.dtype, device=logprobs_N.device)
        where = nn.functional.pad(wanted_BT, (1, 0))
        return zeros_BT.masked_scatter(where, logprobs_N), zeros_BT.masked_scatter(where, entropy_N)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Delegates to the library's model."""
        return self.model.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Delegates to the library's model."""
        return self.model.load_state_dict(*args, **kwargs)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Delegates to the library's model."""
        return self.model.named_parameters(*args, **kwargs)


def check_head(policy: Policy) -> None:
    """ValueError for an architecture whose logits are not its head applied to its trunk (none is
    known)."""
    ids_BT = torch.arange(4, device=device_of(policy)).unsqueeze(0) % policy.config.vocab_size
    expected_BTV = policy.eval()(input_ids=ids_BT, use_cache=False).logits.float()
    hidden_BTD = policy.trunk(input_ids=ids_BT, use_cache=False).last_hidden_state
    head = policy.head
    logits_BTV = nn.functional.linear(hidden_BTD, head.weight_VD, head.bias_V).float() * head.scale
    if head.softcap is not None:
        logits_BTV = torch.tanh(logits_BTV / head.softcap) * head.softcap
    if not torch.allclose(logits_BTV, expected_BTV, rtol=1e-2, atol=1e-2):
        raise ValueError(
            f"{class_name(policy.model)} does more after its trunk than a linear head, so its "
            "log-probabilities cannot be computed in pieces; this architecture is not supported"
        )


def check_rows(path: str, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """ValueError if a token that texts may contain has no embedding row; padding needs none."""
    rows = model.get_input_embeddings().weight.shape[0]
    missing = [
        token
        for token, index in tokenizer.get_vocab().items()
        if index >= rows and token != tokenizer.pad_token
    ]
    if missing:
        raise ValueError(
            f"{path}: the tokenizer has {len(missing)} tokens, such as {missing[0]!r}, beyond the "
            f"{rows:,} rows of the embeddings; add rows with "
            "model.resize_token_embeddings(len(tokenizer)) and save the model again"
        )


def check_weights(path: str) -> None:
    """ValueError for a local folder that holds only pickled weights, which can run code."""
    folder = Path(path)
    pickled = sorted(file.name for kind in _PICKLED for file in folder.glob(kind))
    if folder.is_dir() and pickled and not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"{path} has its weights only in {pickled[0]}, a format that can run code when loaded; "
            'if you trust it, convert it to safetensors: python -c "from transformers import '
            f'AutoModelForCausalLM as M; M.from_pretrained({path!r}).save_pretrained({path!r})"'
        )


def check_finite(path: str, model: nn.Module) -> None:
    """ValueError if weights are NaN or infinite, naming the first such tensor."""
    for name, held in model.state_dict().items():
        weight = local_part(held)
        if weight.is_floating_point() and not torch.isfinite(weight.sum(dtype=torch.float32)):
            bad = ~torch.isfinite(weight)
            if bad.any():
                kind = "NaN" if weight.isnan().any() else "infinite"
                raise ValueError(
                    f"{path}: {kind} in {many(int(bad.sum()), 'weight')} of {name}; the file is "
                    "broken, or the training that wrote it diverged"
                )


def check_folder(path: Path | str) -> str:
    """The folder or hub name to load from; ValueError if it is neither."""
    text = str(path)
    looks_local = isinstance(path, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1
    if Path(path).is_dir():
        if not (Path(path) / "config.json").exists():
            raise ValueError(f"{path} is not a model folder: it has no config.json")
    elif Path(path).exists() or looks_local:
        raise ValueError(f"model folder {path} does not exist; give a folder or a hub name")
    else:
        return _on_hub(text)
    return text


def check_language_model(path: Path | str) -> str:
    """Like `check_folder`, with a ValueError for a reward model too."""
    text = check_folder(path)
    if (Path(text) / SCALAR_HEAD).exists():
        raise ValueError(f"{path} is a reward model; give a language model, such as runs/sft/model")
    return text


def _on_hub(name: str) -> str:
    """A hub name, or the folder of its local copy if the hub cannot be reached.

    Asks the hub once, for at most HF_HUB_ETAG_TIMEOUT (10 s): the library would retry for each
    file, printing warnings for minutes.
    """
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json"))
        return name
    except Exception as error:  # the library raises many types
        with suppress(HFValidationError):
            copy = try_to_load_from_cache(name, "config.json")
            if isinstance(copy, str):
                return str(Path(copy).parent)
        reason = f"cannot be reached ({type(error).__name__})"
        if isinstance(error, RepositoryNotFoundError | EntryNotFoundError | HFValidationError):
            reason = "has no such model"
        raise ValueError(
            f"{name} is not a folder, and the Hugging Face hub {reason}; give a model folder, or "
            "the name of a model on the hub or in its cache on this machine"
        ) from None


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


@contextmanager
def quiet_library() -> Iterator[None]:
    """Silence the library's progress bars and notes, which would break a live display."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
