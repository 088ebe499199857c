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
from pathlib import Path

from understudy.models.policies import save_policy
from understudy.models.text import TextRows, open_rows
from understudy.ppo.advantages import advantages_and_returns
from understudy.ppo.config import PPOConfig
from understudy.ppo.ptx import text_of_step
from understudy.ppo.rewards import adapted_beta, token_rewards
from understudy.ppo.state import State, averaged_policy, load_critic, new_state
from understudy.ppo.update import update_average
from understudy.rl.episodes import Episodes
from understudy.rl.holdout import evaluate_if_due
from understudy.rl.metrics import named, results, shape, timings
from understudy.rl.models import Models, load_models
from understudy.rl.prompts import read_both
from understudy.rl.rollout import roll_out, score_episodes
from understudy.rl.scores import check_finite, scores_of
from understudy.rl.stopping import Judge, Watched, load_judge, open_watch
from understudy.rl.update import minibatches, summary
from understudy.training.checkpoint import crash_point
from understudy.training.optim import constant_with_warmup, set_lr
from understudy.training.settings import prepare_trainer_run
from understudy.training.steps import Metrics, Steps


def train_ppo(config: PPOConfig, judge: Judge | None = None) -> Path:
    """Train as configured and return the run folder; raises SystemExit(75) when told to stop. A
    `judge` in Python takes the place of `config.judge`."""
    # 1. Open the run; load policy, reference, reward model, critic; read prompts and text.
    inputs = (
        *("model", "reward_model", "reward_ensemble", "judge"),
        *("prompts", "pretrain_data", "eval_prompts"),
    )
    run = prepare_trainer_run("ppo", config, inputs)
    if run.done:
        return run.dir
    text = None
    models = load_models(config, "ppo", run.ranks)
    with run.ranks.together():
        critic = load_critic(config, models)
        prompts, held_out = read_both(config, models)
        judge = load_judge(config, held_out, run.ranks, judge)
        if config.pretrain_data is not None:
            text = open_rows(
                config.pretrain_data, models.tokenizer, models.policy, config.ptx_length
            )
    run.claim()

    # 2. Optimisers and moving average; load the newest checkpoint.
    state = new_state(config, models, critic)
    watch = open_watch(config, models, judge)
    kept = Watched(state, watch)
    steps = Steps(run, kept, config.num_iterations, config.save_every, unit="iteration")
    steps.resume()
    if steps.step == 0 and held_out is not None:
        run.log(0, named("ppo", evaluate_if_due(run, config, models, held_out, 0, watch)))

    ended = {}
    with steps.shown("PPO-ptx" if config.ptx_coef > 0 else "PPO"):
        while steps.left and not (watch and watch.is_over):
            started = time.monotonic()
            # 3. Sample one response to each prompt of the iteration.
            episodes = roll_out(config, models, prompts, steps.step)
            crash_point("ppo/rollout")
            sampled = time.monotonic()
            # 4. Score with the reward model; measure log-probs under the reference, and values.
            score_episodes(config, models, episodes, critic)
            scores_B = scores_of(config, episodes)
            # 5. Reward: -beta * log(policy / reference) at each token, the score at the last one.
            rewards_BR, metrics = token_rewards(
                scores_B,
                episodes.old_logprobs_BR,
                episodes.ref_logprobs_BR,
                episodes.mask_BR,
                beta=state.beta,
            )
            check_finite(rewards_BR, config.reward_model)
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
            kl = float(metrics["kl"])
            # 7. Stop before the update if the KL exceeds its limit.
            if config.target_kl is not None and kl > config.target_kl:
                ended = {"stopped_by": "target_kl"}
                break
            # 8. One optimiser step per minibatch: PPO's gradient plus the pretraining gradient.
            updated = _update(config, models, state, episodes, text, steps.step)
            # 9. Log, evaluate, save.
            logged = metrics | value_metrics | shape(episodes) | {"beta": state.beta} | updated
            logged |= timings(config, started, sampled, scored)
            state.beta = _next_beta(config, state.beta, kl)
            logged |= evaluate_if_due(run, config, models, held_out, steps.step + 1, watch)
            models.offload.only("update")  # what is saved
            steps.done(named("ppo", logged))

    # 10. Save the averaged policy; with a judge, the policy that it saw at its best evaluation.
    models.offload.only("update")
    policy = averaged_policy(state)
    if watch is not None:
        watch.restore_best(policy)
        watch.say(steps.step)
    save_policy(policy, models.tokenizer, run.dir / "model")
    run.finish(results(config, steps, prompts, watch) | ended)
    return run.dir


def _update(
    config: PPOConfig,
    models: Models,
    state: State,
    episodes: Episodes,
    text: TextRows | None,
    iteration: int,
) -> Metrics:
    """All minibatches of an iteration, and the moving average after each."""
    models.offload.only("update")
    rate = constant_with_warmup(config.warmup_iterations)(iteration)
    set_lr(state.learners.policy.optimizer, config.lr * rate)
    set_lr(state.learners.critic.optimizer, config.critic_lr * rate)
    found: list[Metrics] = []
    every = minibatches(config, "ppo", iteration, range(config.batch_size))
    for number, rows in enumerate(every):
        step_text = None
        if text is not None:
            step = iteration * len(every) + number
            step_text = text_of_step(text, step, config.ptx_rows, config.seed)
        found.append(state.learners.step(config, episodes, rows, step_text))
        if state.average:
            update_average(state.average, models.policy, config.ema)
        crash_point("ppo/minibatch")
    return summary(found) | {"lr": config.lr * rate}


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
