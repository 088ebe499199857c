"""DPO (Rafailov et al. 2023): rankings in, a policy out, without a reward model or sampling.

The reference is the model that training starts from. Its log-probs of all responses are computed
once, before the first step, so that training holds only one network.

Departures: rankings of K responses give all their pairs, as the reward model's do (s3.5); AdamW
replaces RMSprop, and short runs warm up over a tenth of their steps.
"""

import time
from pathlib import Path

import torch
from torch import Tensor

from understudy.dpo.config import DPOConfig
from understudy.dpo.loss import batch_sums
from understudy.models.batching import shuffled
from understudy.models.chat import padding_id
from understudy.models.policies import save_policy
from understudy.models.trunk import context_length
from understudy.training.policy import open_policy
from understudy.training.rankings import read_rankings
from understudy.training.responses import Sums, known_logprobs
from understudy.training.settings import prepare_trainer_run
from understudy.training.steps import Learner, Metrics, Steps


def train_dpo(config: DPOConfig) -> Path:
    """Train as configured and return the run folder; raises SystemExit(75) when told to stop."""
    # 1. Open the run, the policy, the rankings.
    inputs = ("model", "data", "valid_data", "labeler_weights", "group_weights")
    run = prepare_trainer_run("dpo", config, inputs)
    if run.done:
        return run.dir
    ranks = run.ranks
    model, tokenizer = open_policy("dpo", config.model, config, ranks)
    with ranks.together():
        train, valid = read_rankings(config, tokenizer, context_length(model))
    run.claim()
    pad_id, budget = padding_id(tokenizer), config.micro_batch_tokens

    # 2. The reference's log-probs, from the policy before it learns.
    model.eval()
    reference = known_logprobs(model, train.rows, pad_id, budget, ranks)
    held_back = [] if valid is None else valid.rows
    valid_reference = known_logprobs(model, held_back, pad_id, budget, ranks)

    def measured() -> dict[str, float]:
        """Loss and accuracy on the validation rankings."""
        if valid is None:
            return {}
        with torch.no_grad():
            sums = batch_sums(model, held_back, valid_reference, pad_id, config.beta, budget, ranks)
        return {
            "dpo/valid_loss": float(sums["loss"]),
            "dpo/valid_accuracy": float(sums["right"] / sums["pairs"]),
        }

    # 3. Optimiser and schedule; load the newest checkpoint.
    learner = Learner.of(model, config.lr, config.weight_decay)
    per_epoch = -(-len(train.rows) // config.batch_size)
    steps = Steps(run, learner, config.epochs * per_epoch, config.save_every)
    steps.resume()
    if steps.step == 0 and valid is not None:
        run.log(0, measured())
    warmup = min(config.warmup_steps, steps.total // 10)

    # 4. One optimiser step per batch of prompts.
    model.train()
    with steps.shown("DPO"):
        while steps.left:
            started = time.monotonic()
            lr = config.lr * min(1.0, (steps.step + 1) / max(warmup, 1))
            epoch, number = divmod(steps.step, per_epoch)
            order = shuffled(len(train.rows), config.seed, "dpo/order", epoch)
            chosen = order[number * config.batch_size : (number + 1) * config.batch_size]
            rows, known = [train.rows[i] for i in chosen], [reference[i] for i in chosen]
            metrics = _metrics(batch_sums(model, rows, known, pad_id, config.beta, budget, ranks))
            result = learner.step(config.max_grad_norm, lr)
            metrics |= {
                "dpo/lr": lr,
                "dpo/grad_norm": result.grad_norm,
                "dpo/skipped_steps": float(result.skipped),
                "dpo/pairs_per_second": metrics["dpo/pairs"] / (time.monotonic() - started),
            }
            # 5. After each epoch: measure. Log, save.
            if number == per_epoch - 1:
                model.eval()
                metrics |= measured()
                model.train()
            steps.done(metrics)
    save_policy(model, tokenizer, run.dir / "model")
    run.finish(
        {
            **{name.removeprefix("dpo/"): value for name, value in measured().items()},
            "num_rankings": len(train.rows),
            "num_pairs": sum(len(row.pairs) for row in train.rows),
            "num_dropped_long_prompts": train.num_dropped,
            "num_all_tied": train.num_all_tied,
            "num_cut_responses": train.num_cut,
        }
    )
    return run.dir


def _metrics(sums: Sums) -> Metrics:
    """A step's metrics from the sums over its pairs."""
    better: Tensor = sums["better"] / sums["pairs"]
    margin = sums["margin"] / sums["pairs"]
    return {
        "dpo/loss": sums["loss"],
        "dpo/accuracy": sums["right"] / sums["pairs"],
        "dpo/margin": margin,
        "dpo/better": better,
        "dpo/worse": better - margin,
        "dpo/pairs": sums["pairs"],
    }
