"""PPO and PPO-ptx (s3.5, C.4): a policy optimised against the reward model.

    understudy ppo --model runs/init/model --reward-model runs/reward/model \\
        --prompts prompts.jsonl --pretrain-data web.txt --out runs/ppo_ptx

A bandit: a prompt comes in, the policy responds, the reward model scores, the episode ends. Where
the paper is silent: lambda 0.95, whitened advantages and value clipping come from the predecessors'
code; the moving average is updated once per optimiser step; the text's mean loss per token is
weighed against PPO's loss per episode (`ptx_reduction`); warmup covers both policy and critic; a
missing EOS scores a fixed -1.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from understudy.models.batching import shuffled
from understudy.models.chat import never_ended
from understudy.models.policies import save_policy, say_once
from understudy.models.trunk import context_length
from understudy.ppo.advantages import advantages_and_returns
from understudy.ppo.config import PPOConfig
from understudy.ppo.episodes import Episodes
from understudy.ppo.holdout import evaluate
from understudy.ppo.prompts import Prompts, read_prompts
from understudy.ppo.ptx import read_rows, rows_of_step
from understudy.ppo.rewards import adapted_beta, final_scores, token_rewards
from understudy.ppo.rollout import measure, prompts_of, sample
from understudy.ppo.state import Models, State, averaged_policy, load_models, new_state
from understudy.ppo.update import update_average
from understudy.training.checkpoint import crash_point
from understudy.training.optim import constant_with_warmup, set_lr
from understudy.training.settings import prepare_trainer_run
from understudy.training.steps import Metrics, Steps


def train_ppo(config: PPOConfig) -> Path:
    """Train as configured and return the run folder; raises SystemExit(75) when told to stop."""
    # 1. Open the run; load policy, reference, reward model, critic; read prompts and text.
    inputs = ("model", "reward_model", "prompts", "pretrain_data", "eval_prompts")
    run = prepare_trainer_run("ppo", config, inputs)
    if run.done:
        return run.dir
    text_NT = None
    with run.ranks.together():
        models = load_models(config, run.ranks)
        prompts = _read(config, models, config.prompts, training=True)
        held_out = _read(config, models, config.eval_prompts, training=False)
        if config.pretrain_data is not None:
            text_NT = read_rows(
                config.pretrain_data, models.tokenizer, models.policy, config.ptx_length
            )
    assert prompts is not None
    run.claim()
    models.shard()

    # 2. Optimisers and moving average; load the newest checkpoint.
    state = new_state(config, models)
    steps = Steps(run, state, config.num_iterations, config.save_every, unit="iteration")
    steps.resume()
    if steps.step == 0 and held_out is not None:
        run.log(0, evaluate(run, config, models, held_out, 0))

    stopped_by = "episodes"
    with steps.shown("PPO-ptx" if config.ptx_coef > 0 else "PPO"):
        while steps.left:
            started = time.monotonic()
            # 3. Sample one response to each prompt of the iteration.
            episodes = _sample(config, models, prompts, steps.step)
            crash_point("ppo/rollout")
            sampled = time.monotonic()
            # 4. Score with the reward model; measure log-probs under the reference, and values.
            measure(
                episodes,
                models.reference,
                models.reward_model,
                models.critic,
                temperature=config.temperature,
                micro_batch_tokens=config.micro_batch_tokens,
                ranks=run.ranks,
            )
            scores_B = final_scores(
                episodes.raw_scores_B, episodes.finished_B, config.missing_eos_score
            )
            # 5. Reward: -beta * log(policy / reference) at each token, the score at the last one.
            rewards_BR, metrics = token_rewards(
                scores_B,
                episodes.old_logprobs_BR,
                episodes.ref_logprobs_BR,
                episodes.mask_BR,
                beta=state.beta,
            )
            _check_finite(rewards_BR, config)
            # 6. Advantages and the critic's targets.
            episodes.advantages_BR, episodes.returns_BR, value_metrics = advantages_and_returns(
                rewards_BR,
                episodes.values_BR,
                episodes.mask_BR,
                discount=config.discount,
                gae_lambda=config.gae_lambda,
                whiten_rewards=config.whiten_rewards,
                whiten_advantages=config.whiten_advantages,
            )
            scored = time.monotonic()
            kl = float(metrics["ppo/kl"])
            # 7. Stop before the update if the KL exceeds its limit.
            if config.target_kl is not None and kl > config.target_kl:
                stopped_by = "target_kl"
                break
            # 8. One optimiser step per minibatch: PPO's gradient plus the pretraining gradient.
            updated = _update(config, models, state, episodes, text_NT, steps.step)
            # 9. Log, evaluate, save.
            logged = metrics | value_metrics | _shape(episodes) | {"ppo/beta": state.beta} | updated
            logged |= _timings(config, started, sampled, scored)
            state.beta = _next_beta(config, state.beta, kl)
            done = steps.step + 1
            if held_out is not None and _due(config, done, config.eval_every):
                logged |= evaluate(run, config, models, held_out, done)
            steps.done(logged)

    # 10. Save the averaged policy.
    save_policy(averaged_policy(state), models.tokenizer, run.dir / "model")
    run.finish(_results(config, steps, prompts, stopped_by))
    return run.dir


def _due(config: PPOConfig, iteration: int, every: int) -> bool:
    return iteration % every == 0 or iteration == config.num_iterations


def _read(
    config: PPOConfig, models: Models, path: Path | None, *, training: bool
) -> Prompts | None:
    if path is None:
        return None
    contexts = [context_length(m) for m in (models.policy, models.reward_model)]
    return read_prompts(
        path,
        models.tokenizer,
        max_prompt_tokens=config.max_prompt_tokens,
        max_response_tokens=config.max_response_tokens,
        context=min((c for c in contexts if c is not None), default=None),
        training=training,
    )


def _sample(config: PPOConfig, models: Models, prompts: Prompts, iteration: int) -> Episodes:
    """An iteration's episodes; a token's noise depends on (seed, iteration, episode, token) only.

    Warns on standard error if none of the first responses ends by itself.
    """
    chosen = prompts_of(iteration, config.batch_size, len(prompts.ids), config.seed)
    episodes = sample(
        models.policy,
        [prompts.ids[i] for i in chosen],
        keys=[(iteration, episode) for episode in range(config.batch_size)],
        seed=config.seed,
        temperature=config.temperature,
        max_response_tokens=config.max_response_tokens,
        stop_ids=models.stop_ids,
        pad_id=models.pad_id,
        slots=config.rollout_slots,
        replica=models.replica,
        ranks=models.ranks,
    )
    if models.ranks.is_first and iteration == 0 and not episodes.finished_B.any():
        say_once(f"{config.model}: {never_ended(models.tokenizer, config.max_response_tokens)}")
    return episodes


def _check_finite(rewards_BR: Tensor, config: PPOConfig) -> None:
    if not bool(torch.isfinite(rewards_BR).all()):
        raise FloatingPointError(
            "a reward is not finite, so nothing can be learned from it; check the reward model "
            f"{config.reward_model}"
        )


def _shape(episodes: Episodes) -> Metrics:
    """Metrics of the responses' form, regardless of their scores."""
    return {
        "ppo/raw_score": episodes.raw_scores_B.mean(),
        "ppo/response_tokens": episodes.mask_BR.sum(dim=1).float().mean(),
        "ppo/eos_rate": episodes.finished_B.float().mean(),
    }


