"""The workloads for every side of a speed comparison: one tiny Llama, random token prompts.

Weights are random: speed does not depend on what a model has learned. `FIXED`: prompts of one
length, and EOS so rare (1 in 512) that nearly every response has the full length. `RAGGED`: prompts
of 8 to 56 tokens, and a vocabulary of 24 in which EOS is as frequent as any other token, so
response lengths are about geometric.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from understudy.models.policies import Policy
from understudy.models.scalar import ScalarModel
from understudy.records import Demonstration, Prompt, Ranking, write_records

PAD, EOS = 0, 1
SPECIAL = {"pad_token": "<0>", "eos_token": "<1>", "bos_token": "<2>", "unk_token": "<3>"}
"""Ids 0 to 3, in this order."""


@dataclass(frozen=True)
class Workload:
    """Sizes of model and data."""

    hidden_size: int = 128
    num_layers: int = 4
    num_heads: int = 4
    vocab_size: int = 512
    prompt_tokens: int = 32
    response_tokens: int = 48
    ragged: bool = False

    def config(self) -> LlamaConfig:
        """1.1M parameters at the default sizes."""
        return LlamaConfig(
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.num_heads,
            num_key_value_heads=self.num_heads,
            intermediate_size=4 * self.hidden_size,
            vocab_size=self.vocab_size,
            max_position_embeddings=512,  # of prompt and response together
            tie_word_embeddings=True,
            pad_token_id=PAD,
            eos_token_id=EOS,
            bos_token_id=2,
        )

    def policy(self) -> LlamaForCausalLM:
        """Random weights, the same each time."""
        torch.manual_seed(0)
        return LlamaForCausalLM(self.config()).eval()

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A word per token; a prompt is just its words."""
        # No special token may be a prefix of a word, or it would be split off.
        vocab = {token: i for i, token in enumerate(SPECIAL.values())}
        vocab |= {f"w{i}": i for i in range(len(SPECIAL), self.vocab_size)}
        raw = Tokenizer(models.WordLevel(vocab, unk_token=SPECIAL["unk_token"]))
        raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, **SPECIAL)
        tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
        return tokenizer

    def prompts(self, count: int) -> list[list[int]]:
        """`count` prompts of `prompt_tokens` ids, or of 8 to twice that less 8 ids if ragged."""
        if not self.ragged:
            return self._ids(count, self.prompt_tokens, 0)
        longest = 2 * self.prompt_tokens - 8
        rows = zip(self._ids(count, longest, 0), self._lengths(count, 8, longest, 0), strict=True)
        return [ids[:n] for ids, n in rows]

    def responses(self, count: int, seed: int = 1) -> list[list[int]]:
        """`count` responses of `response_tokens` ids (4 to that if ragged), the last one EOS."""
        rows = self._ids(count, self.response_tokens, seed)
        lengths = [self.response_tokens] * count
        if self.ragged:
            lengths = self._lengths(count, 4, self.response_tokens, seed)
        return [[*ids[: n - 1], EOS] for ids, n in zip(rows, lengths, strict=True)]

    def _lengths(self, count: int, low: int, high: int, seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed + 1000)
        return torch.randint(low, high + 1, (count,), generator=generator).tolist()

    def _ids(self, count: int, length: int, seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(4, self.vocab_size, (count, length), generator=generator).tolist()

    def save_models(self, folder: Path) -> dict[str, Any]:
        """Policy and reward model on disk."""
        tokenizer, policy = self.tokenizer(), self.policy()
        policy.save_pretrained(folder / "policy")
        tokenizer.save_pretrained(folder / "policy")
        ScalarModel.from_policy(Policy(policy)).save(folder / "reward", tokenizer)
        return {"model": str(folder / "policy"), "reward_model": folder / "reward"}

    def save_prompts(self, path: Path, count: int) -> Path:
        """Prompts as records."""
        rows = enumerate(self.prompts(count))
        return write_records(
            path, [Prompt(id=f"p{i}", prompt=words(ids), user_id="u") for i, ids in rows]
        )

    def save_demonstrations(self, path: Path, count: int) -> Path:
        """Prompts with one response each; the trainer adds the EOS that the ids end in."""
        rows = zip(self.prompts(count), self.responses(count), strict=True)
        return write_records(
            path,
            [
                Demonstration.from_json({"prompt": words(p), "response": words(r[:-1])})
                for p, r in rows
            ],
        )

    def save_rankings(self, path: Path, count: int, size: int) -> Path:
        """Rankings of `size` responses in a random order without ties."""
        responses = [self.responses(count, seed) for seed in range(1, size + 1)]
        rankings = []
        for i, prompt in enumerate(self.prompts(count)):
            texts = [words(mine[i][:-1]) for mine in responses]
            row = {"id": f"k{i}", "prompt": words(prompt), "responses": texts}
            rankings.append(Ranking.from_json(row | {"tiers": [[i] for i in range(size)]}))
        return write_records(path, rankings)


def words(ids: list[int]) -> str:
    """Ids as the text that encodes to them."""
    return " ".join(f"w{i}" for i in ids)


FIXED = Workload()
RAGGED = Workload(vocab_size=24, ragged=True)
EOS_MEAN_A_THIRD = 68
"""Response limit of which RAGGED's mean response length, (1 - (23/24)^68) * 24, is a third."""
EOS_NEVER = -1
"""An EOS id that no model samples."""
