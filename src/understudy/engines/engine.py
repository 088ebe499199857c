"""The interface of rollout engines: take over a policy's weights, draw responses."""

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
    """Whether its log-probs equal the policy's, so that losses can use them."""
    context: int | None
    """The most tokens of a prompt with its response; None if only the model limits them."""
    ranks: int
    """Neighbouring ranks that draw the same responses together."""

    def drawing(
        self, policy: Policy, ids_BT: Tensor, mask_BT: Tensor
    ) -> AbstractContextManager[Draw]:
        """A block in which responses are drawn with the policy's current weights. The tokens are a
        few prompts on which an engine may check its copy of the weights. Collective."""
        ...
