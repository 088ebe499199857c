"""Policies: load, save and log-probabilities, for any causal language model of `transformers`.

Shapes: B sequences, T tokens, D hidden size, V vocabulary, N selected positions. Masks are 1 at
real tokens. The head of a language model is always applied to selected positions only (see
`ops.chunked_logprobs`).
"""

import inspect
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
import transformers
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.batching import by_token_budget, positions_of
from understudy.models.chat import add_stop_ids, stop_ids
from understudy.models.chat_format import format_of
from understudy.models.compute import autocast_of, computes_in_bf16
from understudy.models.cpu.direct import Rows, direct_pass
from understudy.models.dropout import drops
from understudy.models.lora import has_adapter, merged_weights, write_adapter
from understudy.models.ops import chunked_logprobs
from understudy.models.saving import save_shards, write_weights
from understudy.models.sharding import class_name, is_sharded

PASS_TOKENS = {"cpu": 96, "cuda": 4096}
"""Padding tokens worth one more pass: the fixed cost of a pass in tokens, by device."""
LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
"""What the library raises for a folder that is not what it should be."""
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")


def load_policy(
    path: Path | str, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, Tokenizer]:
    """(model in eval mode, tokenizer) from a folder or hub name; ValueError says what is missing.

    Remote code is never run. The vocabulary stays as it is: padding needs no token of its own. The
    model's generation config leaves with all of the tokenizer's `stop_ids`, so that other programs
    stop where we do.
    """
    path = check_folder(path)
    tokenizer = load_tokenizer(path)
    check_weights(path)
    with quiet_library():
        try:
            model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                str(path), dtype=dtype, use_safetensors=True, trust_remote_code=False
            )
        except Exception as error:  # the library raises many kinds for a broken config
            raise ValueError(f"{path} is not a causal language model: {one_line(error)}") from None
    _check_rows(path, model, tokenizer)
    check_finite(path, model)
    try:
        check_head(model)
    except (TypeError, RuntimeError, ArithmeticError, LookupError, AttributeError) as error:
        raise ValueError(f"{path} cannot compute: {one_line(error)}") from None
    if model.generation_config is not None:
        add_stop_ids(tokenizer, model.generation_config.eos_token_id)
        stops = sorted(stop_ids(tokenizer))
        model.generation_config.eos_token_id = stops if len(stops) > 1 else stops[0]
    return model.eval(), tokenizer


def load_tokenizer(path: Path | str) -> Tokenizer:
    """The tokenizer of a model folder, with a chat template; what the template does that one should
    know is said once, on standard error."""
    path = check_folder(path)
    folder = Path(path)
    if folder.is_dir() and not any((folder / name).exists() for name in _TOKENIZER_FILES):
        raise ValueError(
            f"{path} has no tokenizer (tokenizer.json); put the model's own there with "
            "tokenizer.save_pretrained(folder)"
        )
    try:
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    except Exception as error:  # the library raises many kinds for a broken file
        raise ValueError(f"{path}: the tokenizer cannot be read: {one_line(error)}") from None
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"{path}: the tokenizer has no end-of-sequence token, so answers could never end; "
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
    """A note on standard error, once in a process."""
    print(f"understudy: note: {note}", file=sys.stderr, flush=True)


def save_policy(model: PreTrainedModel, tokenizer: Tokenizer, folder: Path | str) -> Path:
    """Save in Hugging Face format (safetensors) so that the folder appears whole or not at all.

    A LoRA adapter is merged into what is saved, and kept by itself in `adapter` beside the folder.
    All ranks must call it for a sharded model; the first one writes.
    """
    if is_sharded(model):
        save_shards(model, lambda tensors: _write_sharded(model, tokenizer, folder, tensors))
        return Path(folder)
    weights = merged_weights(model) if has_adapter(model) else None
    with atomic_folder(folder) as partial, quiet_library():
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
        model.save_pretrained(partial, state_dict={})  # all but the weights
        name_architecture(partial / "config.json", class_name(model))
        tokenizer.save_pretrained(partial)
        write_weights(partial, tensors)


