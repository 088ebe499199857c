"""The table of public benchmarks from results.json."""

from understudy.evaluation.public import benchmark_table


def _point(mean, low, high, gap=None):
    point = {"mean": mean, "low": low, "high": high, "n": 200}
    return (
        point
        if gap is None
        else {**point, "difference": dict(zip(("mean", "low", "high"), gap, strict=True))}
    )


LINE = {
    "name": "paper_squadv2", "title": "SQuADv2, F1", "rule": "generated", "shots": 0, "scale": 100,
    "paper": {"base": 64.30, "sft": 57.67, "ppo": 43.68, "ppo_ptx": 59.85},
    "models": {
        "ppo": _point(0.20, 0.15, 0.25, (-0.10, -0.14, -0.06)),
        "base": _point(0.30, 0.25, 0.35),
        "ppo_ptx": _point(0.29, 0.24, 0.34, (-0.01, -0.03, 0.01)),
    },
}  # fmt: skip


def test_our_models_stand_beside_the_papers_with_paired_differences():
    page = benchmark_table({"baseline": "base", "tasks": [LINE], "limit": 200})
    assert "20.0 (15.0 to 25.0); difference -10.0 (-14.0 to -6.0)" in page
    assert "30.0 (25.0 to 35.0)</td>" in page
    assert page.index("Base") < page.index("PPO-ptx")
    assert "<td>43.7</td>" in page
    assert "at most 200 items" in page
    fell = page[page.index("Fell beyond the interval") :]
    assert fell.index("PPO") < fell.index("SQuADv2, F1")
    assert "<td>SQuADv2, F1</td><td>-</td><td>-</td>" in fell  # PPO fell
    assert "<td>-</td><td>-</td><td>SQuADv2, F1</td>" in fell  # PPO-ptx did not clearly change


def test_bias_and_toxicity_are_no_skills():
    line = {**LINE, "title": "Toxicity", "skill": False, "scale": 1, "paper": None}
    page = benchmark_table({"baseline": "base", "tasks": [line], "toxicity": "profanity-check"})
    assert "Bias and toxicity" in page
    assert "Fell" not in page
    assert "profanity-check" in page
    assert "0.200 (0.150 to 0.250); difference -0.100" in page


def test_nothing_was_measured():
    assert benchmark_table({}) == ""
