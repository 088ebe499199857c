"""The summary of a file of prompts."""

import pytest

from understudy.prompts.show import ShowConfig, show_prompts
from understudy.records import Prompt, write_records


def test_show_counts_and_redacts(tmp_path) -> None:
    rows = [
        Prompt(id="a", prompt="Write to ann@example.org.", user_id="u", split="train"),
        Prompt(id="b", prompt="Why?", user_id="u", consent=False),
        Prompt(id="c", prompt="Why not?", user_id="v", split="test", use_case="other"),
    ]
    path = write_records(tmp_path / "prompts.jsonl", rows)
    text = show_prompts(ShowConfig(data=path))
    assert "3 prompts of 2 users; the busiest sent 2" in text
    assert "personal data in 1, no consent for 1" in text
    assert "generation: Write to [email]." in text
    assert "no split" in text


def test_a_negative_number_of_examples_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="examples is -1"):
        ShowConfig(data=tmp_path, examples=-1)
