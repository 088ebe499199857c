"""The pairwise loss: all kept pairs of one prompt are one element (s3.5, C.2).

loss = mean over prompts of (mean over that prompt's kept pairs of -log sigmoid(better - worse)).
Optionally, labeler weights weight the prompts and the better response must lead by a margin. The
paper prints 1 / C(K, 2) and drops ties, so the mean here runs over the pairs actually kept.

Shapes: N responses of all prompts in a batch, P pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of a batch as indices into its N responses, with their weights in the loss."""

    better_P: Tensor
    """Index of the preferred response (of either one for a tie)."""
    worse_P: Tensor
    """Index of the other."""
    weight_P: Tensor
    """weight of the prompt / (number of its pairs * sum of the batch's weights); sums to 1 over the
    batch."""
    tied_P: Tensor
    """True where the labeler saw no difference."""
    margin_P: Tensor
    """The labeler's margin for the better one; 0 for a tie."""

    def to(self, device: torch.device) -> "Pairs":
        """The same pairs on another device."""
        return Pairs(
            self.better_P.to(device),
            self.worse_P.to(device),
            self.weight_P.to(device),
            self.tied_P.to(device),
            self.margin_P.to(device),
        )


def make_pairs(
    sizes: Sequence[int],
    pairs: Sequence[Sequence[tuple[int, int]]],
    ties: Sequence[Sequence[tuple[int, int]]] | None,
    num_prompts: float,
    weights: Sequence[float] | None = None,
    margins: Sequence[Sequence[float]] | None = None,
) -> Pairs:
    """Pairs of several prompts with `sizes` responses each; `ties` None leaves tied pairs out.

    `num_prompts` counts the prompts of the whole batch, of which these may be a part; with
    `weights` it is the sum of the whole batch's weights. `margins` has a number per pair; without
    it all margins are 0.

    >>> make_pairs([2, 3], [[(1, 0)], [(0, 1), (0, 2)]], None, 2).weight_P.tolist()
    [0.5, 0.25, 0.25]
    """
    better: list[int] = []
    worse: list[int] = []
    weight: list[float] = []
    tied: list[bool] = []
    margin: list[float] = []
    start = 0
    for index, size in enumerate(sizes):
        equal = [] if ties is None else list(ties[index])
        kept = [*pairs[index], *equal]
        better += [start + first for first, _ in kept]
        worse += [start + second for _, second in kept]
        mine = 1.0 if weights is None else weights[index]
        weight += [mine / (max(len(kept), 1) * num_prompts)] * len(kept)
        margin += [0.0] * len(pairs[index]) if margins is None else list(margins[index])
        margin += [0.0] * len(equal)
        tied += [False] * len(pairs[index]) + [True] * len(equal)
        start += size
    return Pairs(
        torch.tensor(better, dtype=torch.long),
        torch.tensor(worse, dtype=torch.long),
        torch.tensor(weight, dtype=torch.float32),
        torch.tensor(tied, dtype=torch.bool),
        torch.tensor(margin, dtype=torch.float32),
    )


def pairwise_loss(
    scores_N: Tensor, pairs: Pairs, tie_width: float = 0.0, margin: float = 0.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """(weighted sum of the pairs' negative log-likelihoods, sums for metrics).

    Without ties: -log sigmoid(better - worse). With `tie_width` w > 0 (Rao and Kupper's model): the
    better one wins with probability sigmoid(d - w), a tie has the remaining 1 - sigmoid(d - w) -
    sigmoid(-d - w), so a tie pulls the two scores together. The better one must lead by `margin`
    times the pair's margin (Touvron et al. 2023, eq. 2).
    """
    difference_P = scores_N[pairs.better_P] - scores_N[pairs.worse_P]
    nll_P = F.softplus(tie_width + margin * pairs.margin_P - difference_P)
    if tie_width > 0:
        # 1 - s(d-w) - s(-d-w) = s(w-d) * s(w+d) * (1 - exp(-2w)), which is stable in logs.
        log_rest = torch.log(-torch.expm1(torch.tensor(-2.0 * tie_width)))
        tie_P = (
            F.softplus(difference_P - tie_width) + F.softplus(-difference_P - tie_width) - log_rest
        )
        nll_P = torch.where(pairs.tied_P, tie_P, nll_P)
    kept_P = ~pairs.tied_P
    with torch.no_grad():
        right_P = (difference_P > 0).float() + 0.5 * (difference_P == 0).float()
        sums = {"right": (right_P * kept_P).sum(), "pairs": kept_P.sum()}
        sums["margin"] = (difference_P * kept_P).sum()
    return (nll_P * pairs.weight_P).sum(), sums
