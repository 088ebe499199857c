"""Scalar models: a causal language model's trunk and one linear head, for the reward model and the
critic.

Shapes: B sequences, T tokens, D hidden size, N responses. A score is read at a response's last
token.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from transformers import AutoModel, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from understudy.models.batching import (
    RankingBatch,
    by_token_budget,
    ranking_batch,
    ranking_length,
)
from understudy.models.chat import (
    check_prompt_length,
    encode_examples,
    padding_id,
    stop_ids,
)
from understudy.models.loading import check_divisible, read_network
from understudy.models.lora import differs_from, merged_weights, with_adapter
from understudy.models.ops import at_least_fp32
from understudy.models.policies import (
    LOAD_ERRORS,
    SCALAR_HEAD,
    Policy,
    atomic_folder,
    check_finite,
    check_folder,
    check_language_model,
    check_rows,
    check_weights,
    load_policy,
    load_tokenizer,
    name_architecture,
    one_line,
    quiet_library,
    save_adapter,
)
from understudy.models.saving import save_shards, write_weights
from understudy.models.sharding import Dealer, compute, fill, is_sharded, shard, whole
from understudy.models.trunk import TrunkModel, context_length, device_of
from understudy.records.schema import Conversation


class ScalarModel(TrunkModel):
    """Trunk, linear head (weights of std 1/sqrt(D + 1), bias 0: LHP, NB) and a constant shift of
    the score."""

    bias_shift: Tensor

    def __init__(self, trunk: PreTrainedModel, seed: int = 0) -> None:
        super().__init__()
        self.trunk = trunk
        size = int(trunk.config.hidden_size)
        weight = next(trunk.parameters())
        self.head = nn.Linear(size, 1, dtype=torch.promote_types(weight.dtype, torch.float32))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.head.weight.normal_(0.0, (size + 1) ** -0.5, generator=generator)
            self.head.bias.zero_()
        # A trunk without storage will be read from files later; its head needs numbers now.
        device = self.head.weight.device if weight.is_meta else weight.device
        if self.head.weight.device != device:  # `to` fails without storage
            self.head.to(device)
        self.register_buffer("bias_shift", torch.zeros((), device=device))
        self.train(trunk.training)

    @classmethod
    def from_policy(cls, policy: Policy, seed: int = 0) -> "ScalarModel":
        """A scalar model on the policy's own trunk (shared, not copied); `seed` draws the head."""
        model = cls(policy.trunk, seed)
        model.bf16 = policy.bf16
        return model

    def twin(self) -> "ScalarModel":
        """A copy of the head on the same trunk (shared, not copied)."""
        other = ScalarModel(self.trunk)
        other.bf16 = self.bf16
        other.load_state_dict(self.state_dict())
        return other

    def values(
        self, input_ids_BT: Tensor, attention_mask_BT: Tensor, position_ids_BT: Tensor | None = None
    ) -> Tensor:
        """The scalar (B, T) at every token; position t sees the tokens up to and including t."""
        return self.read(self.hidden(input_ids_BT, attention_mask_BT, position_ids_BT))

    def values_at(
        self, input_ids_BT: Tensor, attention_mask_BT: Tensor, row_N: Tensor, column_N: Tensor
    ) -> Tensor:
        """The scalar (N,) at the given rows and columns."""
        return self.read(self.hidden_at(input_ids_BT, attention_mask_BT, row_N, column_N))

    def scores(
        self, input_ids_BT: Tensor, attention_mask_BT: Tensor, last_index_B: Tensor
    ) -> Tensor:
        """The score of each row, read at its last response token."""
        rows_B = torch.arange(len(input_ids_BT), device=input_ids_BT.device)
        return self.values_at(input_ids_BT, attention_mask_BT, rows_B, last_index_B)

    def ranking_scores(self, batch: RankingBatch) -> Tensor:
        """The score of each of the batch's N responses."""
        return self.read(_hidden_of(self, batch))

    def read(self, hidden: Tensor) -> Tensor:
        """The head on hidden states of any leading shape, in fp32."""
        return self.head(at_least_fp32(hidden)).squeeze(-1) + self.bias_shift

    def forward(self, input_ids_BT: Tensor, attention_mask_BT: Tensor) -> Tensor:
        """Same as `values`."""
        return self.values(input_ids_BT, attention_mask_BT)

    def save(self, folder: Path | str, tokenizer: Tokenizer) -> Path:
        """Save atomically, also readable by `AutoModelForSequenceClassification` where that exists.

        That class gives the same score up to the constant `head bias + bias_shift`, which it cannot
        hold; config.json has it as `understudy_score_offset`. All ranks must call it for a sharded
        model; the first one writes.
        """
        head = {"weight": self.head.weight, "bias": self.head.bias, "shift": self.bias_shift}
        head = {name: whole(tensor.detach()).contiguous() for name, tensor in head.items()}
        score = {"score.weight": head["weight"].to(next(self.trunk.parameters()).dtype)}
        prefix = f"{self.trunk.base_model_prefix}."
        write = partial(self._write, Path(folder), tokenizer, head)
        if is_sharded(self):
            save_shards(self.trunk, write, score, prefix)
        else:
            with quiet_library():
                weights = {prefix + name: w for name, w in merged_weights(self.trunk).items()}
            write((weights | score).items())
        return Path(folder)

    def _write(
        self,
        folder: Path,
        tokenizer: Tokenizer,
        head: dict[str, Tensor],
        tensors: Iterable[tuple[str, Tensor]],
    ) -> None:
        offset = float(head["bias"] + head["shift"])
        config = self.trunk.config
        # Those classes skip padding tokens, and would skip one that also ends responses.
        pad_id = tokenizer.pad_token_id
        saved = {name: getattr(config, name, None) for name in ("architectures", "pad_token_id")}
        name = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.get(config.model_type)
        with atomic_folder(folder) as fresh, quiet_library():
            config.num_labels = 1
            config.pad_token_id = None if pad_id in stop_ids(tokenizer) else pad_id
            config.understudy_score_offset = offset
            sharded = is_sharded(self)
            self.trunk.save_pretrained(fresh, state_dict={} if sharded else dict(tensors))
            if sharded:
                write_weights(fresh, tensors, self.trunk)
            save_file(head, fresh / SCALAR_HEAD)
            tokenizer.save_pretrained(fresh)
            name_architecture(fresh / "config.json", name or "UnderstudyScalarModel")
        for key, value in saved.items():
            setattr(config, key, value)
        save_adapter(self.trunk, folder)


