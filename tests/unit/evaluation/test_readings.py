"""The sentence above a figure says what the figure's numbers say."""

import pytest

from understudy.evaluation.readings import (
    arms_reading,
    loss_reading,
    means_reading,
    overoptimisation_reading,
    shares_reading,
    size_reading,
    tops_reading,
    training_reading,
    tricks_reading,
    wins_reading,
)


def rate(value: float, half: float = 0.03) -> dict[str, float]:
    return {"rate": value, "low": value - half, "high": value + half}


TABLE = {"base": rate(0.2), "ppo": rate(0.66), "ppo_ptx": rate(0.64), "sft_null": rate(0.5)}


def test_wins_name_who_wins_and_who_loses():
    said = wins_reading({"Held-out labelers": TABLE}, "SFT")
    assert (
        said
        == "By held-out labelers, PPO (66%) and PPO-ptx (64%) win against SFT; Base (20%) loses."
    )


def test_an_interval_that_holds_one_half_is_no_win():
    said = wins_reading({"Gold judge": {"ppo": rate(0.52)}}, "SFT")
    assert said == "By the gold judge, PPO (52%) comes out even."


def test_another_judge_who_differs_is_named():
    tables = {"Held-out labelers": TABLE, "Gold judge": {**TABLE, "ppo": rate(0.5)}}
    assert wins_reading(tables, "SFT").endswith("; the gold judge differs.")
    assert "differ" not in wins_reading({**tables, "Gold judge": TABLE}, "SFT")


def test_scores_are_no_wins():
    tables = {"Reward model": {"ppo": rate(0.7)}}
    assert wins_reading(tables, "SFT", scored=True) == (
        "By the reward model, PPO (70%) scores above SFT."
    )


def test_tricks_that_win_are_named():
    tables = {"Gold judge": {"echo": rate(0.1), "longest_of_16": rate(0.6)}}
    assert tricks_reading(tables).startswith("Longest of 16 (60% by the gold judge) wins")
    tables["Gold judge"]["longest_of_16"] = rate(0.51)
    assert tricks_reading(tables) == "None of them wins against SFT beyond its interval."


def test_a_small_model_that_beats_a_large_one():
    sizes = {"200k": {"ppo_ptx": rate(0.64)}, "3m": {"base": rate(0.36)}}
    assert size_reading(sizes, "SFT") == (
        "PPO-ptx of 200k parameters already wins against SFT of 3m (64%)."
    )
    sizes["200k"] = {"ppo_ptx": rate(0.51)}
    assert size_reading(sizes, "SFT").startswith("No smaller model wins")


def test_means_name_the_best_and_a_scale_that_differs():
    means = {"Gold score": {"sft": 3.1, "ppo": 3.5}, "Likert, 1 to 7": {"sft": 5.0, "ppo": 4.0}}
    assert means_reading(means) == (
        "PPO has the highest gold score (3.50); likert, 1 to 7 puts SFT first."
    )


def test_the_largest_difference_over_all_panels():
    panels = {
        "Fails": {"sft": rate(0.20), "ppo": rate(0.15)},
        "Rude\nwords": {"sft": rate(0.02), "ppo": rate(0.30)},
    }
    assert shares_reading(panels, "sft") == (
        'The largest difference from SFT: PPO has 30% on "Rude words", SFT 2%.'
    )
    assert shares_reading({"Fails": {"ppo": rate(0.1)}}, "sft") == ""


def test_losses_are_differences_from_the_base():
    loss = {"base": 1.0, "ppo": 1.12, "ppo_ptx": 0.99}
    assert loss_reading(loss) == "Nats per token above the base: PPO +0.12, PPO-ptx -0.01."


def test_training_says_where_score_and_kl_ended():
    curves = {"ppo": [{"score": 0.1, "kl": 0.0}, {"score": 0.9, "kl": 12.3}]}
    assert training_reading(curves) == "PPO's score rises from 0.10 to 0.90 at a KL of 12.3 nats."


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (rate(2.0, 0.1), "below its peak of 3.00: over-optimised"),
        (rate(2.9, 0.2), "not distinguishable from its peak"),
    ],
)
def test_over_optimisation_needs_an_interval_below_the_peak(last, words):
    gold = [{"mean": v} for v in (1.0, 3.0)] + [{"mean": last["rate"], **last}]
    assert words in overoptimisation_reading({"ppo": [{"gold": point} for point in gold]})


def test_an_ablation_says_where_it_is_best():
    arms = [
        {"series": "ppo", "value": "0.02", "win_rate": rate(0.62)},
        {"series": "ppo", "value": "0.2", "win_rate": rate(0.55)},
    ]
    shown = {"win_rate": ("Held-out labelers' win rate", 0.5)}
    assert arms_reading(arms, "beta", shown) == (
        "Held-out labelers' win rate is highest for PPO at beta 0.02 (62%)."
    )


def test_the_best_of_a_panel_is_the_lowest_where_less_is_better():
    def rate(value, half):
        return {"rate": value, "low": value - half, "high": value + half}

    faults = {"SFT": rate(0.6, 0.05), "PPO": rate(0.2, 0.05), "PPO-ptx": rate(0.3, 0.05)}
    panels = {"Made up": faults, "Right": faults, "Nobody": {"SFT": None}}
    assert tops_reading(panels, ["Made up"]) == "Made up: PPO is lowest. Right: SFT is highest."
    near = {"Made up": {**faults, "PPO": rate(0.28, 0.05)}}
    said = "Made up: PPO is lowest, not distinguishable from the next."
    assert tops_reading(near, ["Made up"]) == said
