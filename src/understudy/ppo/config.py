"""Settings of PPO and PPO-ptx, with the paper's values as defaults."""

from dataclasses import dataclass
from pathlib import Path

from understudy.rl.settings import RolloutSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class PPOConfig(RolloutSettings):
    """Optimise a policy against a reward model: PPO, or PPO-ptx with a pretraining mix."""

    reward_model: Path
    """Reward model folder; the critic starts from a copy of it (C.4)."""
    pretrain_data: Path | None = None
    """Plain text (.txt or .jsonl) for PPO-ptx, or a folder of `understudy text pack`; required if
    `ptx_coef` is above 0."""
    ptx_coef: float = 27.8
    """The paper's gamma: factor on the pretraining gradient (C.4); 0 is plain PPO."""
    ptx_reduction: str = "episode"
    """What the text's mean loss per token is weighed against (not published): "episode", PPO's loss
    summed over a response's tokens, mean over episodes; "token", its mean over tokens."""
    ptx_sequences_per_episode: float = 8.0
    """Pretraining rows for each episode of a minibatch (C.4)."""
    ptx_length: int = 256
    """Tokens in a pretraining row (not published)."""
    num_minibatches: int = 8
    """Optimiser steps per iteration and inner epoch (C.4: minibatches of 64)."""
    lr: float = 8.05e-6
    """Policy learning rate. The paper's is not published; this is the middle of its sweep, above
    which runs without ptx diverged (E.9)."""
    critic_lr: float = 9e-6
    """Critic learning rate (C.4)."""
    adaptive_kl_target: float | None = None
    """Adapt beta towards this KL per response (LHP used 6); none keeps beta fixed (C.4)."""
    adaptive_kl_horizon: int = 10_000
    """Episodes over which beta adapts (LHP); used with adaptive_kl_target."""
    target_kl: float | None = None
    """Stop once the KL per response exceeds this; none never stops."""
    clip: float = 0.2
    """Ratio clip (C.4)."""
    value_clip: float | None = 0.2
    """Clip of value changes around the rollout's values (LHP, NP); none does not clip."""
    discount: float = 1.0
    """Discount (C.4)."""
    gae_lambda: float = 0.95
    """GAE's lambda (LHP, S20; the paper's is not published)."""
    whiten_advantages: bool = True
    """Whiten the advantages of an iteration to mean 0 and variance 1 over its tokens (LHP, NP)."""
    whiten_rewards: bool = False
    """Scale the rewards of an iteration to variance 1, keeping their mean (LHP on, NP off)."""
    ema: float = 0.992
    """Decay of the averaged weights (C.4), once per optimiser step; 0 saves the last weights."""

    def __post_init__(self) -> None:
        RolloutSettings.__post_init__(self)
        self._check_ranges()
        if self.ptx_coef > 0 and self.pretrain_data is None:
            raise ValueError(
                f"ptx_coef is {self.ptx_coef} but there is no pretrain_data; give plain text for "
                "PPO-ptx, or set ptx_coef to 0 for PPO"
            )
        if self.ptx_coef == 0 and self.pretrain_data is not None:
            raise ValueError(
                "pretrain_data is given but ptx_coef is 0, so it would not be used; leave one out"
            )

    def _check_ranges(self) -> None:
        for name in ("ptx_sequences_per_episode", "adaptive_kl_horizon", "clip"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("critic_lr", "ptx_coef"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        for name in ("discount", "gae_lambda", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")
        for name in ("value_clip", "target_kl", "adaptive_kl_target"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; it must be above 0, or none")
        if self.ptx_reduction not in ("episode", "token"):
            raise ValueError(
                f'ptx_reduction is {self.ptx_reduction!r}; it must be "episode" or "token"'
            )
        if self.ptx_length < 2:
            raise ValueError(f"ptx_length is {self.ptx_length}; it must be at least 2")

    @property
    def minibatch_size(self) -> int:
        """Episodes per optimiser step."""
        return self.batch_size // self.num_minibatches

    @property
    def ptx_rows(self) -> int:
        """Pretraining rows per optimiser step; 0 without ptx."""
        if self.ptx_coef == 0:
            return 0
        return max(1, round(self.ptx_sequences_per_episode * self.minibatch_size))
