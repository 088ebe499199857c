"""GRPO (Shao et al. 2024): PPO's surrogate, with a group's scores in place of a critic.

    understudy grpo --model runs/sft/model --reward-model runs/reward/model \\
        --prompts prompts.jsonl --out runs/grpo

The score of a response, normalised within its group, is the advantage of each of its tokens
(outcome supervision, s4.1.2). The KL term is in the loss, not in the reward (s4.1.1).
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from understudy.grpo.config import GRPOConfig
from understudy.grpo.loss import Metrics, group_advantages, grpo_loss
from understudy.rl.groups import Groups, train_on_groups
from understudy.rl.passes import Pass
from understudy.rl.stopping import Judge
from understudy.rl.update import Loss
from understudy.training.steps import Metrics as Logged


def train_grpo(config: GRPOConfig, judge: Judge | None = None) -> Path:
    """Train as configured and return the run folder; raises SystemExit(75) when told to stop. A
    `judge` in Python takes the place of `config.judge`."""

    def learn(groups: Groups) -> Logged:
        episodes = groups.episodes
        scores_GK = groups.in_groups(groups.scores_B)
        advantages_B = group_advantages(scores_GK, config.scale_advantages).flatten()

        def loss_for(rows: Sequence[int]) -> Loss:
            def loss_of(batch: Pass, new_logprobs_N: Tensor) -> tuple[Tensor, Metrics]:
                return grpo_loss(
                    new_logprobs_N,
                    episodes.take(episodes.old_logprobs_BR, batch),
                    episodes.take(episodes.ref_logprobs_BR, batch),
                    batch.row_N,
                    advantages_B[batch.rows_B],
                    clip=config.clip,
                    beta=config.beta,
                    num_rows=len(rows),
                )

            return loss_of

        return groups.update(loss_for)

    return train_on_groups("grpo", "GRPO", config, learn, judge)