def name_architecture(path: Path, name: str) -> None:
    """Write the class that reads the weights into a config.json."""
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
    """A fresh folder beside `folder` that takes its place when the block ends well."""
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
    except SafetensorError as error:  # a full disk comes as one
        raise OSError(f"{folder} cannot be written: {one_line(error)}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def context_length(model: nn.Module) -> int | None:
    """The most tokens that a prompt and its answer may have together, or None where there is no
    limit."""
    config: Any = getattr(model, "config", None)
    length = getattr(config, "max_position_embeddings", None)
    return int(length) if length else None


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters are."""
    return next(model.parameters()).device


@dataclass(frozen=True, slots=True)
class Head:
    """What turns the trunk's hidden states into logits: softcap(scale * (hidden @ weight.T +
    bias))."""

    weight_VD: Tensor
    """Unembedding."""
    bias_V: Tensor | None
    """Bias, where the architecture has one."""
    scale: float
    """Constant factor on the logits (Cohere, Granite), else 1."""
    softcap: float | None
    """Soft cap of the logits (Gemma 2), else None."""


def head_of(model: PreTrainedModel) -> Head:
    """The language-model head of a policy."""
    output: Any = model.get_output_embeddings()
    config: Any = model.config
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    softcap = getattr(config, "final_logit_softcapping", None)
    return Head(output.weight, getattr(output, "bias", None), scale, softcap)


@torch.no_grad()
def check_head(model: PreTrainedModel) -> None:
    """Refuse an architecture whose logits are not its head applied to its trunk (all known ones
    are)."""
    ids_BT = torch.arange(4, device=device_of(model)).unsqueeze(0) % model.config.vocab_size
    expected_BTV = model.eval()(input_ids=ids_BT, use_cache=False).logits.float()
    hidden_BTD = forward_hidden(model, ids_BT, torch.ones_like(ids_BT))
    head = head_of(model)
    logits_BTV = nn.functional.linear(hidden_BTD, head.weight_VD, head.bias_V).float() * head.scale
    if head.softcap is not None:
        logits_BTV = torch.tanh(logits_BTV / head.softcap) * head.softcap
    if not torch.allclose(logits_BTV, expected_BTV, rtol=1e-2, atol=1e-2):
        raise ValueError(
            f"{type(model).__name__} does more after its trunk than a linear head, so its "
            "log-probabilities cannot be computed in pieces; this architecture is not supported"
        )


def trunk_of(model: PreTrainedModel) -> PreTrainedModel:
    """The model without its language-model head."""
    trunk: PreTrainedModel = model.base_model
    return trunk


def forward_hidden(
    model: nn.Module,
    input_ids_BT: Tensor,
    attention_mask_BT: Tensor,
    position_ids_BT: Tensor | None = None,
) -> Tensor:
    """Last hidden states (B, T, D) of the trunk, after the final norm.

    The mask is (B, T) of 1s and 0s with padding on either side, or (B, 1, T, T) additive. Padding
    never shifts positions. What stands at padded positions is meaningless.
    """
    trunk: Any = model.base_model if isinstance(model, PreTrainedModel) else model
    inputs: dict[str, Any] = {"input_ids": input_ids_BT, "use_cache": False}
    if attention_mask_BT.ndim == 2 and position_ids_BT is None and _padded_right(attention_mask_BT):
        # A causal model's real tokens never see padding on their right: the plain causal kernel, no
        # mask.
        inputs["attention_mask"] = None
    else:
        inputs["attention_mask"] = attention_mask_BT
        if _takes(trunk, "position_ids"):
            inputs["position_ids"] = (
                positions_of(attention_mask_BT) if position_ids_BT is None else position_ids_BT
            )
    with autocast_of(trunk):
        hidden_BTD: Tensor = trunk(**inputs).last_hidden_state
    return hidden_BTD.bfloat16() if computes_in_bf16(trunk) else hidden_BTD


def hidden_at(
    model: nn.Module,
    input_ids_BT: Tensor,
    attention_mask_BT: Tensor,
    row_M: Tensor,
    column_M: Tensor,
    position_ids_BT: Tensor | None = None,
) -> Tensor:
    """Last hidden states (M, D) at the positions that are read: `forward_hidden` at [row, column],
    by the shorter way where there is one.
    """
    trunk: Any = model.base_model if isinstance(model, PreTrainedModel) else model
    width, additive = input_ids_BT.shape[1], attention_mask_BT.ndim == 4
    causal = not additive and position_ids_BT is None and _padded_right(attention_mask_BT)
    known = (causal or additive) and not computes_in_bf16(trunk)
    direct = direct_pass(trunk, width) if known else None
    if direct is not None:
        read_M = row_M * width + column_M
        if additive:
            assert position_ids_BT is not None, "an additive mask comes with positions"
            rows = Rows.masked(position_ids_BT)
            return direct(rows, input_ids_BT, read_M, attention_mask_BT)
        return direct(Rows.padded(attention_mask_BT), input_ids_BT, read_M)
    if not causal or not takes_ragged_rows(model):
        hidden_BTD = forward_hidden(model, input_ids_BT, attention_mask_BT, position_ids_BT)
        return hidden_BTD[row_M, column_M]
    return _hidden_in_groups(model, input_ids_BT, attention_mask_BT, row_M, column_M)


def takes_ragged_rows(model: nn.Module) -> bool:
    """Whether `hidden_at` looks after rows of different lengths in one pass.

    Not where the ranks must do as many passes each, nor where the dropout of a pass must not depend
    on how it was split: rows of similar length are then passes of their own (`pass_overhead`).
    """
    return not drops(model) and not is_sharded(model)


def pass_overhead(model: PreTrainedModel, tokens: int) -> int:
    """What one more pass of at most `tokens` costs, in tokens of padding, for `by_token_budget`."""
    if takes_ragged_rows(model):
        return tokens
    return PASS_TOKENS.get(device_of(model).type, PASS_TOKENS["cuda"])


def _hidden_in_groups(
    model: nn.Module, ids_BT: Tensor, mask_BT: Tensor, row_M: Tensor, column_M: Tensor
) -> Tensor:
    """In one pass for rows of similar length each, where that saves more padding than it costs."""
    lengths = mask_BT.sum(-1).tolist()
    overhead = PASS_TOKENS.get(ids_BT.device.type, PASS_TOKENS["cuda"])
    groups = by_token_budget(lengths, mask_BT.numel(), overhead)
    if len(groups) == 1:
        return forward_hidden(model, ids_BT, mask_BT)[row_M, column_M]
    found, where = [], []
    for group in groups:
        rows = torch.tensor(group, device=ids_BT.device)
        width = lengths[group[0]]
        hidden_BTD = forward_hidden(model, ids_BT[rows, :width], mask_BT[rows, :width])
        place_B = torch.full((len(lengths),), -1, device=ids_BT.device)
        place_B[rows] = torch.arange(len(group), device=rows.device)
        mine = (place_B[row_M] >= 0).nonzero().squeeze(-1)
        found.append(hidden_BTD[place_B[row_M[mine]], column_M[mine]])
        where.append(mine)
    return torch.cat(found)[torch.cat(where).argsort()]


def policy_logprobs(
    model: PreTrainedModel,
    input_ids_BT: Tensor,
    attention_mask_BT: Tensor,
    temperature: float = 1.0,
    at_BT: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(logprobs_BT, entropy_BT): at [:, t] of predicting token t from those before it, in fp32.

    0 at t = 0, at padding, and where `at` (for example the response tokens) is 0: there the head is
    not computed at all.
    """
    wanted_BT = attention_mask_BT.bool() if at_BT is None else at_BT.bool()
    # The token before must be real as well: the first token of a left-padded row has no prediction.
    wanted_BT = wanted_BT[:, 1:] & attention_mask_BT[:, :-1].bool()
    hidden_ND = hidden_at(model, input_ids_BT, attention_mask_BT, *wanted_BT.nonzero(as_tuple=True))
    logprobs_N, entropy_N = selected_logprobs(
        model, hidden_ND, input_ids_BT[:, 1:][wanted_BT], temperature
    )
    zeros_BT = torch.zeros(input_ids_BT.shape, dtype=logprobs_N.dtype, device=logprobs_N.device)
    where = nn.functional.pad(wanted_BT, (1, 0))
    return zeros_BT.masked_scatter(where, logprobs_N), zeros_BT.masked_scatter(where, entropy_N)


