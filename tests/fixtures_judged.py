"""Public pairs that people have judged, where they are there: PandaLM's and LLMBar's test sets."""

import json
from pathlib import Path
from statistics import mean

import pytest

REALDATA = Path(__file__).parents[2] / "shared" / "realdata"
PANDALM, LLMBAR = REALDATA / "pandalm", REALDATA / "llmbar"
needs_pandalm = pytest.mark.skipif(not PANDALM.is_dir(), reason="PandaLM's test set is not there")
needs_llmbar = pytest.mark.skipif(not LLMBAR.is_dir(), reason="LLMBar is not there")

WORTH = {0: 0.5, 1: 1.0, 2: 0.0}
"""What a vote gives the first response."""
GPT = {"1": 1.0, "2": 0.0, "Tie": 0.5}


def pandalm_of(model: str) -> list[tuple[float, float, str]]:
    """(what three people give `model`'s response, what GPT-3.5 gives it, application) of its pairs;
    replies of GPT-3.5 that say nothing are left out."""
    people = json.loads((PANDALM / "testset-v1.json").read_text())
    replies = json.loads((PANDALM / "gpt-3.5-turbo-testset-v1.json").read_text())
    rows = []
    for row, reply in zip(people, replies, strict=True):
        models = row["cmp_key"].split("_")
        if model in models and reply["gpt_result"] in GPT:
            first = mean(WORTH[row[f"annotator{i}"]] for i in (1, 2, 3)), GPT[reply["gpt_result"]]
            mine = first if models[0] == model else [1 - won for won in first]
            rows.append((*mine, row["motivation_app"]))
    return rows