def check_scalar(folder: Path | str) -> Path:
    """The folder of a scalar model; ValueError if it is not one."""
    folder = Path(folder)
    check_folder(folder)
    if not (folder / SCALAR_HEAD).exists():
        raise ValueError(
            f"{folder} is not a reward model (no {SCALAR_HEAD}); train one with `understudy reward`"
        )
    return folder


def load_scalar(
    folder: Path | str, dtype: torch.dtype = torch.float32, mesh: DeviceMesh | None = None
) -> tuple[ScalarModel, Tokenizer]:
    """(scalar model in eval mode, tokenizer) from a folder that `ScalarModel.save` wrote.

    With `mesh` it is sharded, and each rank reads its slices of the files; not collective.
    """
    folder = check_scalar(folder)
    tokenizer = load_tokenizer(folder)
    check_divisible(str(folder), mesh)
    with quiet_library():
        try:
            model = _read_scalar(str(folder), 0, dtype, mesh)
            head = load_file(folder / SCALAR_HEAD)
        except LOAD_ERRORS as error:
            raise ValueError(f"{folder} cannot be read: {one_line(error)}") from None
    _fill_head(model, head)
    check_finite(str(folder), model)
    return model.eval(), tokenizer


def load_on(folder: Path | str, policy: Policy) -> tuple[ScalarModel, Tokenizer]:
    """Like `load_scalar`, but sharing the policy's weights, which must stay frozen, and adding the
    adapter beside the folder. ValueError unless the folder holds just these weights with that
    adapter merged."""
    folder = check_scalar(folder)
    adapter, base = folder.with_name("adapter"), policy.model.name_or_path
    remedy = f"train the reward model from {base} with lora_rank, or leave share_base out"
    if not (adapter / "adapter_config.json").is_file():
        raise ValueError(f"{folder} cannot share a base: there is no {adapter}; {remedy}")
    tokenizer = load_tokenizer(folder)
    try:
        trunk = with_adapter(policy.trunk, adapter)
        name = differs_from(trunk, folder)
        head = load_file(folder / SCALAR_HEAD)
    except (*LOAD_ERRORS, AttributeError) as error:
        raise ValueError(
            f"{folder} cannot share the base {base}: {one_line(error)}; {remedy}"
        ) from None
    if name is not None:
        raise ValueError(
            f"{folder} cannot share the base {base}: it is not that model plus {adapter}, since "
            f"they differ in {name}; {remedy}"
        )
    model = ScalarModel(trunk)
    _fill_head(model, head)
    return model.eval(), tokenizer


