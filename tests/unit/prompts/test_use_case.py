"""Use cases: one plain example per rule, and the paper's shares add up."""

import pytest

from understudy.prompts import PAPER_SHARES, use_case_of
from understudy.records import Message


@pytest.mark.parametrize(
    ("use_case", "text"),
    [
        ("generation", "Write a poem about rain."),
        ("generation", "Could you tell me a joke?"),
        ("generation", "Be brief. Write a letter."),
        ("open_qa", "What is a prime?"),
        ("open_qa", "Explain gravity"),
        ("brainstorming", "Please list 5 ideas for a party"),
        ("brainstorming", "Name three animals."),
        ("chat", "Hello, how are you?"),
        ("chat", "Human: hi\nAI: hello\nHuman: bye"),
        ("rewrite", "Translate to French: hello"),
        ("rewrite", "Make this polite: give me bread."),
        ("summarization", "Summarise this text: ..."),
        ("classification", "Is this review good or bad? Nice."),
        ("closed_qa", "Context: Ann is ill. Question: who is ill?"),
        ("extract", "List all names in this text: Ann met Bob."),
        ("other", "qwerty"),
    ],
)
def test_plain_examples(use_case: str, text: str) -> None:
    assert use_case_of(text) == use_case


def test_several_user_turns_are_chat() -> None:
    one = (Message("system", "Be kind."), Message("user", "Write a poem."))
    assert use_case_of(one) == "generation"
    more = (*one, Message("assistant", "Roses"), Message("user", "Longer."))
    assert use_case_of(more) == "chat"


def test_the_papers_shares_add_up_to_its_rounding() -> None:
    assert len(PAPER_SHARES) == 10
    assert sum(PAPER_SHARES.values()) == pytest.approx(1, abs=0.005)