def selected_logprobs(
    model: PreTrainedModel, hidden_ND: Tensor, labels_N: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """(logprobs_N, entropy_N) of labels from the hidden states that predict them."""
    head = head_of(model)
    if head.softcap is None:
        temperature = temperature / head.scale
    else:
        assert head.scale == 1.0, "no architecture has both a scale and a cap"
    return chunked_logprobs(
        hidden_ND, head.weight_VD, labels_N, temperature, bias=head.bias_V, softcap=head.softcap
    )


def _padded_right(mask_BT: Tensor) -> bool:
    return bool((mask_BT[:, 1:] <= mask_BT[:, :-1]).all())


def _takes(module: nn.Module, name: str) -> bool:
    return name in inspect.signature(module.forward).parameters


def _check_rows(path: str, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Every token that a text may hold needs a row of the embeddings; one for padding does not."""
    rows = model.get_input_embeddings().weight.shape[0]
    missing = [
        token
        for token, index in tokenizer.get_vocab().items()
        if index >= rows and token != tokenizer.pad_token
    ]
    if missing:
        raise ValueError(
            f"{path}: the tokenizer has {len(missing)} tokens, such as {missing[0]!r}, for which "
            f"the embeddings' {rows:,} rows have none; give the model rows for them with "
            "model.resize_token_embeddings(len(tokenizer)) and save it again"
        )


def check_weights(path: str) -> None:
    """ValueError for a local folder that holds only pickled weights, which can run code."""
    folder = Path(path)
    pickled = sorted(file.name for kind in _PICKLED for file in folder.glob(kind))
    if folder.is_dir() and pickled and not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"{path} has its weights in {pickled[0]} only, a format that can run code when it is "
            'read; if you trust it, convert it to safetensors: python -c "from transformers import '
            f'AutoModelForCausalLM as M; M.from_pretrained({path!r}).save_pretrained({path!r})"'
        )


def check_finite(path: str, model: nn.Module) -> None:
    """ValueError, naming the first such tensor, where weights are NaN or infinite."""
    for name, weight in model.state_dict().items():
        if weight.is_floating_point() and not torch.isfinite(weight.sum(dtype=torch.float32)):
            bad = ~torch.isfinite(weight)
            if bad.any():
                kind = "NaN" if weight.isnan().any() else "infinite"
                raise ValueError(
                    f"{path}: {int(bad.sum()):,} weights of {name} are {kind}; the file is broken, "
                    "or the training that wrote it diverged"
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


def _on_hub(name: str) -> str:
    """A hub name, or the folder of its copy on this machine if the hub cannot be reached.

    It is asked once, for at most HF_HUB_ETAG_TIMEOUT (10 s): the library would ask for each file,
    again and again, and say so for minutes.
    """
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json"))
        return name
    except Exception as error:  # the library raises many kinds
        with suppress(HFValidationError):
            copy = try_to_load_from_cache(name, "config.json")
            if isinstance(copy, str):
                return str(Path(copy).parent)
        reason = f"cannot be reached ({type(error).__name__})"
        if isinstance(error, RepositoryNotFoundError | EntryNotFoundError | HFValidationError):
            reason = "has no such model"
        raise ValueError(
            f"{name} is no folder, and the Hugging Face hub {reason}; give a model folder, or the "
            "name of a model that the hub or its cache on this machine has"
        ) from None


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


@contextmanager
def quiet_library() -> Iterator[None]:
    """Without the library's progress bars and notes, which would break a live display."""
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