def _fill_head(model: ScalarModel, head: dict[str, Tensor]) -> None:
    """Load the tensors of the head's file."""
    fill(model.head.weight, head["weight"])
    fill(model.head.bias, head["bias"])
    fill(model.bias_shift, head["shift"])


def scalar_from(
    path: Path | str,
    seed: int,
    dtype: torch.dtype = torch.float32,
    mesh: DeviceMesh | None = None,
) -> tuple[ScalarModel, Tokenizer]:
    """(scalar model in eval mode, tokenizer): the trunk of the language model in `path`, and a new
    head that `seed` draws. Sharded with `mesh`, as by `load_scalar`."""
    if mesh is None:
        policy, tokenizer = load_policy(path, dtype)
        return ScalarModel.from_policy(policy, seed), tokenizer
    path = check_language_model(path)
    tokenizer = load_tokenizer(path)
    check_weights(path)
    check_divisible(path, mesh)
    with quiet_library():
        try:
            model = _read_scalar(path, seed, dtype, mesh)
        except Exception as error:  # the library raises many types for a broken config
            raise ValueError(
                f"{path} cannot be loaded as a causal language model: {one_line(error)}"
            ) from None
    check_rows(path, model.trunk, tokenizer)
    check_finite(path, model)
    return model.eval(), tokenizer


def _read_scalar(path: str, seed: int, dtype: torch.dtype, mesh: DeviceMesh | None) -> ScalarModel:
    """A scalar model whose trunk is read from a folder, and whose head is new."""
    if mesh is None:
        return ScalarModel(read_network(AutoModel, path, dtype), seed)
    built: list[ScalarModel] = []

    def divide(trunk: PreTrainedModel) -> None:
        built.append(ScalarModel(trunk, seed))
        shard(built[0], mesh)

    read_network(AutoModel, path, dtype, divide)
    return built[0]


def shares_prefix(model: TrunkModel) -> bool:
    """Whether several responses can share one prompt in a row; tested once on random tokens.
    Collective for a sharded model.

    False for architectures that take positions from the order of tokens (ALiBi), that ignore a
    given mask (linear attention, some kernels), or whose hidden states otherwise differ from
    separate rows.
    """
    if "shares_prefix" not in model.tried:
        with torch.no_grad():
            model.tried["shares_prefix"] = compute(model, _shares_prefix, model)
    return model.tried["shares_prefix"]


def _shares_prefix(model: TrunkModel) -> bool:
    training = model.training
    model.eval()
    vocabulary = int(model.trunk.config.vocab_size)
    ids = torch.randint(vocabulary, (12,), generator=torch.Generator().manual_seed(0)).tolist()
    prompts, responses = [ids[:5]], [[ids[5:8], ids[8:12]]]
    device = device_of(model)
    try:
        apart, together = (
            _hidden_of(model, ranking_batch(prompts, responses, 0, shared=shared).to(device))
            for shared in (False, True)
        )
        tolerance = 1e-4 if apart.dtype == torch.float32 else 5e-2
        same = torch.allclose(apart, together, rtol=tolerance, atol=tolerance)
    except (ValueError, RuntimeError, TypeError, IndexError):
        same = False
    model.train(training)
    return same


def _hidden_of(model: TrunkModel, batch: RankingBatch) -> Tensor:
    mask = batch.attention_mask
    positions_BT = batch.position_ids_BT if mask.ndim == 4 else None
    return model.hidden_at(batch.input_ids_BT, mask, batch.row_N, batch.column_N, positions_BT)


def worth_sharing(model: TrunkModel, prompt_length: int, response_lengths: Sequence[int]) -> bool:
    """Whether one shared row is cheaper than a row per response, and within the attention window.

    Counts multiplications per layer: about 12 D per token and D in the linear maps, 2 T D per token
    in attention, halved where the plain causal kernel skips the upper triangle.
    """
    config: Any = model.trunk.config
    size = int(config.hidden_size)
    total = prompt_length + sum(response_lengths)
    windows = ("sliding_window", "attention_chunk_size", "window_size")
    window = min((w for w in (getattr(config, n, None) for n in windows) if w), default=None)
    if window is not None and total > window:
        return False
    shared = total * (12 * size + 2 * total)
    rows = [prompt_length + length for length in response_lengths]
    return shared < sum(row * (12 * size + row) for row in rows)


