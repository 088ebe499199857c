"""Settings of GRPO, with the defaults of Shao et al. (2024), s4.2."""

from dataclasses import dataclass

from understudy.rl.settings import GroupSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class GRPOConfig(GroupSettings):
    """Optimise a policy by group relative policy optimisation (Shao et al. 2024)."""

    responses_per_prompt: int = 64
    """Responses to each prompt of an iteration (s4.2); `batch_size` counts all of them."""
    batch_size: int = 1024
    """Episodes per iteration (s4.2)."""
    lr: float = 1e-6
    """Policy learning rate (s4.2)."""
    beta: float = 0.04
    """Coefficient of the KL term in the loss (s4.2)."""
    clip: float = 0.2
    """Ratio clip (not published; PPO's); no effect while an iteration has one optimiser step, as in
    the paper."""
    scale_advantages: bool = True
    """Divide a group's advantages by the standard deviation of its scores (eq. 3)."""

    def __post_init__(self) -> None:
        GroupSettings.__post_init__(self)
        if self.clip <= 0:
            raise ValueError(f"clip is {self.clip}; it must be above 0")
