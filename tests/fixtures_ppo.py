"""A world for PPO tests: words w3 .. w15, a random policy, and a reward model that counts a word.

The reward model's weights are set by hand: uniform attention carries to each position the share of
`TARGET` among the tokens so far, and the head reads it. So the best policy is known.
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel, PreTrainedTokenizerFast

from understudy.models.policies import Policy
from understudy.models.scalar import ScalarModel
from understudy.ppo.config import PPOConfig
from understudy.records.io import write_records
from understudy.records.schema import Prompt

VOCAB, EOS, PAD, TARGET = 16, 0, 1, 7


def word_tokenizer() -> PreTrainedTokenizerFast:
    """One id per word, of which <0> ends an answer; a prompt is its words and then w3."""
    vocab = {f"w{i}" if i > 2 else f"<{i}>": i for i in range(VOCAB)}
    raw = RawTokenizer(models.WordLevel(vocab, unk_token="<2>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<0>", pad_token="<1>", unk_token="<2>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'assistant' %}w3 {{ m['content'] }}"
        "{{ eos_token }} {% else %}{{ m['content'] }} {% endif %}{% endfor %}"
        "{% if add_generation_prompt %}w3{% endif %}"
    )
    return tokenizer


def llama_config(**changes: Any) -> LlamaConfig:
    """Two layers of 16."""
    settings: dict[str, Any] = dict(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        eos_token_id=EOS,
        pad_token_id=PAD,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    return LlamaConfig(**(settings | changes))


def random_policy(seed: int = 0) -> Policy:
    """A policy that is close to uniform over the words."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Policy(LlamaForCausalLM(llama_config(initializer_range=0.1)).eval(), [EOS])


def counting_reward_model(scale: float = 3.0) -> ScalarModel:
    """Scores grow with the share of TARGET in prompt and response."""
    trunk = LlamaModel(llama_config(num_hidden_layers=1))
    with torch.no_grad():
        for name, parameter in trunk.named_parameters():
            parameter.fill_(1.0 if "norm" in name else 0.0)
        trunk.embed_tokens.weight[:, 2] = 1.0
        trunk.embed_tokens.weight[TARGET, 0] = 1.0
        attention = trunk.layers[0].self_attn
        attention.v_proj.weight[0, 0] = 1.0
        attention.o_proj.weight[1, 0] = 1.0
    model = ScalarModel(trunk).eval()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.weight[0, 1] = scale
    return model


def write_world(folder: Path) -> dict[str, Any]:
    """Policy, reward model, prompts and text on disk; the settings that name them."""
    tokenizer = word_tokenizer()
    random_policy().model.save_pretrained(folder / "policy")
    tokenizer.save_pretrained(folder / "policy")
    counting_reward_model().save(folder / "reward", tokenizer)
    words = [f"w{4 + i % 12} w{4 + i % 7}" + " w5" * (i % 3) for i in range(20)]
    prompts = [Prompt(id=f"p{i}", prompt=text, user_id="u") for i, text in enumerate(words)]
    write_records(folder / "prompts.jsonl", prompts)
    (folder / "text.txt").write_text("\n\n".join(f"{text} w9 w10 w11 w12" for text in words))
    return {
        "model": str(folder / "policy"),
        "reward_model": folder / "reward",
        "prompts": folder / "prompts.jsonl",
        "pretrain_data": folder / "text.txt",
    }


def tiny_config(world: dict[str, Any], out: Path, **changes: Any) -> PPOConfig:
    """PPO-ptx of a few small iterations."""
    settings: dict[str, Any] = dict(
        out=out,
        episodes=32,
        batch_size=8,
        num_minibatches=2,
        lr=3e-3,
        critic_lr=3e-3,
        warmup_iterations=2,
        ptx_coef=0.5,
        ptx_sequences_per_episode=0.5,
        ptx_length=8,
        max_response_tokens=6,
        save_every=1,
        keep_checkpoints=True,
    )
    settings = world | settings | changes
    if settings["ptx_coef"] == 0:
        settings["pretrain_data"] = None
    return PPOConfig(**settings)
