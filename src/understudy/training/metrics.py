"""Every metric that any stage logs, with its meaning in one line.

`Run.log` refuses a name that is not here, so a metric cannot go undocumented. Names are
`stage/quantity`. Names that `is_timing` recognises are wall-clock figures: they go to
`timings.jsonl`, so that a resumed run's `metrics.jsonl` equals an uninterrupted one's byte for
byte.
"""

ROLLOUTS: dict[str, str] = {
    "score": "reward model's score of a response; a missing EOS counts as its fixed score",
    "raw_score": "reward model's own score of a response, whether or not it ended",
    "score_std": "standard deviation of the scores of one prompt's responses, mean over prompts",
    "kl": "sum over a response of log(policy / reference) at the sampled tokens; 0 at start",
    "entropy": "entropy of the policy at a response token, in nats",
    "engine_error": "with `vllm`, largest log-prob difference of a token, server to policy",
    "response_tokens": "tokens in a response, EOS included",
    "eos_rate": "share of responses that ended by themselves within the length limit",
    "first_ratio_error": "largest |ratio - 1| in the first minibatch; should be rounding only",
    "ratio_max": "largest ratio of new to old probability of a token in the iteration",
    "grad_norm": "norm of the gradient before clipping, mean over steps",
    "skipped_steps": "optimiser steps skipped because a gradient was not finite",
    "lr": "policy learning rate of the iteration",
    "eval_score": "score on the held-out prompts (missing EOS counts as its fixed score)",
    "eval_kl": "KL sum per response on the held-out prompts",
    "eval_eos_rate": "share of the held-out responses that ended by themselves",
    "eval_judge": "share of held-out prompts whose response the judge scores above the first one",
    "seconds_rollout": "wall time of sampling",
    "seconds_score": "wall time of reward model and reference",
    "seconds_update": "wall time of the optimiser steps",
    "episodes_per_second": "episodes per second of the whole iteration",
}
"""Metrics of every trainer on groups of responses: one line per iteration, means over its
episodes."""

