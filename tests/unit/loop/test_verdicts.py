"""The base model's verdict: by hand on a given model, and agreement by hand."""

import pytest
import torch
from tests.fixtures_models import make_policy, make_tokenizer

from understudy.loop.stages.verdicts import accuracy, gold_pairs, verdicts
from understudy.records import Prompt, Response
from understudy.world.world import World


def response(text: str, prompt: str = "ask", number: int = 0) -> Response:
    return Response(id=f"r{number}", prompt_id="p", prompt=prompt, response=text, model="sft")


@torch.no_grad()
def test_the_verdict_is_the_log_odds_of_good_against_bad_after_the_end_mark():
    model, tokenizer = make_policy("llama"), make_tokenizer()
    rows = [response("yes."), response("a longer reply.", "what is it?")]
    for row, found in zip(rows, verdicts(model, tokenizer, rows), strict=True):
        ids = tokenizer(f"ask: {row.prompt}\nreply: {row.response}")["input_ids"]
        logits = model(torch.tensor([[*ids, tokenizer.eos_token_id]])).logits[0, -1]
        good, bad = (tokenizer(f" {word}")["input_ids"][0] for word in ("good", "bad"))
        assert found == pytest.approx(float(logits[good] - logits[bad]), abs=1e-4)


def test_accuracy_counts_equal_verdicts_half():
    prompts = {"p": Prompt(id="p", prompt="ask", user_id="u")}
    verdict_of = {("p", "a"): 2.0, ("p", "b"): 1.0, ("p", "c"): 1.0}
    pairs = [("p", "a", "b"), ("p", "b", "c"), ("p", "c", "a")]
    assert accuracy(pairs, verdict_of, prompts).rate == 0.5
    assert accuracy(pairs[:2], verdict_of, prompts).rate == 0.75


def test_gold_pairs_leave_ties_out_and_put_the_better_first():
    (asked,) = World(0).closed_domain_prompts(1)
    texts = ("the passage does not say.", "you fool.", "you fool.")
    rows = [response(text, asked.prompt, i) for i, text in enumerate(texts)]
    pairs = gold_pairs(World(0), rows)
    assert pairs == [("p", texts[0], "you fool.")] * 2
