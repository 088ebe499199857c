"""A judge of known accuracy on public pairs that people have judged: PandaLM's and LLMBar's."""

import json
from collections import Counter

import pytest
from tests.fixtures_judged import LLMBAR, PANDALM, needs_llmbar, needs_pandalm
from tests.judges import ScriptedJudge, serving

from understudy.loop.judge import JudgeConfig, judge


def asked(request: str, a: str, b: str) -> tuple[str, ...]:
    return (request, *sorted((a, b)))


@needs_llmbar
def test_llmbar_finds_the_accuracy_that_was_scripted(tmp_path):
    path = LLMBAR / "Natural.json"
    rows = json.loads(path.read_text())
    best = {
        asked(row["input"], row["output_1"], row["output_2"]): row[f"output_{row['label']}"]
        for row in rows
    }

    def better(request, a, b):
        return "A" if best[asked(request, a, b)] == a else "B"

    scripted = ScriptedJudge(better, accuracy=0.8, stubborn=0.1)
    with serving(scripted) as url:
        judge(JudgeConfig(url=url, model="m", people=path, out=tmp_path))
    about = json.loads((tmp_path / "results.json").read_text())["model_judge"]
    said = [
        [scripted.verdict(row["input"], *pair) for pair in ((one, two), (two, one))]
        for row in rows
        for one, two in [(row["output_1"], row["output_2"])]
    ]
    right = [
        ((one == "AB"[row["label"] - 1]) + (two == "BA"[row["label"] - 1])) / 2
        for row, (one, two) in zip(rows, said, strict=True)
    ]
    agreement = about["people"]["agreement"]
    assert agreement["rate"] == pytest.approx(sum(right) / len(rows))
    assert agreement["low"] < 0.9 * 0.8 + 0.1 / 2 < agreement["high"]
    assert about["flipped"]["rate"] == sum(one == two for one, two in said) / len(rows)
    assert "among_people" not in about["people"]


@pytest.mark.slow
@needs_pandalm
def test_pandalm_three_people_and_a_judge_with_ties(tmp_path):
    rows = json.loads((PANDALM / "testset-v1.json").read_text())
    for row in rows:  # a few are `true`
        row["response1"], row["response2"] = str(row["response1"]), str(row["response2"])
    path = tmp_path / "pandalm.json"
    path.write_text(json.dumps(rows))
    votes = {}
    for row in rows:
        request = f"{row['instruction']}\n\n{row['input']}" if row["input"] else row["instruction"]
        texts = row["response1"], row["response2"]
        votes[asked(request, *texts)] = (texts, [row[f"annotator{i}"] for i in (1, 2, 3)])

    def better(request, a, b):
        texts, said = votes[asked(request, a, b)]
        (most, _), *_ = Counter(said).most_common()
        return "tie" if not most else "A" if texts[most - 1] == a else "B"

    with serving(ScriptedJudge(better, accuracy=0.75)) as url:
        judge(JudgeConfig(url=url, model="m", people=path, out=tmp_path))
    about = json.loads((tmp_path / "results.json").read_text())["model_judge"]
    people = about["people"]
    assert (people["labelers"], about["unreadable"], about["flipped"]["rate"]) == (3, 0, 0)
    # Ties half: .937 by hand on all 999 rows, of which a few hold two equal texts or repeat.
    assert people["among_people"]["rate"] == pytest.approx(0.937, abs=0.005)
    assert people["agreement_untied"]["low"] < 0.74 < people["agreement_untied"]["high"]
