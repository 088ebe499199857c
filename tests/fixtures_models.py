"""Small random models and tokenizers, made on the spot: no download, a few milliseconds each.

Every model has 2 layers and a hidden size of 32, and weights large enough that logits differ.
`save_model_folder(tmp_path)` gives a folder as a user would have one.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from understudy.models.policies import Policy

TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}ask: {{ m['content'] }}{{ '\\n' }}"
    "{% elif m['role'] == 'assistant' %}reply: {{ m['content'] }}{{ eos_token }}{{ '\\n' }}"
    "{% else %}{{ m['content'] }}{{ '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}reply:{% endif %}"
)
"""The tiny world's chat format: `ask: {content}` and `reply:` on lines of their own."""

KINDS = ("llama", "llama_tied", "gpt2", "qwen2", "gpt_neox", "opt", "mistral", "gemma2")
"""Architectures: learned and rotary positions, tied heads, grouped queries, windows, soft caps."""
MORE_KINDS = (*KINDS, "qwen3", "gemma")
"""And two that differ from these in a norm or a head size only."""

_TEXT = [
    "ask: Name a prime number.\nreply: Seven is a prime number.",
    "ask: Where does Anna live?\nreply: Anna lives in the city of Lund.",
    "ask: List three foods.\nreply: Bread, cheese and soup.",
    "The cat sat on the mat. A dog ran to the old house by the river.",
]


@cache
def _raw_tokenizer() -> str:
    raw = RawTokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<eos>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(_TEXT, trainer)
    return raw.to_str()


def make_tokenizer(
    chat_template: str | None = TEMPLATE, pad_token: str | None = "<pad>"
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of about 350 tokens; EOS is 0, pad is 1."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=RawTokenizer.from_str(_raw_tokenizer()),
        eos_token="<eos>",
        pad_token=pad_token,
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def _base(**changes: Any) -> dict[str, Any]:
    base = dict(
        vocab_size=384,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
        initializer_range=0.15,
        tie_word_embeddings=False,
    )
    return base | changes


def config_of(kind: str, **changes: Any) -> Any:
    """A small config of one of MORE_KINDS."""
    from transformers import (
        Gemma2Config,
        GemmaConfig,
        GPTNeoXConfig,
        MistralConfig,
        OPTConfig,
        Qwen3Config,
    )

    if kind == "gpt2":
        return GPT2Config(
            **(
                dict(vocab_size=384, n_embd=32, n_layer=2, n_head=4, n_positions=256)
                | dict(bos_token_id=None, eos_token_id=0, pad_token_id=1, initializer_range=0.15)
                | changes
            )
        )
    if kind == "opt":
        return OPTConfig(
            **_base(ffn_dim=48, word_embed_proj_dim=32, tie_word_embeddings=True, **changes)
        )
    kinds = {
        "llama": (LlamaConfig, {}),
        "llama_tied": (LlamaConfig, {"tie_word_embeddings": True}),
        "qwen2": (Qwen2Config, {}),
        "qwen3": (Qwen3Config, {"head_dim": 8}),
        "gemma": (GemmaConfig, {"head_dim": 16, "tie_word_embeddings": True}),
        "gpt_neox": (GPTNeoXConfig, {}),
        "mistral": (MistralConfig, {"sliding_window": 24}),
        "gemma2": (
            Gemma2Config,
            {"head_dim": 8, "sliding_window": 24, "tie_word_embeddings": True},
        ),
    }
    config_class, defaults = kinds[kind]
    return config_class(**_base(**(defaults | changes)))


def make_policy(kind: str = "llama", seed: int = 0, **changes: Any) -> Policy:
    """A random causal language model in eval mode; `changes` go to its config."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config_of(kind, **changes))
    return Policy(model.eval(), [0])


def save_model_folder(
    folder: Path, kind: str = "llama", seed: int = 0, tokenizer: Any = None, **changes: Any
) -> Path:
    """A model folder as a user has one: config, safetensors and tokenizer."""
    make_policy(kind, seed, **changes).model.save_pretrained(folder)
    (make_tokenizer() if tokenizer is None else tokenizer).save_pretrained(folder)
    return folder