METRICS: dict[str, str] = {
    # pretrain: one line per step; the benchmarks every `eval_every` steps
    "pretrain/loss": "next-token loss of the step's batch, in nats per token",
    "pretrain/valid_loss": "next-token loss on fresh pages of the tiny world's web",
    "pretrain/facts": "share of questions about the fact table answered exactly",
    "pretrain/sentiment": "share of reviews correctly called good or bad, two shots",
    "pretrain/reading": "share of questions on a passage answered exactly, two shots",
    "pretrain/zog": "share of sentences translated exactly into the toy language, one shot",
    # sft: one line per step; validation before the first (step 0) and after each epoch
    "sft/loss": "negative log-likelihood per response token of the step's batch, in nats",
    "sft/text_loss": "the same per token of the pretraining rows that are mixed in",
    "sft/lr": "learning rate of the step",
    "sft/grad_norm": "norm of the whole gradient before clipping",
    "sft/skipped_steps": "1 if the step was skipped because its gradient was not finite",
    "sft/valid_loss": "negative log-likelihood per response token on valid_data; step 0: untrained",
    "sft/valid_score": "reward model's mean score of sampled responses to valid_data's prompts",
    "sft/tokens_per_second": "tokens of the step, padding not counted, per second",
    # reward: one line per step, measured before the step's update
    "reward/loss": "mean over prompts of the mean over kept pairs of -log sigmoid(better - worse)",
    "reward/accuracy": "share of the batch's pairs in which the preferred response scores higher",
    "reward/margin": "mean difference of score between preferred and other response",
    "reward/score": "mean score of the batch's responses",
    "reward/pairs": "pairs in the batch after ties are left out",
    "reward/lr": "learning rate of the step",
    "reward/grad_norm": "norm of the whole gradient before clipping",
    "reward/skipped_steps": "1 if the step was skipped because its gradient was not finite",
    "reward/pairs_per_second": "pairs per second of the step",
    # ppo: one line per iteration; means over its episodes unless said otherwise
    "ppo/score": "reward model's score of a response; a missing EOS counts as its fixed score",
    "ppo/raw_score": "reward model's own score of a response, whether or not it ended",
    "ppo/reward": "sum of a response's rewards: score minus beta times KL",
    "ppo/kl": "sum over a response of log(policy / reference) at the sampled tokens; 0 at start",
    "ppo/beta": "KL coefficient in use (changes only under adaptive KL)",
    "ppo/entropy": "entropy of the policy at a response token, in nats",
    "ppo/engine_error": "with `vllm`, largest log-prob difference of a token, server to policy",
    "ppo/response_tokens": "tokens in a response, EOS included",
    "ppo/eos_rate": "share of responses that ended by themselves within the length limit",
    "ppo/value_explained_variance": "1 - var(returns - values) / var(returns), before the update",
    "ppo/policy_loss": "clipped surrogate loss, mean over tokens, mean over minibatches",
    "ppo/value_loss": "half the critic's squared error, mean over tokens, mean over minibatches",
    "ppo/ptx_loss": "next-token loss on pretraining rows, mean over tokens and minibatches",
    "ppo/ratio": "new / old probability of the sampled tokens, mean over minibatches",
    "ppo/first_ratio_error": "largest |ratio - 1| in the first minibatch; should be rounding only",
    "ppo/ratio_max": "largest ratio in the iteration",
    "ppo/clip_fraction": "share of response tokens whose ratio is clipped",
    "ppo/value_clip_fraction": "share of tokens with a clipped value error (0 without clipping)",
    "ppo/approx_kl": "KL of old from new policy within the iteration: (ratio - 1) - log ratio",
    "ppo/policy_grad_norm": "norm of the policy's accumulated (PPO + pretraining) gradient",
    "ppo/surrogate_grad_norm": "the same before the pretraining gradient is added, with ptx only",
    "ppo/critic_grad_norm": "norm of the critic's gradient, mean over steps",
    "ppo/skipped_steps": "optimiser steps skipped because a gradient was not finite",
    "ppo/lr": "policy learning rate of the iteration",
    "ppo/eval_score": "score on the held-out prompts (missing EOS counts as its fixed score)",
    "ppo/eval_kl": "KL sum per response on the held-out prompts",
    "ppo/eval_eos_rate": "share of the held-out responses that ended by themselves",
    "ppo/eval_judge": "share of held-out prompts whose response the judge prefers to the first one",
    "ppo/seconds_rollout": "wall time of sampling",
    "ppo/seconds_score": "wall time of reward model, reference and critic",
    "ppo/seconds_update": "wall time of the minibatch steps, pretraining gradient included",
    "ppo/episodes_per_second": "episodes per second of the whole iteration",
    # rloo, grpo, raft: one line per iteration; means over its episodes unless said otherwise
    **{f"rloo/{name}": meaning for name, meaning in ROLLOUTS.items()},
    "rloo/reward": "a response's reward: score minus beta times KL",
    "rloo/policy_loss": "mean over responses of the clipped -advantage * ratio, over minibatches",
    "rloo/clip_fraction": "share of responses whose ratio is clipped",
    **{f"grpo/{name}": meaning for name, meaning in ROLLOUTS.items()},
    "grpo/policy_loss": "clipped surrogate: mean over a response's tokens, then over responses",
    "grpo/kl_penalty": "beta times the loss's KL estimate, averaged likewise",
    "grpo/clip_fraction": "share of tokens whose ratio is clipped, averaged likewise",
    **{f"raft/{name}": meaning for name, meaning in ROLLOUTS.items()},
    "raft/best_score": "score of the best response to a prompt, mean over prompts",
    "raft/left_out": "prompts of the iteration none of whose responses ended by themselves",
    "raft/unfinished": "responses learned from that did not end, since too few prompts had one",
    "raft/loss": "negative log-likelihood per token of the best responses, mean over minibatches",
    # dpo: one line per step, before its update; validation before the first (step 0) and per epoch
    "dpo/loss": "mean over prompts of the mean over pairs of -log sigmoid(better - worse)",
    "dpo/accuracy": "share of the batch's pairs in which the preferred response scores higher",
    "dpo/margin": "mean of better - worse over the batch's pairs",
    "dpo/better": "implicit score of preferred responses: beta * log(policy / reference)",
    "dpo/worse": "the same of the other responses",
    "dpo/pairs": "pairs in the batch after ties are left out",
    "dpo/lr": "learning rate of the step",
    "dpo/grad_norm": "norm of the whole gradient before clipping",
    "dpo/skipped_steps": "1 if the step was skipped because its gradient was not finite",
    "dpo/valid_loss": "the loss on valid_data; log 2 at step 0",
    "dpo/valid_accuracy": "the accuracy on valid_data; a half at step 0",
    "dpo/pairs_per_second": "pairs per second of the step",
    # kto: one line per step, before its update; validation before the first (step 0) and per epoch
    "kto/loss": "mean over responses of weight - weight * sigmoid(+-beta * (reward - kl))",
    "kto/desirable": "beta times the mean reward of desirable responses, log(policy / reference)",
    "kto/undesirable": "the same of undesirable ones",
    "kto/margin": "desirable - undesirable; a batch without a kind leaves out what needs it",
    "kto/kl": "the reference point z0 in nats: log(policy / reference) of mismatched pairs, or 0",
    "kto/responses": "responses in the batch",
    "kto/lr": "learning rate of the step",
    "kto/grad_norm": "norm of the whole gradient before clipping",
    "kto/skipped_steps": "1 if the step was skipped because its gradient was not finite",
    "kto/valid_loss": "the loss on valid_data; half the mean weight at step 0",
    "kto/valid_accuracy": "share of pairs of a desirable and an undesirable response of valid_data "
    "in which the desirable one has the higher reward; a half at step 0",
    "kto/responses_per_second": "responses per second of the step",
}


def is_timing(name: str) -> bool:
    """Whether a metric is a wall-clock figure, which differs between equal runs."""
    return "seconds" in name.rsplit("/")[-1] or name.endswith("_per_second")


def check_metrics(names: list[str]) -> None:
    """Assert that each name is documented here."""
    unknown = [name for name in names if name not in METRICS]
    assert not unknown, f"undocumented metrics: {unknown}; add them to training/metrics.py"