def ranking_batches(
    model: ScalarModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    pad_id: int,
    batch_tokens: int,
) -> list[tuple[list[int], RankingBatch]]:
    """Micro-batches of at most `batch_tokens` padded tokens: (indices of the rankings, their
    batch)."""
    can = shares_prefix(model)
    groups: dict[bool, list[int]] = {True: [], False: []}
    for index, (prompt, own) in enumerate(zip(prompts, responses, strict=True)):
        shared = can and worth_sharing(model, len(prompt), [len(response) for response in own])
        groups[shared].append(index)
    dtype = next(model.trunk.parameters()).dtype
    batches = []
    for shared, members in groups.items():
        lengths = [_padded_length(prompts[i], responses[i], shared) for i in members]
        overhead = model.pass_overhead(batch_tokens, masked=shared)
        for group in by_token_budget(lengths, batch_tokens, overhead):
            indices = [members[i] for i in group]
            batch = ranking_batch(
                [prompts[i] for i in indices],
                [responses[i] for i in indices],
                pad_id,
                shared=shared,
                dtype=dtype,
            )
            batches.append((indices, batch.to(device_of(model))))
    return batches


def _padded_length(prompt: Sequence[int], responses: Sequence[Sequence[int]], shared: bool) -> int:
    if shared:
        return ranking_length(prompt, responses, shared)
    return len(responses) * (len(prompt) + max(len(response) for response in responses))


@torch.no_grad()
def score_texts(
    model: ScalarModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Conversation],
    responses: Sequence[str],
    batch_tokens: int = 4096,
    max_response_tokens: int | None = None,
    finished: Sequence[bool] | None = None,
) -> list[float]:
    """The score of each (prompt, response), independent of the rest of the batch.

    Equal prompts are computed once. A response that is not `finished` is scored without the closing
    token; None means that all are finished.
    """
    examples = encode_examples(tokenizer, list(zip(prompts, responses, strict=True)))
    rendered = [example.input_ids[: example.prompt_length] for example in examples]
    ids_of = [example.input_ids[example.prompt_length : example.end] for example in examples]
    if finished is not None:
        ids_of = [
            ids if whole or len(ids) == 1 else ids[:-1]
            for ids, whole in zip(ids_of, finished, strict=True)
        ]
    ids_of = [ids[:max_response_tokens] for ids in ids_of]
    return score_ids(model, rendered, ids_of, padding_id(tokenizer), batch_tokens, prompts)


@torch.no_grad()
def score_ids(
    model: ScalarModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    pad_id: int,
    batch_tokens: int = 4096,
    names: Sequence[Conversation] | None = None,
    group_size: int = 16,
    ranks: Dealer | None = None,
) -> list[float]:
    """`score_texts` for token ids; `names` are the conversations shown in error messages.

    The passes are divided among `ranks`; every rank gets all scores.
    """
    room = context_length(model)
    groups: dict[tuple[int, ...], list[list[int]]] = {}
    for index, prompt in enumerate(prompts):
        name = "(token ids)" if names is None else names[index]
        check_prompt_length(name, prompt, room, "scoring")
        chunks = groups.setdefault(tuple(prompt), [[]])
        if len(chunks[-1]) == group_size:
            chunks.append([])
        chunks[-1].append(index)
    members = [chunk for chunks in groups.values() for chunk in chunks]
    batches = ranking_batches(
        model,
        [prompts[chunk[0]] for chunk in members],
        [[responses[index] for index in chunk] for chunk in members],
        pad_id,
        batch_tokens,
    )
    scores = [0.0] * len(prompts)
    training = model.training
    model.eval()
    mine = dict.fromkeys(range(len(batches)), True)
    if ranks is not None:
        mine = {share.number: share.counts for share in ranks.deal(len(batches))}
    for number, counts in mine.items():
        indices, batch = batches[number]
        where = [index for i in indices for index in members[i]]
        found = compute(model, model.ranking_scores, batch).tolist()
        for index, score in zip(where, found, strict=True):
            scores[index] = score if counts else 0.0
    model.train(training)
    return scores if ranks is None else ranks.sum(scores)
