"""TRL's losses and gradients on one batch; tests/unit/{dpo,kto,rloo,grpo}/test_loss.py hold what it
prints.

    .peers/trl/bin/python benchmarks/trl_losses.py     (TRL 1.16, `make bench-peers`)

Policy, reference and the policy that sampled are small Llamas whose weights are sines, so that
every version of every library makes the same ones. This script computes RLOO's and GRPO's
advantages by the papers' formulas; losses and gradients are TRL's.
"""

import json
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

PAIRS = [
    {"prompt_ids": [5, 9, 21], "chosen_ids": [7, 3, 2], "rejected_ids": [11, 2]},
    {"prompt_ids": [8, 30], "chosen_ids": [4, 2], "rejected_ids": [6, 6, 13, 17, 2]},
    {"prompt_ids": [12, 14, 15, 16, 18], "chosen_ids": [19, 2], "rejected_ids": [20, 2]},
]
FEEDBACK = [
    {"prompt_ids": [5, 9, 21], "completion_ids": [7, 3, 2], "label": True},
    {"prompt_ids": [8, 30], "completion_ids": [6, 6, 13, 17, 2], "label": False},
    {"prompt_ids": [12, 14, 15, 16, 18], "completion_ids": [19, 2], "label": True},
    {"prompt_ids": [22, 23, 24], "completion_ids": [10, 25, 2], "label": False},
]
"""The estimate of the KL pairs each prompt with the response of the row before it."""
BETA = 0.3
DESIRABLE, UNDESIRABLE = 1.2, 0.9

PROMPTS = [[5, 9, 21], [5, 9, 21], [8, 30], [8, 30]]
RESPONSES = [[7, 3, 2], [11, 2], [4, 2], [6, 6, 13, 17, 2]]
SCORES = [1.0, -0.5, 0.25, 2.0]
BETAS = {"rloo": 0.1, "grpo": 0.3}
LOSSES: dict[str, dict[str, Any]] = {
    "rloo": {},
    # As in the paper; TRL's own defaults differ.
    "grpo": {"loss_type": "grpo", "use_bias_correction_kl": False},
}
SAMPLER, REFERENCE = 0.02, 0.5
"""Phases of the weights that sampled, and of the reference's."""


def sine_model(phase: float) -> LlamaForCausalLM:
    """A Llama of two layers; weight i of a tensor is sin(i * i + phase)."""
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).float()
    with torch.no_grad():
        for weight in model.parameters():
            count = torch.arange(weight.numel(), dtype=torch.float64)
            weight.copy_(torch.sin(count * count + phase).view_as(weight))
    return model


def words() -> PreTrainedTokenizerFast:
    """One id per word."""
    raw = Tokenizer(models.WordLevel({f"t{i}": i for i in range(32)}, unk_token="t0"))
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="t1", eos_token="t2")


def offline(name: str) -> dict[str, float]:
    """What DPO's or KTO's trainer logs for one step at learning rate 0."""
    import trl  # not installed in our environment, whose tests import models and batches from here
    from datasets import Dataset

    last = [row["completion_ids"] for row in FEEDBACK]
    before = zip(FEEDBACK, [last[-1], *last[:-1]], strict=True)
    weights = {"desirable_weight": DESIRABLE, "undesirable_weight": UNDESIRABLE}
    config, trainer_class, rows, texts, more, logged = {
        "dpo": (
            trl.DPOConfig,
            trl.DPOTrainer,
            PAIRS,
            {"prompt": "t5", "chosen": "t7", "rejected": "t8"},
            {},
            "rewards/accuracies",
        ),
        "kto": (
            trl.KTOConfig,
            trl.KTOTrainer,
            [row | {"KL_completion_ids": ids} for row, ids in before],
            {"prompt": "t5", "completion": "t7", "label": True},
            weights,
            "kl",
        ),
    }[name]
    arguments: Any = config(
        output_dir="trl_out",
        report_to=[],
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        learning_rate=0.0,
        max_grad_norm=1e9,
        gradient_checkpointing=False,
        per_device_train_batch_size=len(rows),
        max_steps=1,
        max_length=None,
        logging_steps=1,
        beta=BETA,
        disable_dropout=True,
        **more,
    )
    trainer = trainer_class(
        model=sine_model(0.0),
        ref_model=sine_model(0.5),
        args=arguments,
        processing_class=words(),
        train_dataset=Dataset.from_list([texts]),
    )
    trainer.train_dataset = Dataset.from_list(rows)  # the trainer itself takes texts only
    trainer.train()
    (row,) = [row for row in trainer.state.log_history if "grad_norm" in row]
    names = ("loss", "grad_norm", "rewards/chosen", "rewards/rejected", logged)
    return {name: row[name] for name in names}


