"""The table of agreement: each line by hand; the tiny world's planted noise in its intervals."""

import random

import pytest

from understudy.records import Prompt, Rating, Response
from understudy.trust.agreement import Vote, votes_of_rankings
from understudy.trust.pairs import Measure, answers_of
from understudy.trust.reliability import consensus
from understudy.trust.table import Judgements, agreement_lines, as_text, flag_lines, marks_of, shown
from understudy.world.labelers import CARELESS_NOISE
from understudy.world.language import Facts
from understudy.world.optimum import pool_agreement
from understudy.world.replies import FAULTS, reply
from understudy.world.tasks import draw_task
from understudy.world.world import World

NONE = answers_of([])
ROLES = {"t1": "training", "t2": "training", "h1": "held_out", "h2": "held_out"}


def judgements():
    """On p1 all agree; on p2 the held-out labelers agree and the training ones do not."""
    votes = [Vote("p1", "a", "b", 1, name, "v1") for name in ROLES]
    opposed = {"t1": 1, "t2": -1, "h1": 1, "h2": 1}
    votes += [Vote("p2", "a", "b", value, name, "v2") for name, value in opposed.items()]
    flags = {"t1": {"hallucination": True}, "t2": {"hallucination": False}}
    likert, flags = marks_of(
        Rating(id=name, response_id="r1", prompt_id="p1", labeler_id=name, likert=value,
               flags=flags.get(name, {}), rubric="v1")
        for name, value in zip(ROLES, (6, 7, 2, 2), strict=True)
    )  # fmt: skip
    return Judgements(
        votes=answers_of(votes), likert=likert, flags=flags, role_of=ROLES,
        use_case_of={"p1": "chat", "p2": "open_qa"},
    )  # fmt: skip


def test_every_line_by_hand():
    lines = {(line.about, line.name): line for line in agreement_lines(judgements())}
    found = {key: (line.agreement.value, line.agreement.n) for key, line in lines.items()}
    assert found == {
        ("role", "training"): (1 / 2, 2),
        ("role", "held_out"): (1.0, 2),
        ("role", "training/held_out"): (6 / 8, 8),
        ("labeler", "t1"): (5 / 6, 6),
        ("labeler", "t2"): (3 / 6, 6),
        ("labeler", "h1"): (5 / 6, 6),
        ("labeler", "h2"): (5 / 6, 6),
        ("use_case", "chat"): (1.0, 6),
        ("use_case", "open_qa"): (3 / 6, 6),
        ("rubric", "v1"): (1.0, 6),
        ("rubric", "v2"): (3 / 6, 6),
    }
    # One item on which both training labelers differ by all that occurs: worse than chance.
    assert lines["role", "training"].alpha_likert.value == pytest.approx(0.0)
    assert lines["role", "held_out"].alpha_likert.undefined == "all answers are equal"
    assert (
        lines["use_case", "open_qa"].alpha_likert.undefined
        == "no two labelers answered the same question"
    )


def test_a_line_where_nothing_is_shared_is_there_and_says_so():
    alone = Judgements(
        votes=answers_of([Vote("p", "a", "b", 1, "t1")]), likert=NONE, flags=NONE,
        role_of={"t1": "training"}, use_case_of={"p": None},
    )  # fmt: skip
    lines = agreement_lines(alone)
    assert [(line.about, line.name) for line in lines] == [("role", "training"), ("labeler", "t1")]
    for line in lines:
        for measure in (
            line.agreement,
            line.alpha_preferences,
            line.alpha_likert,
            line.alpha_flags,
        ):
            assert (measure.value, measure.low, measure.high, measure.n) == (None, None, None, 0)
            assert measure.undefined
    assert "undefined" in as_text(lines)
    assert "nan" not in as_text(lines)


def test_flags_with_their_counts():
    by_flag = {name: (yes, answers) for name, yes, answers, _ in flag_lines(judgements())}
    assert by_flag["hallucination"] == (1, 2)
    assert by_flag["violent_content"] == (0, 0)


def test_numbers_for_people():
    assert shown(Measure(value=0.726, low=0.711, high=0.741), percent=True) == "72.6% (71 to 74)"
    assert shown(Measure(value=0.4, undefined="few")) == "0.40 (no interval)"
    assert shown(Measure(undefined="why")) == "undefined"


def items(number, seed):
    rng, facts, made = random.Random(seed), Facts.of_seed(0), []
    while len(made) < number:
        task = draw_task(rng)
        texts = {
            reply(task, rng, facts, {f for f in FAULTS if rng.random() < 0.15}) for _ in range(5)
        }
        if len(texts) > 2:
            prompt = Prompt(id=f"{seed}-{len(made)}", prompt=task.text, user_id="u")
            made.append((prompt, [answer(prompt, text) for text in sorted(texts)]))
    return made


def answer(prompt, text):
    return Response(
        id=f"{prompt.id}/{text}",
        prompt_id=prompt.id,
        prompt=prompt.prompt,
        response=text,
        model="m",
    )


def test_the_tiny_worlds_planted_noise_is_within_the_interval():
    everyone = [*World(0).labelers("training"), *World(0).labelers("held_out")]
    made = items(60, seed=5)
    rankings = [labeler.rank(prompt, shown) for prompt, shown in made for labeler in everyone]
    votes = votes_of_rankings(ranking for ranking in rankings if ranking is not None)
    careful = [labeler for labeler in everyone if labeler.noise < CARELESS_NOISE]
    careless = {labeler.info.id for labeler in everyone} - {one.info.id for one in careful}
    found = Judgements(
        votes=answers_of(vote for vote in votes if vote.labeler_id not in careless),
        likert=NONE, flags=NONE,
        role_of={labeler.info.id: labeler.info.role for labeler in careful}, use_case_of={},
    )  # fmt: skip
    by_role = {line.name: line.agreement for line in agreement_lines(found) if line.about == "role"}
    others = items(60, seed=6)
    for role in ("training", "held_out"):
        team = [labeler for labeler in careful if labeler.info.role == role]
        truth = pool_agreement(team, others, draws=3)
        assert by_role[role].low < truth < by_role[role].high, role
        assert by_role[role].high - by_role[role].low < 0.12
    weights = consensus(votes).weights()
    assert set(sorted(weights, key=weights.__getitem__)[: len(careless)]) == careless
