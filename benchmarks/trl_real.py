"""TRL's side of real.py, on the same model, tokens and batches; runs in its own environment.

    .peers/trl-ppo/bin/python benchmarks/trl_real.py ppo JOB.json    (TRL 0.24)
    .peers/trl/bin/python benchmarks/trl_real.py reward JOB.json     (TRL 1.16)

JOB.json holds `model` (a folder) and token ids: `prompts` for PPO, `pairs` of [chosen, rejected]
for the reward model. Prints one JSON line with the rate of the median step, leaving out the first.
"""

import json
import statistics
import sys
import time
from typing import Any

import trl
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
    TrainerCallback,
)


class StepClock(TrainerCallback):  # type: ignore[misc]
    """The time at which each step ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Called by the trainer."""
        self.times.append(time.perf_counter())

    def median(self) -> float:
        """Seconds of the median step, the first left out."""
        return statistics.median(b - a for a, b in zip(self.times, self.times[1:], strict=False))


COMMON: dict[str, Any] = {
    "output_dir": "trl_out",
    "report_to": [],
    "use_cpu": True,
    "bf16": False,
    "save_strategy": "no",
    "learning_rate": 1e-5,
    "gradient_checkpointing": False,
}


def main() -> None:
    """One trainer, every step timed."""
    kind, path = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    # AutoTokenizer of transformers 4 does not know the class that transformers 5 writes.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(job["model"])
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    clock, batch = StepClock(), int(job["batch"])
    {"ppo": ppo, "reward": reward}[kind](job, tokenizer, clock, batch)
    print(json.dumps({"side": f"trl {trl.__version__}", "per_s": batch / clock.median()}))


def classifier(folder: str, pad_id: int) -> Any:
    """The model with a scalar head."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    model.config.pad_token_id = pad_id
    return model


def ppo(job: dict[str, Any], tokenizer: Any, clock: StepClock, batch: int) -> None:
    """Three iterations of `batch` episodes."""
    prompts = Dataset.from_dict({"input_ids": job["prompts"] * 3})
    config = trl.PPOConfig(
        **COMMON,
        per_device_train_batch_size=batch // 4,
        gradient_accumulation_steps=4,
        num_mini_batches=4,
        num_ppo_epochs=1,
        local_rollout_forward_batch_size=batch,
        response_length=job["response_tokens"],
        total_episodes=3 * batch,
        temperature=1.0,
        kl_coef=0.02,
        num_sample_generations=0,
        stop_token="eos",
    )
    policy, reference = (AutoModelForCausalLM.from_pretrained(job["model"]) for _ in range(2))
    score, value = (classifier(job["model"], tokenizer.pad_token_id) for _ in range(2))
    trl.PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=score,
        value_model=value,
        train_dataset=prompts,
        eval_dataset=prompts.select(range(4)),
        callbacks=[clock],
    ).train()


def reward(job: dict[str, Any], tokenizer: Any, clock: StepClock, batch: int) -> None:
    """Four steps over the same pairs, eight at a time."""
    chosen, rejected = zip(*(job["pairs"] * 4), strict=True)
    config = trl.RewardConfig(
        **COMMON,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=batch // 8,
        num_train_epochs=1,
        max_length=None,
    )
    trl.RewardTrainer(
        model=classifier(job["model"], tokenizer.pad_token_id),
        args=config,
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"chosen_ids": chosen, "rejected_ids": rejected}),
        callbacks=[clock],
    ).train()


if __name__ == "__main__":
    main()
