"""Correcting a model's verdicts by people's: worked numbers, invariants, coverage."""

import numpy as np
import pytest
from tests.fixtures_judged import needs_pandalm, pandalm_of

from understudy.evaluation.corrected import IMAGINED, corrected_rate
from understudy.evaluation.statistics import student_quantile, wilson, win_rate


def test_worked_by_hand():
    people, model = [1, 1, 0, 1, 0, 0, 1, 1], [1, 1, 1, 1, 0, 1, 1, 0]
    elsewhere = [1, 1, 1, 0] * 4
    found = corrected_rate(people, model, elsewhere)
    # cov(y, f) = (5 - 8 x 5/8 x 6/8 + ...) / 7; all 24 verdicts: 18 are 1
    shared = np.cov(people, model)[0, 1]
    weight = shared / (18 / 24 * 6 / 24) / (1 + 8 / 16)
    assert found.weight == pytest.approx(weight)
    assert found.rate.rate == pytest.approx(5 / 8 + weight * (12 / 16 - 6 / 8))
    left = np.array(people) - weight * np.array(model)
    variance = ((left - left.mean()) ** 2).sum() / 49 + weight**2 * (3 / 16) * 16 / 225
    variance = variance * 23 / 24 + weight**2 * IMAGINED / 10**2
    ends = wilson(5 / 8, 15 / 64 / variance, student_quantile(0.95, 7.0))
    assert (found.rate.low, found.rate.high) == pytest.approx(ends)
    assert found.rate.n == 8


def test_a_model_that_says_the_same_of_everything_adds_nothing():
    people = [1, 0, 1, 1, 0.5, 1]
    found = corrected_rate(people, [1] * 6, [1] * 50)
    assert found.weight == 0
    assert (found.rate.low, found.rate.high) == pytest.approx(
        (win_rate(people).low, win_rate(people).high), abs=0.03
    )


def test_what_the_model_prefers_always_cancels():
    """Adding the model's bias to all of its verdicts moves nothing."""
    rng = np.random.default_rng(0)
    people, model, elsewhere = (rng.uniform(0.2, 0.6, n) for n in (40, 40, 300))
    plain = corrected_rate(people, model, elsewhere)
    biased = corrected_rate(people, model + 0.3, elsewhere + 0.3)
    assert plain.weight > 0 or plain.rate.rate == people.mean()
    assert biased.rate.rate == pytest.approx(plain.rate.rate)
    assert biased.rate.high == pytest.approx(plain.rate.high)


def test_few_labels_that_all_agree_prove_little():
    same = [1, 0] * 10
    found = corrected_rate(same, same, [1, 0] * 300)
    assert found.weight > 0.9
    assert found.rate.high - found.rate.low > 0.2


def test_one_user_alone_has_no_interval():
    found = corrected_rate([1, 1, 0], [1, 0, 0], [1, 0], ["u"] * 3, ["v", "w"])
    assert (found.rate.low, found.rate.high) == (0, 1)


def test_bad_input():
    with pytest.raises(ValueError, match="3 labels by people but 2 by the model"):
        corrected_rate([1, 0, 1], [1, 0], [1])


def _draw(rng, num, rate, accuracy, stubborn, users):
    """People's and the model's outcomes on `num` prompts of users who differ."""
    user = rng.integers(users, size=num)
    own = np.clip(rate + rng.normal(0, 0.15, users), 0, 1)[user]
    people = (rng.random(num) < own).astype(float)
    model = np.where(rng.random(num) < accuracy, people, 1 - people)
    return people, np.where(rng.random(num) < stubborn, 1.0, model), user


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", [0.5, 0.75, 0.9, 0.97])
@pytest.mark.parametrize("stubborn", [0.0, 0.15])
@pytest.mark.parametrize(("rate", "labels"), [(0.5, 20), (0.7, 50), (0.9, 50), (0.6, 200)])
def test_it_covers_and_is_seldom_wider_than_people_alone(accuracy, stubborn, rate, labels):
    """800 prompts of 2,000 possible users, some of whom are in both parts; 400 rounds, so the
    standard error of a coverage of 95% is 1.1 points."""
    rng = np.random.default_rng(round(1000 * (accuracy + stubborn + rate)) + labels)
    truth = np.mean(np.clip(rate + rng.normal(0, 0.15, 200_000), 0, 1))
    hits, widths, alone = 0, [], []
    for _ in range(400):
        people, model, user = _draw(rng, 800, rate, accuracy, stubborn, 2000)
        some = slice(0, labels)
        found = corrected_rate(
            people[some], model[some], model[labels:], user[some].tolist(), user[labels:].tolist()
        ).rate
        hits += found.low <= truth <= found.high
        widths.append(found.high - found.low)
        by_people = win_rate(people[some], user[some].tolist())
        alone.append(by_people.high - by_people.low)
    assert hits / 400 >= 0.92
    assert np.mean(widths) <= 1.03 * np.mean(alone)
    if accuracy >= 0.9 and not stubborn:
        assert np.mean(widths) < 0.9 * np.mean(alone)


@pytest.mark.slow
@needs_pandalm
@pytest.mark.parametrize("model", ["llama-7b", "bloom-7b", "opt-7b"])
def test_it_covers_with_a_real_model_and_real_people(model):
    """GPT-3.5's verdicts and three people's on PandaLM's pairs, drawn again with replacement by
    application: a quarter labeled, the rest judged by GPT-3.5 alone."""
    rows = pandalm_of(model)
    of_app = {app: [r for r in rows if r[2] == app] for app in {r[2] for r in rows}}
    apps = sorted(of_app)
    truth = np.mean([np.mean([r[0] for r in of_app[app]]) for app in apps])
    by_gpt = np.mean([np.mean([r[1] for r in of_app[app]]) for app in apps])
    rng, hits, raw = np.random.default_rng(0), 0, 0
    for _ in range(400):
        # An application counts once: one of its pairs, so that every draw weighs the same.
        drawn = [of_app[app][rng.integers(len(of_app[app]))] for app in rng.choice(apps, 400)]
        people, model_says, _ = (list(column) for column in zip(*drawn, strict=True))
        found = corrected_rate(people[:100], model_says[:100], model_says[100:]).rate
        hits += found.low <= truth <= found.high
        only = win_rate(model_says)
        raw += only.low <= truth <= only.high
    assert hits / 400 >= 0.92
    if abs(by_gpt - truth) > 0.05:
        assert raw / 400 < 0.6  # the model's verdicts alone are beside it
