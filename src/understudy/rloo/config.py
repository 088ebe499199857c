"""Settings of RLOO."""

from dataclasses import dataclass

from understudy.rl.settings import GroupSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class RLOOConfig(GroupSettings):
    """Optimise a policy by REINFORCE leave-one-out (Ahmadian et al. 2024)."""

    responses_per_prompt: int = 4
    """Responses to each prompt of an iteration (Ahmadian et al.: 2 and 4); `batch_size` counts all
    of them."""
    lr: float = 1e-6
    """Policy learning rate (TRL's default)."""
    beta: float = 0.05
    """KL coefficient in the reward (TRL's default)."""
    clip: float = 0.2
    """Clip of a response's probability ratio (TRL's default); no effect while an iteration has one
    optimiser step, as in the paper."""

    def __post_init__(self) -> None:
        GroupSettings.__post_init__(self)
        if self.clip <= 0:
            raise ValueError(f"clip is {self.clip}; it must be above 0")
