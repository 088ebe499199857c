import pytest
from tests.fixtures_models import make_tokenizer

from understudy.models.chat import (
    add_stop_ids,
    check_prompt_length,
    decode_response,
    encode_example,
    never_ended,
    render_prompt,
    render_prompts,
)
from understudy.records import Message

CHAT = (
    Message("system", "Be brief."),
    Message("user", "Hi"),
    Message("assistant", " Hello "),
    Message("user", "Name a prime."),
)


@pytest.fixture
def tokenizer():
    return make_tokenizer()


def test_prompt_uses_the_tokenizers_own_template(tokenizer):
    ids = render_prompt(tokenizer, "Name a prime.")
    assert tokenizer.decode(ids) == "ask: Name a prime.\nreply:"
    assert render_prompts(tokenizer, ["a", CHAT, "a"])[0] == render_prompt(tokenizer, "a")


@pytest.mark.parametrize("text", ["Seven.", "a  b", "two\nlines", "\u2603 snow", "[INST]"])
def test_decoding_undoes_encoding(tokenizer, text):
    ids = answer_ids(tokenizer, text)
    assert decode_response(tokenizer, ids) == text
    assert decode_response(tokenizer, [*ids, 50, 60]) == text  # what follows EOS is cut


def answer_ids(tokenizer, text):
    example = encode_example(tokenizer, "x", text)
    return example.input_ids[example.prompt_length : example.end]


def test_eos_in_a_labelers_text_is_text(tokenizer):
    ids = answer_ids(tokenizer, "a <eos> b")
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids.index(tokenizer.eos_token_id) == len(ids) - 1
    assert decode_response(tokenizer, ids) == "a <eos> b"


def test_a_changed_template_is_noticed(tokenizer):
    tokenizer.chat_template = "{{ messages[0]['content'] }}:"
    assert tokenizer.decode(render_prompt(tokenizer, "Seven")) == "Seven:"


def test_a_cut_answer_is_closed_by_nothing(tokenizer):
    whole = encode_example(tokenizer, "x", "a b c d e f")
    cut = whole.cut(whole.prompt_length + 3)
    assert cut.input_ids == whole.input_ids[: whole.prompt_length + 3]
    assert sum(cut.loss_mask) == 3
    assert tokenizer.eos_token_id not in cut.input_ids
    assert cut.end == len(cut.input_ids)


def test_turns_of_weight_0_are_not_learned(tokenizer):
    turns = (CHAT[0], CHAT[1], Message("assistant", "Hello", 0), CHAT[3])
    example = encode_example(tokenizer, turns, "Seven.")
    learned = [i for i, m in zip(example.input_ids, example.loss_mask, strict=True) if m]
    assert tokenizer.decode(learned) == " Seven.<eos>"


def test_the_mask_decodes_to_the_response(tokenizer):
    example = encode_example(tokenizer, "Name a prime.", "Seven.")
    learned = [i for i, m in zip(example.input_ids, example.loss_mask, strict=True) if m]
    assert tokenizer.decode(learned) == " Seven.<eos>"
    assert tokenizer.decode(example.input_ids) == "ask: Name a prime.\nreply: Seven.<eos>\n"
    prompt = example.input_ids[: example.prompt_length]
    assert prompt == render_prompt(tokenizer, "Name a prime.")


def test_the_mask_counts_every_assistant_turn(tokenizer):
    example = encode_example(tokenizer, CHAT, "Seven.")
    learned = [i for i, m in zip(example.input_ids, example.loss_mask, strict=True) if m]
    assert tokenizer.decode(learned) == "  Hello <eos> Seven.<eos>"
    assert tokenizer.decode(example.input_ids) == (
        "Be brief.\nask: Hi\nreply:  Hello <eos>\nask: Name a prime.\nreply: Seven.<eos>\n"
    )
    # A later turn continues exactly the ids that an earlier turn was trained on.
    first = encode_example(tokenizer, CHAT[:2], " Hello ")
    assert example.input_ids[: len(first.input_ids)] == first.input_ids
    assert render_prompt(tokenizer, CHAT) == example.input_ids[: example.prompt_length]


def test_a_tokenizer_without_template_gets_the_plain_one():
    tokenizer = make_tokenizer(chat_template=None)
    ids = render_prompt(tokenizer, CHAT)
    assert tokenizer.decode(ids) == (
        "System: Be brief.\nUser: Hi\nAssistant:  Hello <eos>\nUser: Name a prime.\nAssistant:"
    )
    assert tokenizer.chat_template  # saved with the tokenizer from now on


def test_a_prompt_that_fills_the_context_is_named():
    with pytest.raises(ValueError, match=r"demos.jsonl: the prompt 'Name a prime.' has 4 tokens"):
        check_prompt_length("Name a prime.", [1, 2, 3, 4], 4, "demos.jsonl")
    check_prompt_length("Name a prime.", [1, 2, 3], 4, "demos.jsonl")
    check_prompt_length("Name a prime.", [1] * 99, None, "demos.jsonl")
    with pytest.raises(
        ValueError, match=r"context is 8, which leaves no room .* of 6; .*--max-prompt-tokens 2 "
    ):
        check_prompt_length("Name a prime.", [1, 2, 3], 8, "prompt p", response=6)


def test_a_stop_id_that_the_tokenizer_lacks_is_called_by_its_number():
    tokenizer = make_tokenizer()
    add_stop_ids(tokenizer, [len(tokenizer) + 7])
    assert f" or token {len(tokenizer) + 7}. Either" in never_ended(tokenizer, 4)
