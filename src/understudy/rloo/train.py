"""RLOO (Ahmadian et al. 2024): REINFORCE with the other responses' mean reward as the baseline.

    understudy rloo --model runs/sft/model --reward-model runs/reward/model \\
        --prompts prompts.jsonl --out runs/rloo

A response is one action: its reward is score - beta * log(policy / reference) of the whole
response, and all of its tokens have the same advantage.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from understudy.rl.groups import Groups, train_on_groups
from understudy.rl.passes import Pass
from understudy.rl.stopping import Judge
from understudy.rl.update import Loss
from understudy.rloo.config import RLOOConfig
from understudy.rloo.loss import Metrics, leave_one_out, rloo_loss
from understudy.training.steps import Metrics as Logged


def train_rloo(config: RLOOConfig, judge: Judge | None = None) -> Path:
    """Train as configured and return the run folder; raises SystemExit(75) when told to stop. A
    `judge` in Python takes the place of `config.judge`."""

    def learn(groups: Groups) -> Logged:
        # Reward of a response, and its advantage over the others to the same prompt.
        episodes = groups.episodes
        rewards_B = groups.scores_B - config.beta * episodes.kl_B()
        advantages_B = leave_one_out(groups.in_groups(rewards_B)).flatten()

        def loss_for(rows: Sequence[int]) -> Loss:
            def loss_of(batch: Pass, new_logprobs_N: Tensor) -> tuple[Tensor, Metrics]:
                return rloo_loss(
                    new_logprobs_N,
                    episodes.take(episodes.old_logprobs_BR, batch),
                    batch.row_N,
                    advantages_B[batch.rows_B],
                    clip=config.clip,
                    num_rows=len(rows),
                )

            return loss_of

        return {"reward": rewards_B.mean(), **groups.update(loss_for)}

    return train_on_groups("rloo", "RLOO", config, learn, judge)
