"""KTO (Ethayarajh et al. 2024): responses that are each desirable or not in, a policy out.

The reference is the model that training starts from. The mismatched pairs of every step are planned
before the first one, so the reference's log-probs of all responses are computed once and training
holds only one network.

Departures: the reference point is estimated on the whole batch, not on each micro-batch; short runs
warm up over a tenth of their steps; gradients are clipped at 1 instead of 10.
"""

import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch

from understudy.kto.config import KTOConfig
from understudy.kto.data import Judged, mismatched, note_unpaired, read_feedback
from understudy.kto.loss import accuracy, batch_sums, kto_losses, reference_point
from understudy.models.batching import shuffled
from understudy.models.chat import padding_id
from understudy.models.policies import save_policy
from understudy.models.trunk import context_length
from understudy.records.shelf import Shelf
from understudy.training.policy import open_policy
from understudy.training.responses import Sums, known_logprobs
from understudy.training.settings import prepare_trainer_run
from understudy.training.steps import Learner, Metrics, Steps


def train_kto(config: KTOConfig) -> Path:
    """Train as configured and return the run folder; raises SystemExit(75) when told to stop."""
    # 1. Open the run, the policy, the feedback.
    run = prepare_trainer_run("kto", config, ("model", "data", "valid_data"))
    if run.done:
        return run.dir
    ranks = run.ranks
    model, tokenizer = open_policy("kto", config.model, config, ranks)
    with ranks.together():
        context = context_length(model)
        train, valid = read_feedback(config, tokenizer, context)
    run.claim()
    pad_id, budget = padding_id(tokenizer), config.micro_batch_tokens
    weights = (config.beta, config.desirable_weight, config.undesirable_weight)

    # 2. Plan all batches and their mismatched pairs.
    size, per_epoch = config.batch_size, -(-len(train.rows) // config.batch_size)
    orders = [
        shuffled(len(train.rows), config.seed, "kto/order", epoch) for epoch in range(config.epochs)
    ]
    batches = [order[i * size : (i + 1) * size] for order in orders for i in range(per_epoch)]
    pairs: Shelf[Judged] = Shelf()
    starts = [0]
    for batch in batches:
        for pair in mismatched([train.rows[i] for i in batch], context):
            pairs.append(pair)
        starts.append(len(pairs))
    parts = [slice(*ends) for ends in pairwise(starts)]
    note_unpaired([part.stop - part.start for part in parts], str(config.data))
    held_back = [] if valid is None else valid.rows
    valid_pairs = mismatched(held_back, context)

    # 3. The reference's log-probs, from the policy before it learns.
    known = partial(known_logprobs, model, pad_id=pad_id, micro_batch_tokens=budget, ranks=ranks)
    model.eval()
    reference, pair_reference = known(train.rows), known(pairs)
    valid_reference, valid_pair_reference = known(held_back), known(valid_pairs)

    def measured() -> dict[str, float]:
        """Loss and accuracy on the validation feedback."""
        if valid is None:
            return {}
        rewards_N = torch.cat(known(held_back)) - torch.cat(valid_reference)
        desirable_N = torch.tensor([row.desirable for row in held_back])
        z0 = reference_point(known(valid_pairs), valid_pair_reference)
        return {
            "kto/valid_loss": float(kto_losses(rewards_N, desirable_N, z0, *weights).mean()),
            "kto/valid_accuracy": accuracy(rewards_N, desirable_N),
        }

    # 4. Optimiser and schedule; load the newest checkpoint.
    learner = Learner.of(model, config.lr, config.weight_decay)
    steps = Steps(run, learner, len(batches), config.save_every)
    steps.resume()
    if steps.step == 0 and valid is not None:
        run.log(0, measured())
    warmup = min(config.warmup_steps, steps.total // 10)

    # 5. One optimiser step per batch of responses, with the batch's own reference point.
    model.train()
    with steps.shown("KTO"):
        while steps.left:
            started, step = time.monotonic(), steps.step
            lr = config.lr * min(1.0, (step + 1) / max(warmup, 1))
            rows = [train.rows[i] for i in batches[step]]
            z0 = reference_point(known(pairs[parts[step]]), pair_reference[parts[step]])
            of_rows = [reference[i] for i in batches[step]]
            sums = batch_sums(model, rows, of_rows, z0, pad_id, weights, budget, ranks)
            result = learner.step(config.max_grad_norm, lr)
            metrics = _metrics(sums, sum(row.desirable for row in rows), len(rows)) | {
                "kto/kl": z0,
                "kto/lr": lr,
                "kto/grad_norm": result.grad_norm,
                "kto/skipped_steps": float(result.skipped),
                "kto/responses_per_second": len(rows) / (time.monotonic() - started),
            }
            # 6. After each epoch: measure. Log, save.
            if (step + 1) % per_epoch == 0:
                model.eval()
                metrics |= measured()
                model.train()
            steps.done(metrics)
    save_policy(model, tokenizer, run.dir / "model")
    run.finish(
        {
            **{name.removeprefix("kto/"): value for name, value in measured().items()},
            "num_responses": len(train.rows),
            "num_desirable": train.num_desirable,
            "num_dropped_long_prompts": train.num_dropped,
            "num_cut_responses": train.num_cut,
        }
    )
    return run.dir


def _metrics(sums: Sums, num_desirable: int, num_responses: int) -> Metrics:
    """A step's metrics from the sums over its responses; none for a kind that the batch lacks."""
    metrics: Metrics = {"kto/loss": sums["loss"], "kto/responses": float(num_responses)}
    counts = {"desirable": num_desirable, "undesirable": num_responses - num_desirable}
    for name, count in counts.items():
        if count:
            metrics[f"kto/{name}"] = sums[name] / count
    if all(counts.values()):
        metrics["kto/margin"] = metrics["kto/desirable"] - metrics["kto/undesirable"]
    return metrics
