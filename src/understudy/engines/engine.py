"""What a rollout engine is: something that takes over a policy's weights and draws responses."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from torch import Tensor

from understudy.engines.generation import Generation
from understudy.models.policies import Policy

Draw = Callable[..., list[Generation]]
"""`generation.generate` without its model."""


class Engine(Protocol):
    """The policy itself or a copy (`replica.Replica`), or a vLLM server (`rl.served.Served`)."""

    exact: bool
    """Whether its log-probs are the policy's own, to be used in losses."""
    context: int | None
    """The most tokens of a prompt with its response, if it has a limit beside the model's."""
    ranks: int
    """Neighbouring ranks that draw the same responses together."""

    def drawing(
        self, policy: Policy, ids_BT: Tensor, mask_BT: Tensor
    ) -> AbstractContextManager[Draw]:
        """A block in which responses are drawn with the policy's present weights; a few prompts to
        check them on. Collective."""
        ...
