from dataclasses import replace

import pytest
from tests.fixtures_models import make_policy, make_tokenizer

from understudy.engines.sampling import draw_responses, merge_identical, say_if_none_ended
from understudy.records.schema import Prompt

PROMPTS = [
    Prompt(id=f"p{i}", prompt=text, user_id="u")
    for i, text in enumerate(["Name a prime.", "List three foods.", "Where is Lund?"])
]


def draw(prompts=PROMPTS, **kwargs):
    options = dict(num_samples=3, seed=1, max_new_tokens=6, model_name="m") | kwargs
    return draw_responses(make_policy("llama"), make_tokenizer(), prompts, **options)


def test_order_is_prompt_major_and_records_are_complete():
    responses = draw()
    assert [r.prompt_id for r in responses] == ["p0"] * 3 + ["p1"] * 3 + ["p2"] * 3
    assert len({r.id for r in responses}) == 9
    first = responses[0]
    assert (first.model, first.seed, first.temperature) == ("m", 1, 1.0)
    assert first.prompt == PROMPTS[0].prompt
    assert first.logprob < 0


def test_a_sample_does_not_depend_on_its_company():
    responses = draw()
    for found, same in (
        (draw(PROMPTS[1:2], num_samples=2), responses[3:5]),
        (draw(PROMPTS[::-1])[6:], responses[:3]),
    ):
        assert [(r.id, r.response) for r in found] == [(r.id, r.response) for r in same]
        assert [r.logprob for r in found] == pytest.approx([r.logprob for r in same], abs=1e-4)
    assert [r.response for r in draw(seed=2)] != [r.response for r in responses]


def test_models_have_noise_of_their_own():
    first, other = draw(), draw(model_name="another")
    assert [r.response for r in first] != [r.response for r in other]
    assert [r.response for r in draw(num_samples=1, greedy=True)] == [
        r.response for r in draw(num_samples=1, greedy=True, model_name="another")
    ]


def test_greedy_is_one_sample_at_temperature_zero():
    responses = draw(num_samples=1, greedy=True)
    assert {r.temperature for r in responses} == {0.0}
    with pytest.raises(ValueError, match="num_samples is 2"):
        draw(num_samples=2, greedy=True)


def test_merge_identical_keeps_the_first_of_each_text():
    a, b, c = draw(PROMPTS[:1])
    b = replace(b, response=a.response)
    other = replace(a, prompt_id="p9")
    assert merge_identical([a, b, c, other]) == [a, c, other]


def test_a_long_prompt_is_named():
    prompt = Prompt(id="long", prompt="cat " * 250, user_id="u")
    with pytest.raises(ValueError, match="prompt long"):
        draw([prompt])


def test_that_no_answer_ended_is_said_once_with_the_stop_tokens(capsys):
    responses = [replace(r, finished=False, model="endless") for r in draw()]
    for _ in range(2):
        say_if_none_ended(responses, make_tokenizer(), 6)
    said = capsys.readouterr().err
    assert said.count("endless: no response ended within 6 tokens: none wrote <eos>") == 1
    say_if_none_ended([*responses, replace(responses[0], finished=True, model="b")], None, 6)
    say_if_none_ended([], None, 6)
    assert capsys.readouterr().err == ""
