"""Models in one place: policies (`policies`), scalar models (`scalar`), their adapters (`lora`) and
dropout (`dropout`)."""

from understudy.core.dropout import set_dropout
from understudy.core.lora import adapter_off, add_adapter, has_adapter, load_weights, weights_of
from understudy.core.policies import (
    Head,
    atomic_folder,
    context_length,
    device_of,
    forward_hidden,
    head_of,
    hidden_at,
    load_policy,
    load_tokenizer,
    policy_logprobs,
    save_policy,
    selected_logprobs,
    trunk_of,
)
from understudy.core.scalar import (
    ScalarModel,
    check_scalar,
    load_scalar,
    ranking_batches,
    score_ids,
    score_texts,
    shares_prefix,
)

__all__ = [
    "Head",
    "ScalarModel",
    "add_adapter",
    "adapter_off",
    "atomic_folder",
    "check_scalar",
    "context_length",
    "device_of",
    "forward_hidden",
    "has_adapter",
    "head_of",
    "hidden_at",
    "load_policy",
    "load_scalar",
    "load_tokenizer",
    "load_weights",
    "policy_logprobs",
    "ranking_batches",
    "save_policy",
    "score_ids",
    "score_texts",
    "selected_logprobs",
    "set_dropout",
    "shares_prefix",
    "trunk_of",
    "weights_of",
]
