"""Ceilings and planted truths, against a simulation that shares no code with them."""

import random
from itertools import combinations, permutations

import numpy as np
import pytest

from understudy.records import Prompt, Response
from understudy.world.judge import PARTS
from understudy.world.labelers import SimulatedLabeler, tiers_of
from understudy.world.optimum import bayes_accuracy, pool_agreement, ranked, tiers_of_draws
from understudy.world.replies import FAULTS, reply
from understudy.world.tasks import draw_task
from understudy.world.world import World

WORLD = World(4)


def some_items(number: int) -> list[tuple[Prompt, list[Response]]]:
    """Prompts with six answers each, every fifth prompt unclear."""
    rng, made = random.Random(9), []
    for index in range(number):
        task = draw_task(rng)
        faults = [{f for f in FAULTS if rng.random() < 0.2} for _ in range(6)]
        texts = [reply(task, rng, WORLD.facts, some) for some in faults]
        asked = "bread the of?" if index % 5 == 0 else task.text
        prompt = Prompt(id=f"p{index}", prompt=asked, user_id="u")
        made.append(
            (
                prompt,
                [
                    Response(
                        id=f"{index}/{i}", prompt_id=prompt.id, prompt=asked, response=t, model="m"
                    )
                    for i, t in enumerate(texts)
                ],
            )
        )
    return made


def test_what_nobody_ranks_is_left_out():
    items = some_items(20)
    left = ranked(items)
    assert {p.prompt for p, _ in items} - {p.prompt for p, _ in left} >= {"bread the of?"}
    for prompt, answers in left:
        assert WORLD.labelers("training")[0].rank(prompt, answers) is not None
        assert len({answer.response for answer in answers}) == len(answers) > 1


def test_tiers_of_many_draws_are_those_of_each():
    utilities = np.random.default_rng(0).normal(size=(200, 7))
    for row, tiers in zip(utilities, tiers_of_draws(utilities, 0.4), strict=True):
        expected = {i: t for t, members in enumerate(tiers_of(list(row), 0.4)) for i in members}
        assert [expected[i] for i in range(7)] == list(tiers)


def simulated(
    labelers: list[SimulatedLabeler], items: list[tuple[Prompt, list[Response]]], rounds: int
) -> tuple[float, float]:
    """(Bayes accuracy, agreement) from labelers who label again and again, by plain counting."""
    rng = random.Random(3)
    right = strict = agree = both = 0
    for prompt, responses in items:
        texts = list(dict.fromkeys(r.response for r in responses))
        if prompt.prompt == "bread the of?" or len(texts) < 2:
            continue
        checks = [WORLD.judge.check(prompt.prompt, text) for text in texts]
        votes: list[dict[tuple[int, int], int]] = []
        for _ in range(rounds):
            for labeler in labelers:
                worth = [
                    sum(labeler.weights[part] * getattr(check, part) for part in PARTS)
                    + rng.gauss(0, labeler.noise)
                    for check in checks
                ]
                place, best, tier = {}, float("inf"), -1
                for i in sorted(range(len(texts)), key=lambda k: worth[k], reverse=True):
                    if best - worth[i] >= labeler.tie_threshold:
                        best, tier = worth[i], tier + 1
                    place[i] = tier
                pairs = combinations(range(len(texts)), 2)
                votes.append({(i, j): np.sign(place[j] - place[i]) for i, j in pairs})
        size = len(labelers)
        for pair in votes[0]:
            half = len(votes) // 2 // size * size
            side = np.sign(sum(vote[pair] for vote in votes[:half]))
            scored = [vote[pair] for vote in votes[half:] if vote[pair]]
            strict += len(scored)
            right += sum(0.5 if side == 0 else vote == side for vote in scored)
            for start in range(0, len(votes), size):
                for one, other in permutations(votes[start : start + size], 2):
                    if one[pair] and other[pair]:
                        both += 1
                        agree += one[pair] == other[pair]
    return right / strict, agree / both


@pytest.mark.parametrize("role", ["training", "held_out"])
def test_ceiling_and_agreement_are_those_of_a_simulation(role):
    items, labelers = some_items(30), WORLD.labelers(role)[:6]
    accuracy, agreement = simulated(labelers, items, rounds=150)
    assert bayes_accuracy(labelers, items) == pytest.approx(accuracy, abs=0.005)
    assert pool_agreement(labelers, items) == pytest.approx(agreement, abs=0.005)
