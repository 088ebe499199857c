"""Results of several seeds together."""

import math
import re
from pathlib import Path

import pytest
from benchmarks.seeds import cell, main, of_study, read, screenshot, study_tables

from understudy.evaluation.points import percent, value_of
from understudy.evaluation.report import render
from understudy.evaluation.seeds import ONE_SEED, pooled

KEPT = "benchmarks/results/studies"
MORE = {"Reward model": {"a": 0.7}}


def study(seed, low, high, examples=()):
    """A study's results; rates are chosen for a mean and spread that are easy by hand."""
    return {
        "title": "Which?",
        "lead": "Two variants.",
        "bars": "Bars are 95% intervals over prompts and users.",
        "study": {
            "name": "which",
            "panels": {
                "Gold judge": {
                    "a": {"rate": low, "low": low - 0.1, "high": low + 0.1, "n": 50},
                    "b": {"rate": high, "low": high - 0.1, "high": 1.0, "n": 50},
                }
            },
            "more": [{"title": "More.", "caption": f"{seed} of 5.", "panels": MORE}],
            "examples": list(examples),
        },
        "wall_minutes": 3 + seed,
        "caveats": [ONE_SEED, "The world is tiny."],
        "seed": seed,
    }


def test_a_point_is_the_mean_with_students_interval_over_seeds_by_hand():
    runs = [study(0, 0.5, 0.98), study(1, 0.6, 0.9), study(2, 0.7, 0.97)]
    found = pooled(runs)
    panel = found["study"]["panels"]["Gold judge"]
    half = 4.302653 * 0.1 / math.sqrt(3)  # t with 2 degrees of freedom, a spread of 0.1
    assert panel["a"]["rate"] == pytest.approx(0.6)
    assert panel["a"]["low"] == pytest.approx(0.6 - half)
    assert panel["a"]["high"] == pytest.approx(0.6 + half)
    assert (panel["a"]["n"], panel["a"]["seeds"]) == (150, [0.5, 0.6, 0.7])
    assert panel["b"]["high"] == 1.0  # a rate's interval does not leave its range
    assert found["wall_minutes"] == 4
    assert found["seeds"] == [0, 1, 2]


def test_other_work_does_not_count_in_the_seconds_of_several_seeds():
    runs = [study(seed, 0.5, 0.6) for seed in range(3)]
    for run, seconds in zip(runs, (60.0, 300.0, 61.0), strict=True):
        run["study"]["arms"] = [{"series": "ppo", "seconds": seconds}]
    assert pooled(runs)["study"]["arms"] == [{"series": "ppo", "seconds": 60.0}]


def test_equal_seeds_do_not_make_a_share_certain():
    """0 of 20 in each of three seeds: the mean of their intervals, narrower by the root of 3."""
    runs = [study(seed, 0.5, 0.9) for seed in range(3)]
    for run in runs:
        run["study"]["panels"]["Gold judge"]["a"] = {"rate": 0.0, "low": 0.0, "high": 0.16, "n": 20}
    point = pooled(runs)["study"]["panels"]["Gold judge"]["a"]
    assert (point["low"], point["high"]) == (0.0, pytest.approx(0.16 / math.sqrt(3)))


def test_what_depends_on_the_seed_is_left_out_and_what_it_covers_is_said():
    text = {"request": "Why?", "rate": 1}
    found = pooled([study(0, 0.5, 0.6, [text, text]), study(1, 0.5, 0.7, [text])])
    assert found["study"]["more"] == [{"title": "More.", "panels": MORE}]
    assert found["study"]["examples"] == [text]
    assert found["caveats"] == ["The world is tiny."]
    page = render(found)
    assert "Two variants. Means over the seeds 0 and 1." in page
    assert "training noise" in page
    assert "seeds 60%, 70%" in page


@pytest.mark.parametrize("seeds", [[0], [1, 1]])
def test_one_seed_is_not_pooled(seeds):
    with pytest.raises(ValueError, match="two seeds or more"):
        pooled([study(seed, 0.5, 0.6) for seed in seeds])


def test_the_benchmark_prints_what_docs_show_of_several_seeds():
    root = Path(__file__).parents[3]
    files = sorted((root / KEPT).iterdir())
    printed = ""
    for name in {file.name.split("-")[-2] for file in files}:
        runs = [read(file) for file in files if file.name.split("-")[-2] == name]
        printed += "\n".join(study_tables(of_study(runs)))
    written = (root / "docs/studies.md").read_text(encoding="utf-8")
    cells = re.findall(r"\| *([^|;]+ \([^|;]+ to [^|;]+\); [^|;]+?) *(?=\|)", written)
    assert len(cells) > 100
    assert [cell for cell in cells if f"| {cell} |" not in printed] == []


def test_the_benchmark_prints_what_docs_show_of_one_seed():
    root = Path(__file__).parents[3]
    (kept,) = (root / KEPT).glob("*-real_methods-*.json")
    found = of_study([read(kept)])
    printed = "\n".join(study_tables(found))
    page = (root / "docs/studies.md").read_text(encoding="utf-8")
    section = page.partition("### On a real model")[2].partition("\n## ")[0]
    shown = [
        [text.strip() for text in line[1:-1].split("|")]
        for line in section.splitlines()
        if line.startswith("| ")
    ][1:]
    best, arms = found["best_of_n"], found["ablation"]["arms"]
    assert len(shown) == len(arms) + len(best)
    for row, arm in zip(shown, arms, strict=False):
        _, _, second, first, kl, words, hellaswag, loss, seconds = row
        assert f"| {second} | {first} |" in printed
        assert (float(kl), float(words)) == pytest.approx(
            (value_of(arm["kl"]), value_of(arm["words"])), abs=0.05
        )
        assert hellaswag == percent(arm["benchmarks"]["hellaswag"])
        assert float(loss) == pytest.approx(arm["pretraining_loss"], abs=0.005)
        assert float(seconds) == pytest.approx(arm["seconds"], abs=0.5)
    for row, (n, point) in zip(shown[len(arms) :], best.items(), strict=True):
        assert row[0] == f"best of {n}"
        assert row[2] == cell(point["win_rate"])
        assert float(row[4]) == pytest.approx(point["kl"], abs=0.005)


def test_a_figure_of_the_report_is_drawn(tmp_path):
    html = render(pooled([study(0, 0.5, 0.6), study(1, 0.6, 0.7)]))
    out = tmp_path / "docs" / "second.png"
    screenshot(html, out, 2)
    assert out.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match="the report has figures 1 to 2"):
        screenshot(html, out, 3)


def test_a_figure_number_without_a_picture_is_refused(monkeypatch, capsys):
    kept = next((Path(__file__).parents[3] / KEPT).iterdir())
    monkeypatch.setattr("sys.argv", ["seeds.py", str(kept), "--figure", "2"])
    with pytest.raises(SystemExit):
        main()
    assert "--figure is for --picture of a study" in capsys.readouterr().err
