import pytest
from tests.fixtures_models import make_tokenizer

from understudy.models.chat import render_prompt
from understudy.records import Demonstration, Message
from understudy.records.shelf import PART
from understudy.sft.data import encode_demonstrations


def demo(prompt, response="Seven."):
    return Demonstration(id="d", prompt_id="p", prompt=prompt, response=response, labeler_id="l")


def encode(rows, max_prompt=50, max_response=50, context=256):
    return encode_demonstrations(
        make_tokenizer(),
        rows,
        max_prompt_tokens=max_prompt,
        max_response_tokens=max_response,
        context=context,
        where="demos.jsonl",
    )


def test_long_prompts_are_left_out_and_long_responses_cut():
    examples = encode([demo("a " * 60), demo("b"), demo("c", "no " * 60)])
    assert [*examples.kept] == [1, 2]
    assert (examples.num_dropped, examples.num_cut) == (1, 1)
    assert sum(examples.rows[1].loss_mask) == 50
    assert 0 not in examples.rows[1].input_ids  # no EOS where nothing ends
    assert examples.rows[0].input_ids[examples.rows[0].end - 1] == 0


def test_records_are_numbered_through_all_parts():
    rows = [demo(f"number {i}") for i in range(PART + 2)]
    rows[PART] = demo("a " * 60)
    examples = encode(rows)
    assert examples.kept[-2:].tolist() == [PART - 1, PART + 1]
    one = encode(rows[-1:])
    assert examples.rows[-1] == one.rows[0]
    with pytest.raises(ValueError, match=f"demos.jsonl record {PART + 1}: the prompt"):
        encode(rows, max_prompt=999, context=40)


def test_a_response_is_cut_at_the_end_of_the_context():
    length = len(render_prompt(make_tokenizer(), "c"))
    examples = encode([demo("c", "no " * 60)], context=length + 3)
    assert len(examples.rows[0].input_ids) == length + 3


def test_a_prompt_that_fills_the_context_is_an_error():
    with pytest.raises(ValueError, match=r"demos.jsonl record 1: the prompt 'a a .* context is 40"):
        encode([demo("a " * 60)], max_prompt=200, context=40)


def test_nothing_left_is_an_error():
    with pytest.raises(ValueError, match="every prompt is longer than max_prompt_tokens=5"):
        encode([demo("a " * 60)], max_prompt=5)


def test_earlier_answers_belong_to_the_prompt_but_are_learned():
    chat = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Go"))
    examples = encode([demo(chat, "no " * 60)], max_response=2)
    tokenizer = make_tokenizer()
    learned = [
        i for i, m in zip(examples.rows[0].input_ids, examples.rows[0].loss_mask, strict=True) if m
    ]
    assert tokenizer.decode(learned).startswith(" Hello<eos> ")
    assert len(examples.rows[0].input_ids) == len(render_prompt(tokenizer, chat)) + 2
