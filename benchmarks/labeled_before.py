"""Fills a store with rated and ranked prompts, for an owner's figures."""

import random
from pathlib import Path
from typing import Any

from understudy.records import FLAGS, LabelerInfo, Prompt, Ranking, Rating, Response
from understudy.store import open_project


def fill_labeled(folder: Path, num_prompts: int) -> None:
    """Add prompts that three labelers have rated and ranked."""
    store = open_project(folder).open_store()
    labelers = [LabelerInfo(id=f"before{k}", role="training") for k in range(9)]
    store.add_labelers(labelers)
    rng = random.Random(0)
    for start in range(0, num_prompts, 500):
        numbers = range(start, min(start + 500, num_prompts))
        prompts = [
            Prompt(id=f"old{n:05}", prompt=f"Old {n}?", user_id=f"u{n % 500}") for n in numbers
        ]
        store.add_prompts(prompts)
        responses = {prompt.id: _responses(prompt) for prompt in prompts}
        store.add_responses(one for few in responses.values() for one in few)
        store.add_labels(
            label
            for prompt in prompts
            for labeler in rng.sample(labelers, 3)
            for label in _labels(prompt, responses[prompt.id], labeler.id, rng)
        )
    store.engine.dispose()


def _responses(prompt: Prompt) -> list[Response]:
    return [
        Response(
            id=f"{prompt.id}-{place}",
            prompt_id=prompt.id,
            prompt=prompt.prompt,
            response=f"Answer {place}.",
            model=f"model-{place}",
        )
        for place in range(6)
    ]


def _labels(
    prompt: Prompt, responses: list[Response], labeler_id: str, rng: random.Random
) -> list[Rating | Ranking]:
    """Labels by a labeler; higher-numbered responses are worse, up to the labeler's noise."""
    seen = [place + rng.gauss(0, 1.5) for place in range(len(responses))]
    order = sorted(range(len(responses)), key=seen.__getitem__)
    shared: Any = {"prompt_id": prompt.id, "labeler_id": labeler_id}
    ratings = [
        Rating(
            id=f"a-{response.id}-{labeler_id}",
            response_id=response.id,
            likert=max(1, min(7, 7 - round(value))),
            flags={flag: rng.random() < 0.1 for flag in FLAGS},
            **shared,
        )
        for response, value in zip(responses, seen, strict=True)
    ]
    ranking = Ranking(
        id=f"k-{prompt.id}-{labeler_id}",
        prompt=prompt.prompt,
        responses=tuple(response.response for response in responses),
        tiers=tuple((index,) for index in order),
        **shared,
    )
    return [*ratings, ranking]
