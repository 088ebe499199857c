"""Problems of a run in plain words: pure functions of a run's logs.

Each takes a run's rows (of `metrics.jsonl`), results or examples, and returns a `Finding` or None.
The list follows the complaints in other trainers' issue trackers. Each function states its
thresholds and the reason for them.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from understudy.loop.commands import TRAINERS

Row = Mapping[str, Any]
Rows = Sequence[Row]


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem, its evidence, and what to try."""

    name: str
    """Short name, such as "entropy collapse"."""
    seen: str
    """The figures behind it."""
    advice: str
    """What to try, most likely cause first."""

    def __str__(self) -> str:
        return f"{self.name}: {self.seen}\n    try: {self.advice}"


def series(rows: Rows, name: str) -> list[float]:
    """A metric's values in order; steps without it are left out."""
    return [float(row[name]) for row in rows if row.get(name) is not None]


def start_and_end(values: Sequence[float]) -> tuple[float, float]:
    """Mean of the first and of the last fifth (at least one value each)."""
    part = max(1, len(values) // 5)
    return fmean(values[:part]), fmean(values[-part:])


# PPO and the other trainers that sample; rows have metrics without the trainer's name


def bare(rows: Rows, stage: str) -> list[dict[str, Any]]:
    """Rows with the metrics of a trainer, without its name before each."""
    return [{name.removeprefix(f"{stage}/"): value for name, value in r.items()} for r in rows]


def ratio_not_one(rows: Rows) -> Finding | None:
    """The first minibatch uses the weights that sampled: new / old probability must be 1."""
    errors = series(rows, "first_ratio_error")
    # fp32 rounding is near 1e-6, bf16 near 1e-2; a mismatch of temperature or mask gives tenths.
    if not errors or max(errors) < 0.05:
        return None
    return Finding(
        "ratio is not 1 in the first minibatch",
        f"up to {max(errors):.2g} away from 1 before any update",
        "rollout and trainer compute different log-probabilities: look for another temperature, "
        "other weights, dropout that is on, or a shifted mask on one of the two sides",
    )


def kl_not_zero_at_start(rows: Rows) -> Finding | None:
    """Before the first update the policy is the reference."""
    kl = series(rows[:1], "kl")
    if not kl or abs(kl[0]) < 1e-2:
        return None
    return Finding(
        "KL is not 0 at the start",
        f"{kl[0]:.3g} nats per response in the first iteration",
        "the reference is not the model that training starts from, or one of the two ran with "
        "dropout or another temperature",
    )


def kl_negative(rows: Rows) -> Finding | None:
    """On the policy's own samples the mean of log(policy / reference) estimates a KL: >= 0."""
    kl = series(rows, "kl")[1:]
    if len(kl) < 3:
        return None
    # Below 0 by more than the noise of the mean over iterations.
    noise = pstdev(kl) / len(kl) ** 0.5
    if fmean(kl) > -max(0.01, 2 * noise):
        return None
    return Finding(
        "KL is negative",
        f"{fmean(kl):.3g} nats per response on average, noise {noise:.2g}",
        "the samples are not from the measured policy: old weights in the sampler, top-k, "
        "top-p, a minimum length, or another temperature while sampling",
    )


def kl_exploding(rows: Rows) -> Finding | None:
    """The policy has left the region where the reward model has data."""
    kl, lengths = series(rows, "kl"), series(rows, "response_tokens")
    if not kl or not lengths:
        return None
    per_token = start_and_end(kl)[1] / max(start_and_end(lengths)[1], 1.0)
    # The paper's runs stay well below; at 0.5 nats per token the reference finds every token
    # unlikely.
    if per_token < 0.5:
        return None
    return Finding(
        "KL is exploding",
        f"{per_token:.2g} nats per token at the end ({kl[-1]:.3g} per response)",
        "a lower lr; a higher beta; with PPO adaptive_kl_target, or target_kl to stop in time",
    )


def nothing_ends(rows: Rows) -> Finding | None:
    """Every response reaches the length limit, so each gets the score of a missing EOS."""
    rates = series(rows, "eos_rate")
    if not rates or max(rates) > 0:
        return None
    return Finding(
        "no response ends by itself",
        f"0% ended within the length limit in {len(rates)} iterations",
        "another eos_token_id in the model's generation_config.json if it ends its turns with a "
        "token that the run's note does not list; SFT first, so that the model learns to end; a "
        "higher max_response_tokens",
    )


def eos_rate_falling(rows: Rows) -> Finding | None:
    """Ever fewer responses end by themselves."""
    rates = series(rows, "eos_rate")
    if len(rates) < 2:
        return None
    first, last = start_and_end(rates)
    if first - last < 0.1:
        return None
    return Finding(
        "fewer responses end by themselves",
        f"{first:.0%} ended at the start, {last:.0%} at the end",
        "missing_eos_score below what a poor response gets (compare raw_score); a higher "
        "max_response_tokens; SFT data whose responses all end in EOS (understudy data check)",
    )


def length_collapse(rows: Rows) -> Finding | None:
    """Ending at once can earn more than responding: nothing is cut, and little can be wrong."""
    lengths = series(rows, "response_tokens")
    if len(lengths) < 2:
        return None
    # Only the first iteration samples from the untrained policy; a collapse takes a few.
    first, last = lengths[0], start_and_end(lengths)[1]
    if last > 0.6 * first:
        return None
    cut = 1 - (series(rows, "eos_rate") or [1.0])[0]
    seen = f"{first:.3g} tokens at the start, {last:.3g} at the end"
    advice = (
        "read the samples; a higher max_response_tokens; a higher beta or a lower lr; rankings in "
        "which short responses lose (understudy reward-check shows the length rule)"
    )
    if cut > 0.2:
        seen += f"; {cut:.0%} of the first were cut at max_response_tokens, so ending early paid"
    if max(series(rows, "value_explained_variance"), default=1.0) < 0:
        # The critic starts as the reward model, which gives unfinished responses a low value. With
        # gae_lambda below 1 the EOS is credited with the rise in value when the response ends.
        seen += "; the critic never explained the returns, which favours ending"
        advice = f"--gae-lambda 1 and a wider --value-clip; {advice}"
    return Finding("responses have become short", seen, advice)


def responses_alike(first: Sequence[str], last: Sequence[str]) -> Finding | None:
    """One text for many of the held-out prompts at the end, though not before training."""
    if len(first) < 4 or len(last) < 4:
        return None
    # With half as many different responses as at the start, the model no longer reads the prompt.
    if len(set(last)) / len(last) > 0.5 * len(set(first)) / len(first):
        return None
    text, count = Counter(last).most_common(1)[0]
    return Finding(
        "different prompts get the same response",
        f"{len(set(first))} different responses to {len(first)} prompts at the start, "
        f"{len(set(last))} to {len(last)} at the end; {count} of those are {text[:60]!r}",
        "a lower lr; a higher beta; fewer episodes; check for which prompts the reward model likes "
        "that response",
    )


def length_creeping(rows: Rows) -> Finding | None:
    """The reward model may be paying for length."""
    lengths = series(rows, "response_tokens")
    if len(lengths) < 2:
        return None
    first, last = start_and_end(lengths)
    if last < 1.3 * first:
        return None
    return Finding(
        "responses grow longer",
        f"{first:.3g} tokens at the start, {last:.3g} at the end",
        "compare the reward model with the length rule (understudy doctor on its run); a higher "
        "beta; rankings in which longer responses lose",
    )


def entropy_collapse(rows: Rows) -> Finding | None:
    """The policy has become almost deterministic."""
    entropy = series(rows, "entropy")
    if len(entropy) < 2:
        return None
    first, last = start_and_end(entropy)
    if first <= 0 or last > 0.3 * first:
        return None
    return Finding(
        "entropy has collapsed",
        f"{first:.3g} nats per token at the start, {last:.3g} at the end",
        "a lower lr; a higher beta; fewer episodes or an earlier checkpoint's model; read the "
        "samples, which will look alike",
    )


def critic_explains_nothing(rows: Rows) -> Finding | None:
    """Values that predict returns worse than their mean does add noise to every advantage."""
    explained = series(rows, "value_explained_variance")
    if len(explained) < 3 or start_and_end(explained)[1] > 0:
        return None
    return Finding(
        "the critic explains nothing",
        f"explained variance of the returns is {start_and_end(explained)[1]:.2g} at the end",
        "a lower critic_lr if value_loss jumps, a higher one if it falls slowly; no value_clip "
        "(or a wider one) if value_clip_fraction is high; larger batches",
    )


def steps_too_large(rows: Rows) -> Finding | None:
    """With one inner epoch a few per cent of the tokens are clipped; a third is far too many."""
    clipped = series(rows, "clip_fraction")
    if not clipped or max(clipped) < 0.3:
        return None
    return Finding(
        "many ratios are clipped",
        f"{max(clipped):.0%} of the ratios in the worst iteration",
        "a lower lr, fewer inner_epochs, or fewer minibatches",
    )


def judge_stopped_following(results: Row) -> Finding | None:
    """The policy that a judge preferred is not the last one, whose weights are therefore lost."""
    best, done = results.get("judge_best_iteration"), results.get("iterations", 0)
    if best is None or best == done:
        return None
    rate = f"{results['judge_win_rate']:.0%} against the start"
    seen = f"its best is iteration {best} of {done} ({rate}), whose weights are saved"
    if best == 0:
        seen = f"no evaluation in {done} iterations beat the start, whose weights are saved"
    return Finding(
        "the judge stopped following the score",
        seen,
        "read the samples; a higher beta; new rankings of this policy's own responses, and a "
        "reward model trained on them; more held-out prompts if the win rates are noisy",
    )


def groups_alike(rows: Rows) -> Finding | None:
    """All responses to a prompt score the same, so that their comparison teaches nothing."""
    spread = series(rows, "score_std")
    if len(spread) < 2:
        return None
    first, last = start_and_end(spread)
    if last > 0.1 * first:
        return None
    return Finding(
        "the responses to a prompt score alike",
        f"standard deviation of their scores {first:.3g} at the start, {last:.3g} at the end",
        "a higher beta or a lower lr, so that the policy keeps several responses; a higher "
        "temperature; more responses_per_prompt; harder prompts",
    )


def score_up_win_rate_down(rows: Rows, win_rates: Sequence[tuple[int, float]]) -> Finding | None:
    """Over-optimisation: (iteration, win rate against the first responses) by a second judge."""
    scores = series(rows, "score")
    if len(scores) < 2 or len(win_rates) < 2:
        return None
    first, last = start_and_end(scores)
    best_at, best = max(win_rates, key=lambda point: point[1])
    end_at, end = win_rates[-1]
    if last <= first or best - end < 0.1:
        return None
    return Finding(
        "reward rises while responses get worse",
        f"score {first:.3g} to {last:.3g}, but the win rate over the first responses by the second "
        f"judge went from {best:.0%} (iteration {best_at}) to {end:.0%} (iteration {end_at})",
        f"stop near iteration {best_at}; a higher beta; new rankings of this policy's own "
        "responses, and a reward model trained on them",
    )


# SFT


def loss_not_falling(rows: Rows, steps_per_epoch: int = 0) -> Finding | None:
    """Training that learns nothing, by the loss on the *same* demonstrations early and late.

    Those are `valid_data`'s, before the first step and after the best epoch; without validation,
    all training demonstrations, in the first epoch and in the last. One epoch without validation
    shows nothing: its first and last batches are different demonstrations. A loss that blew up in
    the first epoch may have come down since; twice the first step's loss is too much for any batch.
    """
    measured = [(row["step"], row["sft/valid_loss"]) for row in rows if "sft/valid_loss" in row]
    losses = [row["sft/loss"] for row in rows if "sft/loss" in row]
    epochs = len(losses) // steps_per_epoch if steps_per_epoch else 0
    if len(measured) > 1 and measured[0][0] == 0:
        where, first = "valid_data", _finite(measured[0][1])
        last = min(_finite(loss) for _, loss in measured[1:])
    elif epochs > 1:
        where, end = "all demonstrations", epochs * steps_per_epoch
        first = fmean(map(_finite, losses[:steps_per_epoch]))
        last = fmean(map(_finite, losses[end - steps_per_epoch : end]))
        if last > 2 * _finite(losses[0]):
            where, first = "the first step's demonstrations and all", _finite(losses[0])
    else:
        return None
    if last < first:
        return None
    return Finding(
        "the loss does not fall",
        f"on {where} {first:.4g} at the start, {last:.4g} at the end",
        "a higher lr if it is flat (small models need 1e-4 to 3e-3), a lower one if it jumps",
    )


def _finite(loss: float | None) -> float:
    """A logged loss; null (logged for non-finite values) becomes infinity."""
    return math.inf if loss is None else float(loss)


def overfitted(rows: Rows, chosen_by_score: bool) -> Finding | None:
    """The validation loss ends well above its best, and the loss chooses the epoch."""
    losses = series([row for row in rows if row["step"] > 0], "sft/valid_loss")
    if chosen_by_score or len(losses) < 2 or losses[-1] < min(losses) * 1.1:
        return None
    return Finding(
        "the validation loss rises",
        f"best {min(losses):.3g} in epoch {losses.index(min(losses)) + 1}, {losses[-1]:.3g} at the "
        "end; the best epoch by loss is kept",
        "give reward_model to choose the epoch (s3.5: people prefer later epochs than the loss "
        "does); fewer epochs; more demonstrations",
    )


def nothing_is_learned_from(masks: Sequence[Sequence[int]]) -> Finding | None:
    """SFT rows whose loss mask counts no token, or every token."""
    none = sum(not any(mask) for mask in masks)
    whole = sum(all(mask) for mask in masks)
    if not none + whole:
        return None
    return Finding(
        "the loss mask is wrong",
        f"no token counted in {none} rows, every token in {whole}, of {len(masks)}",
        "understudy data check shows the mask; check the chat template and the messages' roles",
    )


def never_ends(num_cut: int, num_responses: int) -> Finding | None:
    """Responses that were cut have lost their EOS, so the model does not learn to end."""
    share = num_cut / max(num_responses, 1)
    if share < 0.05:
        return None
    return Finding(
        "responses do not end",
        f"{share:.0%} of the responses are cut and have lost their EOS",
        "a higher max_response_tokens; a model with a longer context; leave those rows out",
    )


MARKERS = ("<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "<|user|>", "<|assistant|>")
TURNS = ("user:", "assistant:", "human:", "### instruction", "### response", "ask:", "reply:")


def turns_inside_responses(responses: Sequence[str]) -> Finding | None:
    """Chat markup or another speaker's turn inside the text that the loss counts."""
    found = [text for text in responses if has_turn(text)]
    if not found:
        return None
    return Finding(
        "responses contain chat turns",
        f"{len(found)} of {len(responses)}, such as {found[0][:60]!r}",
        "the chat format comes from the tokenizer: give plain text or messages, and cut each "
        "response before the next speaker; otherwise the model learns to speak for the user",
    )


def has_turn(text: str) -> bool:
    """Whether a line starts like a speaker's turn, or the text has chat markup."""
    starts = any(line.strip().lower().startswith(TURNS) for line in text.splitlines())
    return starts or any(marker in text for marker in MARKERS)


# Reward model


def no_better_than_length(results: Mapping[str, Any]) -> list[Finding]:
    """Accuracy whose interval is not above the length rule."""
    findings = []
    for group in _reward_groups(results):
        measured = results[group]
        accuracy, rule = measured["accuracy"], measured["accuracy_length_only"]["rate"]
        if accuracy["low"] is None or rule is None or accuracy["low"] > max(rule, 0.5):
            continue
        name = "no better than length" if rule > 0.5 else "no better than chance"
        findings.append(
            Finding(
                f"the reward model is {name}",
                f"{group}: accuracy {accuracy['rate']:.1%} (from {accuracy['low']:.1%}), the "
                f"length rule alone {rule:.1%}",
                "more rankings; rankings of responses of similar length; a higher lr if "
                "reward/accuracy does not rise; look at accuracy_by_labeler for careless ones",
            )
        )
    return findings


def misses_held_out_labelers(results: Mapping[str, Any]) -> Finding | None:
    """Accuracy on held-out labelers far below that on those trained on (the paper: 3 points)."""
    groups = [results.get(f"{role}_labelers") for role in ("training", "held_out")]
    if None in groups:
        return None
    seen, unseen = (group["accuracy"] for group in groups if group is not None)
    if None in (seen["rate"], unseen["high"]) or seen["rate"] - unseen["high"] < 0.05:
        return None
    return Finding(
        "the reward model does not generalise to other labelers",
        f"{seen['rate']:.1%} on the labelers trained on, at most {unseen['high']:.1%} on others",
        "first check the agreement between the two groups (docs/labeling.md): they may want "
        "different things; then more labelers in training",
    )


def _reward_groups(results: Mapping[str, Any]) -> list[str]:
    return [k for k, v in results.items() if isinstance(v, Mapping) and "accuracy_length_only" in v]


# DPO


def preferred_less_likely(rows: Rows) -> Finding | None:
    """The preferred responses themselves lost probability: only the gap to the others grew."""
    better, worse = series(rows, "dpo/better"), series(rows, "dpo/worse")
    if not better:
        return None
    last = max(1, len(better) // 10)
    ours, theirs = fmean(better[-last:]), fmean(worse[-last:])
    if ours > -1.0:
        return None
    return Finding(
        "preferred responses became less likely",
        f"their implicit score is {ours:.2f} in the last {last} steps (0 at the start), that of "
        f"the others {theirs:.2f}: probability went to texts that nobody has ranked",
        "a lower lr or fewer epochs; a higher beta; SFT on the preferred responses first",
    )


# KTO


def desirable_less_likely(rows: Rows) -> Finding | None:
    """Desirable responses themselves lost probability, as with too high a rate (KTO, 4.2)."""
    good, bad = series(rows, "kto/desirable"), series(rows, "kto/undesirable")
    if not good:
        return None
    last = max(1, len(good) // 10)
    ours, theirs = fmean(good[-last:]), fmean(bad[-last:]) if bad else 0.0
    if ours > -0.5:
        return None
    points = series(rows, "kto/kl")
    return Finding(
        "desirable responses became less likely",
        f"their reward is {ours:.2f} in the last {last} steps (0 at the start), that of "
        f"undesirable ones {theirs:.2f}; the reference point was 0 in "
        f"{points.count(0.0) / len(points):.0%} of steps",
        "a lower lr; a higher desirable_weight or beta; SFT on the desirable responses first",
    )


# Any stage


def skipped_steps(rows: Rows) -> Finding | None:
    """Steps with non-finite gradients."""
    count = sum(sum(series(rows, f"{name}/skipped_steps")) for name in TRAINERS)
    if not count:
        return None
    return Finding(
        "steps were skipped",
        f"{count:g} steps had non-finite gradients and left the weights unchanged",
        "a lower lr; look for broken rows in the data; fp32 instead of bf16",
    )


ROLLOUT_CHECKS: tuple[Callable[[Rows], Finding | None], ...] = (
    ratio_not_one,
    kl_not_zero_at_start,
    kl_negative,
    kl_exploding,
    nothing_ends,
    eos_rate_falling,
    length_creeping,
    length_collapse,
    entropy_collapse,
    critic_explains_nothing,
    steps_too_large,
    groups_alike,
)
"""The checks on the metrics of PPO, and of the other trainers that sample."""
