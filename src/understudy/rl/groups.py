"""Training on groups of responses to one prompt: what RLOO, GRPO and RAFT share.

Shapes: B episodes; the K responses to a prompt stand next to each other.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from understudy.models.policies import Policy, save_policy
from understudy.rl.episodes import Episodes
from understudy.rl.holdout import evaluate_if_due
from understudy.rl.metrics import named, results, shape, timings
from understudy.rl.models import Models, load_models, offload_learner
from understudy.rl.prompts import read_both
from understudy.rl.rollout import roll_out, score_episodes
from understudy.rl.scores import check_finite, scores_of
from understudy.rl.settings import GroupSettings
from understudy.rl.stopping import Judge, Watched, load_judge, open_watch
from understudy.rl.update import Loss, update_policy
from understudy.training.checkpoint import crash_point
from understudy.training.settings import prepare_trainer_run
from understudy.training.steps import Learner, Metrics, Steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    """An iteration's episodes, scored, and a way to learn from them."""

    config: GroupSettings
    models: Models
    learner: Learner[Policy]
    iteration: int
    """Iterations done before this one."""
    episodes: Episodes
    """K responses to each prompt, with their log-probs under policy and reference."""
    scores_B: Tensor
    """Scores, with a fixed one for a response that did not end."""

    def in_groups(self, values_B: Tensor) -> Tensor:
        """(prompts, K) of one value per episode."""
        return values_B.view(-1, self.config.responses_per_prompt)

    def update(
        self, loss_for: Callable[[Sequence[int]], Loss], rows: Sequence[int] | None = None
    ) -> Metrics:
        """The iteration's optimiser steps (`update_policy`)."""
        return update_policy(
            self.config, self.models, self.learner, self.episodes, loss_for, self.iteration, rows
        )


def train_on_groups(
    stage: str,
    title: str,
    config: GroupSettings,
    learn: Callable[[Groups], Metrics],
    judge: Judge | None = None,
) -> Path:
    """Train as configured and return the run folder; raises SystemExit(75) when told to stop.

    `learn` takes an iteration's optimiser steps and returns their metrics.
    """
    # 1. Open the run; load policy, reference, reward model; read prompts.
    inputs = ("model", "reward_model", "reward_ensemble", "judge", "prompts", "eval_prompts")
    run = prepare_trainer_run(stage, config, inputs)
    if run.done:
        return run.dir
    models = load_models(config, stage, run.ranks)
    with run.ranks.together():
        prompts, held_out = read_both(config, models)
        judge = load_judge(config, held_out, run.ranks, judge)
    run.claim()

    # 2. Optimiser; load the newest checkpoint.
    learner = Learner.of(models.policy, config.lr)
    offload_learner(models, "policy", learner)
    watch = open_watch(config, models, judge)
    state = Watched(learner, watch)
    steps = Steps(run, state, config.num_iterations, config.save_every, unit="iteration")
    steps.resume()
    if steps.step == 0 and held_out is not None:
        run.log(0, named(stage, evaluate_if_due(run, config, models, held_out, 0, watch)))

    with steps.shown(title):
        while steps.left and not (watch and watch.is_over):
            started = time.monotonic()
            # 3. Sample K responses to each prompt of the iteration.
            episodes = roll_out(config, models, prompts, steps.step, config.responses_per_prompt)
            crash_point(f"{stage}/rollout")
            sampled = time.monotonic()
            # 4. Score with the reward model; measure log-probs under the reference.
            score_episodes(config, models, episodes)
            scores_B = scores_of(config, episodes)
            check_finite(scores_B, config.reward_model)
            scored = time.monotonic()
            # 5. Learn.
            groups = Groups(
                config=config,
                models=models,
                learner=learner,
                iteration=steps.step,
                episodes=episodes,
                scores_B=scores_B,
            )
            spread = groups.in_groups(scores_B).std(dim=1).mean()
            logged = {"score": scores_B.mean(), "score_std": spread} | learn(groups)
            logged["kl"] = episodes.kl_B().mean()
            # 6. Log, evaluate, save.
            logged |= shape(episodes) | timings(config, started, sampled, scored)
            logged |= evaluate_if_due(run, config, models, held_out, steps.step + 1, watch)
            models.offload.only("update")  # what is saved
            steps.done(named(stage, logged))

    # 7. Save the policy: the last, or the best by the judge.
    if watch is not None:
        watch.restore_best(models.policy)
        watch.say(steps.step)
    save_policy(models.policy, models.tokenizer, run.dir / "model")
    run.finish(results(config, steps, prompts, watch))
    return run.dir
