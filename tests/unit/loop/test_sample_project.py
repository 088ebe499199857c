"""`understudy sample --project`: the store's prompts answered, the answers in the store."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.fixtures_models import save_model_folder
from tests.stores import make_project

from understudy.loop.sample import sample_responses
from understudy.loop.sample_config import SampleConfig
from understudy.records import Prompt


def test_answers_go_into_the_store_once(tmp_path: Path) -> None:
    project = make_project("sqlite", tmp_path / "project")
    store = project.open_store()
    store.add_prompts(Prompt(id=f"p{i}", prompt=f"Question {i}?", user_id="u") for i in range(4))
    kept = [replace(p, split="train") for p in store.prompts() if p.id != "p3"]
    store.set_intake(kept, [("p3", "pii")])
    settings = dict(
        model=str(save_model_folder(tmp_path / "sft")),
        project=project.folder,
        max_answers=5,
        max_response_tokens=6,
        seed=3,
    )
    assert "to 3 prompts added" in sample_responses(SampleConfig(**settings))
    responses = list(store.responses())
    assert {response.prompt_id for response in responses} == {"p0", "p1", "p2"}
    texts = [(response.prompt_id, response.response) for response in responses]
    assert len(texts) == len(set(texts))
    assert all(response.seed == 3 and response.model == "sft" for response in responses)
    assert sample_responses(SampleConfig(**settings)).startswith("0 responses")
    sample_responses(SampleConfig(**{**settings, "name": "ppo", "seed": 4}))
    assert {response.model for response in store.responses()} == {"sft", "ppo"}
    with pytest.raises(ValueError, match="no prompts of split 'test'"):
        sample_responses(SampleConfig(**settings, split="test"))
    with pytest.raises(ValueError, match="--prompts and --out, or --project"):
        SampleConfig(**{**settings, "out": tmp_path / "x.jsonl"})
