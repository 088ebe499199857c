"""Every prompt of the tiny world reads back as the task it asks for."""

import random
from collections import Counter

import pytest

from understudy.world.language import Facts
from understudy.world.tasks import PREFIXES, TEMPLATES, USE_CASE_SHARES, draw_task, parse

FACTS = Facts.of_seed(0)


def test_prompts_read_back_as_their_task():
    rng = random.Random(0)
    for _ in range(3000):
        task = draw_task(rng)
        read = parse(task.text)
        assert read is not None, task.text
        assert (read.kind, read.slots, read.constraint, read.prefix, read.text) == (
            task.kind,
            task.slots,
            task.constraint,
            task.prefix,
            task.text,
        )


def test_a_constraint_and_a_prefix_are_found():
    task = parse("please write a sentence about the cat. use the word bread.")
    assert task is not None
    assert task.kind == "story"
    assert task.slots == {"n": "a sentence", "x": "the cat"}
    assert task.constraint == ("use", "bread")
    assert task.prefix == "please"


@pytest.mark.parametrize("text", ["", "bread the of?", "tell me", "please", "list nine animals."])
def test_what_the_world_does_not_know_is_no_task(text):
    assert parse(text) is None


def test_use_cases_come_in_the_shares_of_table_1():
    rng = random.Random(1)
    counts = Counter(draw_task(rng).use_case for _ in range(20_000))
    for use_case, share in USE_CASE_SHARES.items():
        assert counts[use_case] / 20_000 == pytest.approx(share, abs=0.012)
    assert sum(USE_CASE_SHARES.values()) == pytest.approx(1.0, abs=0.002)


def test_respect_may_stand_before_a_rude_prefix():
    task = parse(PREFIXES["respectful"] + "hey fool, list two colors.")
    assert task is not None
    assert task.rude_prefix
    assert task.respectful_prefix


def test_truth_of_a_closed_question_is_in_its_passage_only():
    asked = "where is anna?"
    known = parse(f"read this: anna is in the hall. ben bought rice. {asked}")
    unknown = parse(f"read this: anna bought rice. ben is in the hall. {asked}")
    assert known is not None
    assert unknown is not None
    assert known.truth(FACTS) == "anna is in the hall."
    assert unknown.truth(FACTS) is None
    assert known.closed_domain


def test_every_use_case_has_a_template():
    assert {use_case for use_case, _ in TEMPLATES.values()} == set(USE_CASE_SHARES)