def padded(rows: list[list[int]], left: bool) -> tuple[Tensor, Tensor]:
    """Ids and mask."""
    longest = max(map(len, rows))
    ids, mask = [], []
    for row in rows:
        gap = longest - len(row)
        ids.append([1] * gap + row if left else row + [1] * gap)
        mask.append([0] * gap + [1] * len(row) if left else [1] * len(row) + [0] * gap)
    return torch.tensor(ids), torch.tensor(mask)


@torch.no_grad()
def logprobs(phase: float, ids: Tensor, mask: Tensor, count: int) -> Tensor:
    """Log-probs of the last `count` tokens."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    out = sine_model(phase)(input_ids=ids, attention_mask=mask, position_ids=positions)
    scores = out.logits[:, -count - 1 : -1].log_softmax(-1)
    return scores.gather(2, ids[:, -count:, None])[:, :, 0]


def advantages_of(name: str, kl: Tensor) -> Tensor:
    """The advantage of each response, in groups of two."""
    if name == "rloo":
        rewards = (torch.tensor(SCORES) - BETAS[name] * kl).view(-1, 2)
        return (rewards - rewards.flip(1)).flatten()
    groups = torch.tensor(SCORES).view(-1, 2)
    centred = groups - groups.mean(1, keepdim=True)
    return (centred / (groups.std(1, keepdim=True) + 1e-4)).flatten()


def rollout(name: str) -> dict[str, float]:
    """Loss and gradient of RLOO's or GRPO's trainer on the batch."""
    import trl
    from datasets import Dataset

    config, trainer_class = {
        "rloo": (trl.RLOOConfig, trl.RLOOTrainer),
        "grpo": (trl.GRPOConfig, trl.GRPOTrainer),
    }[name]
    with TemporaryDirectory() as folder:
        sine_model(0.0).save_pretrained(folder)
        words().save_pretrained(folder)
        arguments: Any = config(
            output_dir=folder,
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            per_device_train_batch_size=len(PROMPTS),
            num_generations=2,
            beta=BETAS[name],
            **LOSSES[name],
        )
        trainer = trainer_class(
            model=LlamaForCausalLM.from_pretrained(folder),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=arguments,
            processing_class=words(),
            train_dataset=Dataset.from_list([{"prompt": "t5"}] * len(PROMPTS)),
        )
    prompt_ids, prompt_mask = padded(PROMPTS, left=True)
    ids, mask = padded(RESPONSES, left=False)
    whole = torch.cat([prompt_ids, ids], 1), torch.cat([prompt_mask, mask], 1)
    old, reference = (logprobs(phase, *whole, ids.shape[1]) for phase in (SAMPLER, REFERENCE))
    inputs = {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": ids,
        "completion_mask": mask,
        "advantages": advantages_of(name, ((old - reference) * mask).sum(1)),
        "old_logps": (old * mask).sum(1),
        "old_per_token_logps": old,
        "ref_per_token_logps": reference,
        "num_items_in_batch": mask.sum(),
    }
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer._compute_loss(trainer.model.train(), inputs)
    loss.backward()
    squares = [(p.grad.double() ** 2).sum() for p in trainer.model.parameters()]
    return {"loss": loss.item(), "grad_norm": float(sum(squares)) ** 0.5}


def main() -> None:
    """Print a line per trainer."""
    import trl

    rows = {name: offline(name) for name in ("dpo", "kto")}
    for name, row in (rows | {name: rollout(name) for name in BETAS}).items():
        print(json.dumps({"trl": trl.__version__, "trainer": name} | row))


if __name__ == "__main__":
    main()