def _update(
    config: PPOConfig,
    models: Models,
    state: State,
    episodes: Episodes,
    text_NT: Tensor | None,
    iteration: int,
) -> Metrics:
    """All minibatches of an iteration, and the moving average after each."""
    rate = constant_with_warmup(config.warmup_iterations)(iteration)
    set_lr(state.learners.policy.optimizer, config.lr * rate)
    set_lr(state.learners.critic.optimizer, config.critic_lr * rate)
    num_steps = config.inner_epochs * config.num_minibatches
    steps: list[Metrics] = []
    for number in range(num_steps):
        rows = _minibatch(config, iteration, number)
        text_rows = None
        if text_NT is not None:
            step = iteration * num_steps + number
            text_rows = rows_of_step(text_NT, step, config.ptx_rows, config.seed)
        steps.append(state.learners.step(config, episodes, rows, text_rows))
        if state.average:
            update_average(state.average, models.policy, config.ema)
        crash_point("ppo/minibatch")
    return _summary(steps) | {"ppo/lr": config.lr * rate}


def _next_beta(config: PPOConfig, beta: float, kl: float) -> float:
    if config.adaptive_kl_target is None:
        return beta
    return adapted_beta(
        beta,
        kl,
        target=config.adaptive_kl_target,
        horizon=config.adaptive_kl_horizon,
        episodes=config.batch_size,
    )


def _minibatch(config: PPOConfig, iteration: int, number: int) -> Sequence[int]:
    """The episodes of an iteration's `number`-th step; each inner epoch has its own order."""
    epoch, part = divmod(number, config.num_minibatches)
    order = shuffled(config.batch_size, config.seed, "ppo/minibatch", iteration, epoch)
    start = part * config.minibatch_size
    return order[start : start + config.minibatch_size]


def _summary(steps: list[Metrics]) -> Metrics:
    """An iteration's metrics from those of its steps: means, except for those listed below."""
    columns: dict[str, list[float]] = defaultdict(list)
    for step in steps:
        for name, value in step.items():
            columns[name].append(float(value))
    means: Metrics = {name: sum(values) / len(values) for name, values in columns.items()}
    return means | {
        "ppo/ratio_max": max(columns["ppo/ratio_max"]),
        "ppo/first_ratio_error": columns["ppo/first_ratio_error"][0],
        "ppo/skipped_steps": sum(columns["ppo/skipped_steps"]),
    }


def _timings(config: PPOConfig, started: float, sampled: float, scored: float) -> Metrics:
    now = time.monotonic()
    return {
        "ppo/seconds_rollout": sampled - started,
        "ppo/seconds_score": scored - sampled,
        "ppo/seconds_update": now - scored,
        "ppo/episodes_per_second": config.batch_size / (now - started),
    }


def _results(config: PPOConfig, steps: Steps, prompts: Prompts, stopped_by: str) -> dict[str, Any]:
    return {
        "iterations": steps.step,
        "episodes": steps.step * config.batch_size,
        "stopped_by": stopped_by,
        "num_prompts": len(prompts.ids),
        "num_dropped_long_prompts": prompts.num_dropped,
    }
