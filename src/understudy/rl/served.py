"""The policy's weights on a vLLM server, which samples instead of this process.

Before a rollout the policy is saved as a model folder, in `out/rollout`, and the server loads it.
The folder is removed once the server has it.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from torch import Tensor
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.engines.engine import Draw
from understudy.engines.generation import Generation
from understudy.engines.replica import checksum
from understudy.engines.vllm import Server
from understudy.models.policies import Policy, save_policy
from understudy.training.ranks import Ranks


class Served:
    """The engine of a vLLM server, with a record of the weights that the server holds."""

    exact = False
    context: int | None
    ranks = 1

    def __init__(self, server: Server, tokenizer: Tokenizer, folder: Path, ranks: Ranks) -> None:
        self.server, self.tokenizer, self.folder, self.all = server, tokenizer, folder, ranks
        self.context = server.context
        self.version = 0
        """Number of times that weights were handed over."""
        self.run = ""
        """Begins this run's versions, so that they differ from other runs'."""
        self.held: int | None = None
        """Checksum of the weights that the server holds."""

    @contextmanager
    def drawing(self, policy: Policy, ids_BT: Tensor, mask_BT: Tensor) -> Iterator[Draw]:
        """`Server.generate` on the policy's weights; the prompts are not needed, since the policy
        measures every response."""
        self.hand_over(policy)
        with self.all.together():
            yield self._draw

    def hand_over(self, policy: Policy) -> None:
        """Hand over the policy's weights, unless the server already holds them. Collective."""
        self.run = self.run or self.all.from_rank(0, uuid4().hex[:8])
        now = checksum(policy)
        if now == self.held:
            return
        self.version, self.held = self.version + 1, None
        version = f"{self.run}.{self.version}"
        save_policy(policy, self.tokenizer, self.folder)
        self.all.on_first(lambda: self.server.load(self.folder, version))
        self.server.version = version  # on every rank; `load` ran on the first
        self.all.on_first(lambda: shutil.rmtree(self.folder.parent))
        self.held = now

    def _draw(
        self, prompts: Sequence[Sequence[int]], *, pad_id: int, **sampling: Any
    ) -> list[Generation]:
        """`Server.generate`, which needs no `pad_id`."""
        return self.server.generate(prompts, **sampling)
