"""Simulated labelers: their ranks, their noise, and what is planted in them."""

import random
from dataclasses import replace

import numpy as np
import pytest

from understudy.records import Prompt, Response
from understudy.world.labelers import CARELESS_NOISE, tiers_of
from understudy.world.language import Facts
from understudy.world.optimum import bayes_accuracy, kl_divergence, optimal_logprobs, pool_agreement
from understudy.world.replies import FAULTS, reply
from understudy.world.tasks import draw_task
from understudy.world.world import World

WORLD = World(0)


def item(number: int, texts: list[str], prompt: str) -> tuple[Prompt, list[Response]]:
    made = Prompt(id=f"p{number}", prompt=prompt, user_id="u")
    return made, [
        Response(id=f"p{number}/{i}", prompt_id=made.id, prompt=prompt, response=text, model="m")
        for i, text in enumerate(texts)
    ]


def items(number: int) -> list[tuple[Prompt, list[Response]]]:
    rng, made = random.Random(5), []
    facts = Facts.of_seed(0)
    while len(made) < number:
        task = draw_task(rng)
        texts = {
            reply(task, rng, facts, {f for f in FAULTS if rng.random() < 0.15}) for _ in range(6)
        }
        if len(texts) > 2:
            made.append(item(len(made), sorted(texts), task.text))
    return made


def test_tiers_hold_what_lies_within_the_threshold_of_their_best():
    assert tiers_of([1.0, 3.0, 2.8, 0.95], 0.3) == ((1, 2), (0, 3))
    assert tiers_of([1.0, 0.8, 0.6], 0.3) == ((0, 1), (2,))


def test_a_labeler_asked_twice_says_the_same():
    (labeler, *_) = WORLD.labelers("training")
    ((prompt, responses),) = items(1)
    assert labeler.rank(prompt, responses) == labeler.rank(prompt, responses)
    assert labeler.rate(prompt, responses[0]) == labeler.rate(prompt, responses[0])
    swapped = labeler.compare(prompt, responses[1], responses[0])
    assert labeler.compare(prompt, responses[0], responses[1]).swap().preferred == swapped.preferred


def test_unclear_prompts_are_skipped():
    (labeler, *_) = WORLD.labelers("training")
    prompt, responses = item(0, ["a.", "b."], "bread the of?")
    assert labeler.demonstrate(prompt) is None
    assert labeler.rank(prompt, responses) is None


def test_labelers_are_twelve_and_two_careless_and_six_held_out():
    training = WORLD.labelers("training")
    assert sum(labeler.noise < CARELESS_NOISE for labeler in training) == 12
    assert sum(labeler.noise == CARELESS_NOISE for labeler in training) == 2
    assert len(WORLD.labelers("held_out")) == 6
    assert {labeler.info.role for labeler in WORLD.labelers("held_out")} == {"held_out"}


def test_more_noise_means_less_agreement_and_a_lower_ceiling():
    team = WORLD.labelers("training")
    steady, careless = team[:6], team[12:]
    some = items(25)
    assert pool_agreement(steady, some, draws=3) > pool_agreement(careless, some, draws=3) + 0.05
    assert bayes_accuracy(steady, some, draws=4) > bayes_accuracy(careless, some, draws=20)


def test_a_ceiling_without_any_difference_is_an_error():
    prompt, responses = item(0, ["cat, dog.", "cat, dog."], "list two animals.")
    steady = [labeler for labeler in WORLD.labelers("training") if labeler.noise < 0.5]
    quiet = [replace(labeler, noise=0.0) for labeler in steady]
    with pytest.raises(ValueError, match="every pair is tied"):
        bayes_accuracy(quiet, [(prompt, responses)], draws=1)


def test_the_optimum_policy_by_hand():
    logprobs = optimal_logprobs(np.log([0.5, 0.5]), np.array([0.0, 0.1 * np.log(3)]), beta=0.1)
    assert np.exp(logprobs) == pytest.approx([0.25, 0.75])
    uniform = np.log([0.5, 0.5])
    assert kl_divergence(uniform, uniform) == 0
    expected = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    assert kl_divergence(logprobs, uniform) == pytest.approx(expected)
