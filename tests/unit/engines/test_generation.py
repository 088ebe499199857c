import pytest
import torch
from tests.fixtures_models import make_policy

from understudy.engines.generation import generate
from understudy.models.batching import pad

EOS, PAD, VOCAB = 0, 1, 16
KINDS = ["llama", "llama_tied", "gpt2", "qwen2", "gpt_neox", "opt", "mistral", "gemma2"]


def ragged_prompts(count, seed=0, longest=12):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(2, VOCAB, (n,), generator=generator).tolist() for n in lengths]


SYSTEM = [2 + i % 13 for i in range(21)]
"""A beginning that is long enough to be computed once for all prompts."""


def sample(model, prompts, **kwargs):
    options = dict(max_new_tokens=10, seed=3, stop_ids=[EOS], pad_id=PAD) | kwargs
    return generate(model, prompts, **options)


@torch.no_grad()
def naive_greedy(model, prompt, limit):
    ids = list(prompt)
    while len(ids) < len(prompt) + limit:
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == EOS:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("shared", [[], SYSTEM])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_equals_greedy_without_a_cache(kind, shared):
    model = make_policy(kind, vocab_size=VOCAB)
    prompts = [shared + prompt for prompt in ragged_prompts(7, longest=26)]
    found = sample(model, prompts, greedy=True, slots=3)
    assert [g.ids for g in found] == [naive_greedy(model, p, 10) for p in prompts]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("shared", [[], SYSTEM])
@pytest.mark.parametrize("kind", KINDS)
def test_logprobs_are_the_trainers(kind, temperature, shared):
    model = make_policy(kind, vocab_size=VOCAB)
    prompts = [shared + prompt for prompt in ragged_prompts(8, longest=26)]
    found = sample(model, prompts, temperature=temperature, slots=5)
    rows = [p + g.ids for p, g in zip(prompts, found, strict=True)]
    ids, mask = pad(rows, PAD)
    expected, _ = model.logprobs(ids, mask, temperature)
    for row, prompt, generation in zip(expected, prompts, found, strict=True):
        own = row[len(prompt) : len(prompt) + len(generation.ids)]
        assert torch.allclose(torch.tensor(generation.logprobs), own, atol=1e-5)


def test_same_rollouts_whatever_the_batch_slots_and_order():
    model = make_policy("llama", vocab_size=VOCAB)
    prompts = ragged_prompts(24)
    keys = [(4, i) for i in range(24)]
    whole = sample(model, prompts, keys=keys)
    assert len({len(g.ids) for g in whole}) > 3
    for slots in (1, 5, 23):
        few = sample(model, prompts, keys=keys, slots=slots)
        assert [g.ids for g in few] == [g.ids for g in whole]
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1)).tolist()
    mixed = sample(model, [prompts[i] for i in order], keys=[keys[i] for i in order], slots=7)
    assert [g.ids for g in mixed] == [whole[i].ids for i in order]
    parts = [sample(model, [p], keys=[k])[0] for p, k in zip(prompts, keys, strict=True)]
    assert [g.ids for g in parts] == [g.ids for g in whole]


def test_equal_prompts_are_prefilled_once_and_answered_apart():
    model = make_policy("llama", vocab_size=VOCAB)
    prompts = [p for p in ragged_prompts(4) for _ in range(5)]
    keys = [(i,) for i in range(20)]
    found = sample(model, prompts, keys=keys)
    assert lengths_of_passes(model, prompts)[0][0] == 4
    alone = [sample(model, [p], keys=[k])[0].ids for p, k in zip(prompts, keys, strict=True)]
    assert [g.ids for g in found] == alone
    assert len({tuple(g.ids) for g in found}) > 10


def lengths_of_passes(model, prompts):
    """(rows, tokens) of each prefill pass."""
    passes = []
    handle = model.trunk.register_forward_pre_hook(
        lambda module, args, kwargs: passes.append(tuple(kwargs["input_ids"].shape)),
        with_kwargs=True,
    )
    sample(model, prompts, max_new_tokens=1)
    handle.remove()
    return passes


def test_a_beginning_that_all_prompts_share_is_computed_once():
    model = make_policy("llama", vocab_size=VOCAB)
    assert lengths_of_passes(model, [[*SYSTEM, 5, 6], [*SYSTEM, 7]]) == [(1, 21), (2, 2)]
    # One prompt is the beginning of the other: each keeps a token of its own to read from.
    assert lengths_of_passes(model, [SYSTEM, [*SYSTEM, 7]]) == [(1, 20), (2, 2)]
    assert lengths_of_passes(model, [SYSTEM, SYSTEM]) == [(1, 21)]
    assert lengths_of_passes(model, [[5, *SYSTEM], [6, *SYSTEM]]) == [(2, 22)]


def test_prompts_of_very_different_lengths_are_not_padded_to_each_other():
    model = make_policy("llama", vocab_size=VOCAB)
    short, long = [[2 + i] for i in range(9)], [[2 + i] * 40 for i in range(9)]
    assert lengths_of_passes(model, [*short, *long]) == [(9, 40), (9, 1)]


def test_ends_at_eos_or_at_the_limit():
    model = make_policy("llama", vocab_size=VOCAB)
    found = sample(model, ragged_prompts(40), max_new_tokens=6)
    assert {g.finished for g in found} == {True, False}
    for generation in found:
        assert len(generation.ids) == len(generation.logprobs) <= 6
        assert EOS not in generation.ids[:-1]
        assert generation.finished == (generation.ids[-1] == EOS)
        assert generation.finished or len(generation.ids) == 6


def test_seed_and_key_choose_the_sample():
    model = make_policy("llama", vocab_size=VOCAB)
    prompts = ragged_prompts(6)
    base = [g.ids for g in sample(model, prompts)]
    assert [g.ids for g in sample(model, prompts)] == base
    assert [g.ids for g in sample(model, prompts, seed=4)] != base
    assert [g.ids for g in sample(model, prompts, keys=[(i, 0) for i in range(6)])] != base


def test_first_tokens_follow_the_softmax():
    model = make_policy("llama", vocab_size=VOCAB)
    prompt = [5, 6, 7]
    num = 4000
    found = sample(model, [prompt] * num, max_new_tokens=1, temperature=0.8)
    logits = model(input_ids=torch.tensor([prompt])).logits[0, -1]
    probs = torch.softmax(logits / 0.8, -1).detach()
    counts = torch.bincount(torch.tensor([g.ids[0] for g in found]), minlength=VOCAB)
    top = probs.topk(VOCAB).indices
    error = (counts[top] / num - probs[top]).abs()
    assert (error < 4.5 * (probs[top] / num) ** 0.5).all()


def test_the_model_is_left_as_it_was():
    model = make_policy("llama", vocab_size=VOCAB).train()
    before = model.config._attn_implementation
    sample(model, ragged_prompts(2))
    assert model.training
    assert model.config._attn_implementation == before
    assert sample(model, []) == []


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([[]], {}, "prompt 0 is empty"),
        ([[3], [3] * 250], {}, "prompt 1 has 250 tokens; .* context of 256"),
        ([[3]], {"temperature": 0.0}, "temperature is 0"),
        ([[3]], {"max_new_tokens": 0}, "max_new_tokens is 0"),
        ([[3]], {"keys": []}, "keys: 0, prompts: 1"),
    ],
)
def test_bad_input(prompts, options, message):
    with pytest.raises(ValueError, match=message):
        sample(make_policy("llama"), prompts, **options)
