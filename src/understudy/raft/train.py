"""RAFT (Dong et al. 2023): sample K responses to each prompt, fine-tune on the best, repeat.

    understudy raft --model runs/sft/model --reward-model runs/reward/model \\
        --prompts prompts.jsonl --out runs/raft

With one iteration over all prompts this is best-of-n distillation, with several it is expert
iteration. The loss is SFT's, the mean negative log-likelihood of the response tokens. Responses
that did not end are left out, unless there are more minibatches than prompts with one that did.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from understudy.raft.config import RAFTConfig
from understudy.rl.groups import Groups, train_on_groups
from understudy.rl.passes import Pass
from understudy.rl.stopping import Judge
from understudy.rl.update import Loss
from understudy.training.steps import Metrics


def train_raft(config: RAFTConfig, judge: Judge | None = None) -> Path:
    """Train as configured and return the run folder; raises SystemExit(75) when told to stop. A
    `judge` in Python takes the place of `config.judge`."""

    def learn(groups: Groups) -> Metrics:
        episodes = groups.episodes
        rewards_B = groups.scores_B - config.beta * episodes.kl_B()
        finished_GK = groups.in_groups(episodes.finished_B)
        best = best_of_each(groups.in_groups(rewards_B), finished_GK)
        if len(best) < config.num_minibatches:  # too few end: use any
            best = best_of_each(groups.in_groups(rewards_B), torch.ones_like(finished_GK))

        def loss_for(rows: Sequence[int]) -> Loss:
            num_tokens = episodes.num_tokens(rows)

            def loss_of(batch: Pass, new_logprobs_N: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
                return raft_loss(new_logprobs_N, num_tokens)

            return loss_of

        left_out = float(len(rewards_B) // config.responses_per_prompt - len(best))
        unfinished = (~episodes.finished_B[best]).sum()
        found: Metrics = {"best_score": groups.scores_B[best].mean(), "left_out": left_out}
        found["unfinished"] = unfinished
        return found | groups.update(loss_for, best)

    return train_on_groups("raft", "RAFT", config, learn, judge)


def raft_loss(new_logprobs_N: Tensor, num_tokens: int | float) -> tuple[Tensor, dict[str, Tensor]]:
    """A pass's part of the mean negative log-likelihood over the step's `num_tokens` tokens."""
    loss = -new_logprobs_N.sum() / num_tokens
    return loss, {"loss": loss.detach()}


def best_of_each(rewards_GK: Tensor, finished_GK: Tensor) -> list[int]:
    """Index, among all episodes, of the best finished response to each prompt, the first among
    equals. Prompts without one are left out, since a response that was cut teaches the policy not
    to end."""
    best_G: list[int] = rewards_GK.masked_fill(~finished_GK, -torch.inf).argmax(dim=1).tolist()
    some_G: list[bool] = finished_GK.any(dim=1).tolist()
    return [g * rewards_GK.shape[1] + best_G[g] for g, some in enumerate(some_G) if some]
