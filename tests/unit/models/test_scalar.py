import math

import pytest
import torch
from tests.fixtures_models import KINDS, MORE_KINDS, make_policy, make_tokenizer, save_model_folder
from transformers import AutoModelForSequenceClassification

from understudy.models.batching import pad, ranking_batch
from understudy.models.chat import encode_example
from understudy.models.policies import Policy, load_policy
from understudy.models.scalar import (
    ScalarModel,
    load_scalar,
    ranking_batches,
    score_texts,
    shares_prefix,
    worth_sharing,
)

PROMPTS = [[5, 9, 200], [7, 8, 9, 10, 11]]
RESPONSES = [[[20, 21], [30, 0], [40, 41, 42, 0]], [[50, 0], [60, 61, 0]]]


def make_scalar(kind="llama", **changes):
    model = ScalarModel.from_policy(make_policy(kind, **changes))
    with torch.no_grad():
        model.bias_shift.fill_(0.5)
        model.head.bias.fill_(0.25)
    return model.eval()


def alone(model):
    """Every response in a row of its own, one at a time: the naive score."""
    scores = []
    for prompt, answers in zip(PROMPTS, RESPONSES, strict=True):
        for answer in answers:
            ids = torch.tensor([[*prompt, *answer]])
            scores.append(model.values(ids, torch.ones_like(ids))[0, -1])
    return torch.stack(scores)


@pytest.mark.parametrize("kind", KINDS)
def test_shared_prefix_scores_and_gradients_equal_separate_rows(kind):
    model = make_scalar(kind)
    assert shares_prefix(model)
    weights = torch.randn(5, generator=torch.Generator().manual_seed(0))
    grads = []
    for shared in (True, False):
        batch = ranking_batch(PROMPTS, RESPONSES, pad_id=1, shared=shared)
        scores_N = model.ranking_scores(batch)
        torch.testing.assert_close(scores_N, alone(model), rtol=1e-5, atol=1e-5)
        model.zero_grad()
        (scores_N * weights).sum().backward()
        grads.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    scale = max(float(g.abs().max()) for g in grads[1].values())
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name], rtol=1e-5, atol=1e-5 * max(scale, 1))


def test_an_architecture_that_cannot_share_is_noticed():
    from transformers import BloomConfig, BloomForCausalLM

    torch.manual_seed(0)
    policy = BloomForCausalLM(
        BloomConfig(vocab_size=384, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.15)
    )
    model = ScalarModel.from_policy(
        Policy(policy.eval())
    )  # ALiBi: distances are counted in columns
    assert not shares_prefix(model)
    batches = ranking_batches(model, PROMPTS, RESPONSES, 1, 4096)
    assert all(batch.attention_mask.ndim == 2 for _, batch in batches)


def test_a_shared_row_must_fit_the_attention_window():
    model = make_scalar("mistral")  # a window of 24 tokens
    assert worth_sharing(model, 10, [4, 4])
    assert not worth_sharing(model, 10, [8, 8])
    # Without a window it is a question of cost: long answers to a short prompt are better apart.
    wide = make_scalar("llama")
    assert worth_sharing(wide, 30, [8] * 9)
    assert not worth_sharing(wide, 2, [200] * 9)


@pytest.mark.parametrize("side", ["left", "right"])
def test_scores_are_read_at_the_last_response_token(side):
    model = make_scalar()
    rows = [[*PROMPTS[0], *answer] for answer in RESPONSES[0]]
    ids_BT, mask_BT = pad(rows, 1, side)
    last_B = mask_BT.sum(-1) - 1 if side == "right" else torch.full((3,), ids_BT.shape[1] - 1)
    scores_B = model.scores(ids_BT, mask_BT, last_B)
    torch.testing.assert_close(scores_B, alone(model)[:3], rtol=1e-5, atol=1e-5)


def test_head_starts_small_with_bias_zero():
    model = ScalarModel.from_policy(make_policy(hidden_size=256))
    assert model.head.bias.item() == 0
    assert model.head.weight.std().item() == pytest.approx(1 / math.sqrt(257), rel=0.15)
    same = ScalarModel.from_policy(make_policy(hidden_size=256))
    other = ScalarModel.from_policy(make_policy(hidden_size=256), seed=1)
    assert torch.equal(model.head.weight, same.head.weight)
    assert not torch.equal(model.head.weight, other.head.weight)


