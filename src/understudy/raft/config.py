"""Settings of RAFT, with the values of its authors' script (LMFlow, run_raft_align.sh)."""

from dataclasses import dataclass

from understudy.rl.settings import GroupSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class RAFTConfig(GroupSettings):
    """Train by reward-ranked fine-tuning (Dong et al. 2023), or best-of-n distillation."""

    responses_per_prompt: int = 8
    """Responses to each prompt; the policy learns from the best (script: the top 12.5%);
    `batch_size` counts all of them."""
    batch_size: int = 1024
    """Episodes per iteration (script)."""
    inner_epochs: int = 4
    """Passes over an iteration's best responses (script)."""
    lr: float = 2e-5
    """Policy learning rate (script)."""
    beta: float = 0.0
    """Responses are ranked by score - beta * log(policy / reference); 0 ranks by score alone."""

    @property
    def num_learned(self) -> int:
        """Responses of an iteration that the policy learns from: one per prompt."""
        return self.batch_size // self.responses_per_prompt
