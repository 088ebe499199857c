"""Models in one place: policies (`policies`), scalar models (`scalar`) and their dropout
(`dropout`)."""

from understudy.core.dropout import set_dropout
from understudy.core.policies import (
    Head,
    atomic_folder,
    context_length,
    device_of,
    forward_hidden,
    head_of,
    load_policy,
    load_tokenizer,
    policy_logprobs,
    save_policy,
    selected_logprobs,
    trunk_of,
)
from understudy.core.scalar import (
    ScalarModel,
    load_scalar,
    ranking_batches,
    score_ids,
    score_texts,
    shares_prefix,
)

__all__ = [
    "Head",
    "ScalarModel",
    "atomic_folder",
    "context_length",
    "device_of",
    "forward_hidden",
    "head_of",
    "load_policy",
    "load_scalar",
    "load_tokenizer",
    "policy_logprobs",
    "ranking_batches",
    "save_policy",
    "score_ids",
    "score_texts",
    "selected_logprobs",
    "set_dropout",
    "shares_prefix",
    "trunk_of",
]