def closed(tokenizer, prompt, text):
    example = encode_example(tokenizer, prompt, text)
    return example.input_ids[: example.end]


def test_saved_for_other_programs_without_a_pad_token_that_ends_answers(tmp_path):
    model, tokenizer = make_scalar(), make_tokenizer(pad_token="<eos>")
    model.save(tmp_path / "rm", tokenizer)
    standard = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm").eval()
    row = closed(tokenizer, "Name a prime.", "Seven.")
    score = standard(torch.tensor([row])).logits.item() + standard.config.understudy_score_offset
    assert [score] == pytest.approx(score_texts(model, tokenizer, ["Name a prime."], ["Seven."]))


@pytest.mark.parametrize("kind", MORE_KINDS)
def test_save_and_load_here_and_as_sequence_classification(tmp_path, kind):
    model, tokenizer = make_scalar(kind), make_tokenizer()
    model.save(tmp_path / "rm", tokenizer)
    loaded, _ = load_scalar(tmp_path / "rm")
    prompts, texts = ["Name a prime.", "x"], ["Seven.", "no"]
    scores = score_texts(model, tokenizer, prompts, texts)
    assert score_texts(loaded, tokenizer, prompts, texts) == scores
    assert loaded.bias_shift == 0.5
    standard = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm").eval()
    assert type(standard).__name__.endswith("ForSequenceClassification")
    rows = [closed(tokenizer, *pair) for pair in zip(prompts, texts, strict=True)]
    offset = standard.config.understudy_score_offset
    alone = [standard(torch.tensor([row])).logits.item() + offset for row in rows]
    assert alone == pytest.approx(scores, abs=1e-5)
    ids_BT, mask_BT = pad(rows, tokenizer.pad_token_id)
    together_B1 = standard(ids_BT, attention_mask=mask_BT).logits + offset
    assert together_B1.squeeze(1).tolist() == pytest.approx(scores, abs=1e-5)


def test_scores_do_not_depend_on_what_else_is_scored():
    model, tokenizer = make_scalar(), make_tokenizer()
    prompts = ["Name a prime.", "List three foods.", "Name a prime.", "Hi"] * 10
    texts = [f"answer {'long ' * (i % 7)}{i}" for i in range(40)]
    together = score_texts(model, tokenizer, prompts, texts)
    small = score_texts(model, tokenizer, prompts, texts, batch_tokens=1)
    backwards = score_texts(model, tokenizer, prompts[::-1], texts[::-1])[::-1]
    single = [
        score_texts(model, tokenizer, [p], [t])[0] for p, t in zip(prompts, texts, strict=True)
    ]
    for other in (small, backwards, single):
        assert together == pytest.approx(other, abs=1e-5)


def test_an_unfinished_response_is_scored_without_eos():
    model, tokenizer = make_scalar(), make_tokenizer()
    whole, cut = score_texts(model, tokenizer, ["x"] * 2, ["a b"] * 2, finished=[True, False])
    rows = torch.tensor([closed(tokenizer, "x", "a b")])
    values_1T = model.values(rows, torch.ones_like(rows))
    assert [whole, cut] == pytest.approx(
        [values_1T[0, -1].item(), values_1T[0, -2].item()], abs=1e-5
    )


def test_errors(tmp_path):
    folder = save_model_folder(tmp_path / "policy")
    with pytest.raises(ValueError, match="is not a reward model"):
        load_scalar(folder)
    with pytest.raises(ValueError, match="does not exist"):
        load_scalar(tmp_path / "nowhere")
    model, tokenizer = make_scalar(), make_tokenizer()
    with pytest.raises(ValueError, match="scoring: the prompt 'a a a"):
        score_texts(model, tokenizer, ["a " * 300], ["b"])


def test_from_policy_shares_the_trunk(tmp_path):
    policy, _ = load_policy(save_model_folder(tmp_path / "policy"))
    model = ScalarModel.from_policy(policy)
    assert model.trunk is policy.trunk
