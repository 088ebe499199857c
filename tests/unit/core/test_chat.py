import pytest
from tests.fixtures_models import make_tokenizer

from understudy.core.chat import (
    check_prompt_length,
    decode_response,
    encode_example,
    encode_response,
    encode_responses,
    ensure_template,
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


def test_response_starts_with_a_space_and_ends_in_eos(tokenizer):
    ids = encode_response(tokenizer, " Seven. \n")
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids) == " Seven.<eos>"
    assert encode_response(tokenizer, "") == [tokenizer.eos_token_id]


def test_no_space_after_white_space():
    tokenizer = make_tokenizer("{{ messages[0]['content'] }}{{ '\\n' }}")
    assert tokenizer.decode(encode_response(tokenizer, "Seven")) == "Seven<eos>"
    tokenizer.chat_template = "{{ messages[0]['content'] }}:"  # a changed template is noticed
    assert tokenizer.decode(encode_response(tokenizer, "Seven")) == " Seven<eos>"


@pytest.mark.parametrize("text", ["Seven.", "a  b", "two\nlines", "\u2603 snow", "[INST]"])
def test_decoding_undoes_encoding(tokenizer, text):
    ids = encode_response(tokenizer, text)
    assert decode_response(tokenizer, ids) == text
    assert decode_response(tokenizer, [*ids, 50, 60]) == text  # what follows EOS is cut


def test_eos_in_a_labelers_text_is_text(tokenizer):
    ids = encode_response(tokenizer, "a <eos> b")
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids.index(tokenizer.eos_token_id) == len(ids) - 1


def test_a_cut_response_has_no_eos(tokenizer):
    whole = encode_response(tokenizer, "a b c d e f")
    cut = encode_responses(tokenizer, ["a b c d e f"], limit=3)[0]
    assert cut == whole[:3]
    assert tokenizer.eos_token_id not in cut


def test_the_mask_decodes_to_the_response(tokenizer):
    example = encode_example(tokenizer, "Name a prime.", "Seven.")
    learned = [i for i, m in zip(example.input_ids, example.loss_mask, strict=True) if m]
    assert tokenizer.decode(learned) == " Seven.<eos>"
    prompt = [i for i, m in zip(example.input_ids, example.loss_mask, strict=True) if not m]
    assert prompt == render_prompt(tokenizer, "Name a prime.")


def test_the_mask_counts_every_assistant_turn(tokenizer):
    example = encode_example(tokenizer, CHAT, "Seven.")
    learned = [i for i, m in zip(example.input_ids, example.loss_mask, strict=True) if m]
    assert tokenizer.decode(learned) == " Hello<eos> Seven.<eos>"
    assert tokenizer.decode(example.input_ids) == (
        "Be brief.\nask: Hi\nreply: Hello<eos>\nask: Name a prime.\nreply: Seven.<eos>"
    )
    # A later turn continues exactly the ids that an earlier turn was trained on.
    first = encode_example(tokenizer, CHAT[:2], "Hello")
    assert example.input_ids[: len(first.input_ids)] == first.input_ids
    assert (
        render_prompt(tokenizer, CHAT)
        == example.input_ids[: -len(encode_response(tokenizer, "Seven."))]
    )


def test_a_tokenizer_without_template_gets_the_plain_one():
    tokenizer = make_tokenizer(chat_template=None)
    ids = render_prompt(tokenizer, CHAT)
    assert tokenizer.decode(ids) == (
        "System: Be brief.\nUser: Hi\nAssistant: Hello<eos>\nUser: Name a prime.\nAssistant:"
    )
    assert tokenizer.chat_template  # saved with the tokenizer from now on


def test_the_plain_template_begins_as_the_tokenizer_begins_texts():
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer(chat_template=None)
    tokenizer.add_special_tokens({"bos_token": "<pad>"})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<pad> $A", special_tokens=[("<pad>", tokenizer.bos_token_id)]
    )
    ensure_template(tokenizer)
    ids = render_prompt(tokenizer, "Hi")
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


def test_a_template_that_rewrites_history_is_refused():
    tokenizer = make_tokenizer("{{ messages[-1]['content'] }}:")
    assert render_prompt(tokenizer, "Hi")
    with pytest.raises(ValueError, match="rewrites earlier turns"):
        render_prompt(tokenizer, CHAT)


def test_a_prompt_that_fills_the_context_is_named():
    with pytest.raises(
        ValueError, match=r"demos.jsonl: the prompt 'Name a prime.'... has 4 tokens"
    ):
        check_prompt_length("Name a prime.", [1, 2, 3, 4], 4, "demos.jsonl")
    check_prompt_length("Name a prime.", [1, 2, 3], 4, "demos.jsonl")
    check_prompt_length("Name a prime.", [1] * 99, None, "demos.jsonl")
