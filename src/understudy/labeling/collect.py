"""Hands items to labelers and collects their labels (s3.3, s3.4), from people or simulations.

Most items have one label, for cost (s5.3); a share of calibration items goes to several labelers,
so that agreement can be measured (10-20% in Stiennon et al. 2020, App. C). Roles are kept apart: a
training labeler never labels a test item, and a held-out labeler never a training item.

The assignment depends on the seed and the items, and everybody gets about the same number.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from understudy.records import Demonstration, Labeler, Prompt, Ranking, Response

ALLOWED_SPLITS = {
    "training": ("train", "valid"),
    "held_out": ("valid", "test"),
    "researcher": ("train", "valid", "test"),
}
"""Splits whose prompts a role may label. On the validation split, a reward model is compared with
both roles; `Ranking.labeler_role` still keeps held-out labels out of training."""


def collect_demonstrations(
    labelers: Sequence[Labeler], prompts: Sequence[Prompt], seed: int
) -> list[Demonstration]:
    """One demonstration per prompt, except prompts that the labeler skips as unclear."""
    check_roles(labelers, prompts)
    assigned = assign(len(prompts), len(labelers), seed=seed)
    found = [
        labelers[chosen].demonstrate(prompt)
        for prompt, (chosen,) in zip(prompts, assigned, strict=True)
    ]
    return [
        replace(demonstration, split=prompt.split)
        for prompt, demonstration in zip(prompts, found, strict=True)
        if demonstration is not None
    ]


def collect_rankings(
    labelers: Sequence[Labeler],
    prompts: Sequence[Prompt],
    responses: Sequence[Response],
    overlap: float,
    seed: int,
    labels_per_overlap: int = 3,
) -> list[Ranking]:
    """Rankings of each prompt's responses; several labelers rank a share `overlap` of the prompts.

    Equal texts are shown once, and each labeler sees the responses in a different order. Prompts
    with fewer than two different responses are left out.
    """
    check_roles(labelers, prompts)
    shown = distinct_responses(responses)
    prompts = [prompt for prompt in prompts if len(shown.get(prompt.id, ())) >= 2]
    assigned = assign(
        len(prompts), len(labelers), overlap=overlap, labels=labels_per_overlap, seed=seed
    )
    rankings = []
    for prompt, members in zip(prompts, assigned, strict=True):
        for labeler in (labelers[index] for index in members):
            order = list(shown[prompt.id])
            random.Random(f"order/{seed}/{prompt.id}/{labeler.info.id}").shuffle(order)
            ranking = labeler.rank(prompt, order)
            if ranking is not None:
                role = labeler.info.role
                rankings.append(replace(ranking, labeler_role=role, split=prompt.split))
    return rankings


def check_roles(labelers: Sequence[Labeler], prompts: Sequence[Prompt]) -> None:
    """ValueError for a labeler on a split that their role may not see, and for a prompt without a
    split."""
    if not labelers:
        raise ValueError("there are no labelers")
    for role in sorted({labeler.info.role for labeler in labelers}):
        for prompt in prompts:
            if prompt.split not in ALLOWED_SPLITS[role]:
                name = next(one.info.id for one in labelers if one.info.role == role)
                raise ValueError(
                    f"{role} labeler {name} may not label prompt {prompt.id} of split "
                    f"{prompt.split}; {role} labelers label {' and '.join(ALLOWED_SPLITS[role])}"
                )


def assign(
    num_items: int,
    num_labelers: int,
    *,
    seed: int,
    overlap: float = 0.0,
    labels: int = 3,
) -> list[tuple[int, ...]]:
    """Labelers (indices) of each item: one, or `labels` different ones for the calibration share.

    The labeler with the fewest labels is next, ties broken at random: loads differ by at most one.
    """
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap is {overlap}; it must be a share from 0 to 1")
    num_shared = round(overlap * num_items)
    if num_shared and labels > num_labelers:
        raise ValueError(
            f"{labels} labels per calibration item need as many labelers; there are {num_labelers}"
        )
    rng = random.Random(f"assign/{seed}/{num_items}/{num_labelers}")
    shared = set(rng.sample(range(num_items), num_shared))
    loads = [0] * num_labelers
    assigned = []
    for index in range(num_items):
        order = sorted(range(num_labelers), key=lambda i: (loads[i], rng.random()))
        members = tuple(order[: labels if index in shared else 1])
        for member in members:
            loads[member] += 1
        assigned.append(members)
    return assigned


def distinct_responses(responses: Sequence[Response]) -> dict[str, list[Response]]:
    """Prompt id -> its responses, the first of each text."""
    found: dict[str, dict[str, Response]] = defaultdict(dict)
    for response in responses:
        found[response.prompt_id].setdefault(response.response.strip(), response)
    return {prompt: list(by_text.values()) for prompt, by_text in found.items()}
