import numpy as np
import pytest
import torch
from tests.fixtures_models import make_policy

from understudy.engines.rows import LiveRows
from understudy.engines.slots import decoding
from understudy.models.cpu.llama import COLUMN_ROWS, LlamaTrunk

PROMPTS = [[5, 6, 7, 8, 9, 10], [3, 4], [11, 12, 13, 2]]
MANY = [[token, *prompt] for token in (4, 5, 6) for prompt in PROMPTS]


def rows_of(model, by_hand, num_slots=10, capacity=40):
    slots = {"num_slots": num_slots, "capacity": capacity}
    return LiveRows(model, **slots, pad_id=1, mask_by_hand=by_hand)


@pytest.mark.parametrize("kind", ["llama", "llama_tied", "qwen2", "qwen3", "mistral"])
@pytest.mark.parametrize("prompts", [PROMPTS, MANY], ids=["by row", "by column"])
def test_runs_directly_and_gives_the_models_own_hidden_states(kind, prompts):
    assert (len(prompts) in COLUMN_ROWS) == (prompts is MANY)
    model = make_policy(kind, vocab_size=16)
    with decoding(model) as by_hand:
        direct = rows_of(model, by_hand)
        assert isinstance(direct.forward, LlamaTrunk)
        handle = model.trunk.layers[0].register_forward_hook(lambda *args: None)
        own = rows_of(model, by_hand)
        handle.remove()
        assert not isinstance(own.forward, LlamaTrunk)  # somebody listened
        for rows in (direct, own):
            found = [rows.prefill(prompts)]
            rows.enter([len(prompt) for prompt in prompts], np.arange(2, 2 + len(prompts)))
            found += [rows.step() for _ in range(20)]
            if rows is direct:
                kept = found
    for mine, expected in zip(kept, found, strict=True):
        assert torch.allclose(mine, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "opt", "gemma2"])
def test_other_shapes_run_as_the_library_has_them(kind):
    model = make_policy(kind, vocab_size=16)
    with decoding(model) as by_hand:
        assert not isinstance(rows_of(model, by_hand).forward, LlamaTrunk)


def test_a_model_that_does_something_else_with_the_same_modules_is_not_run_directly():
    model = make_policy("llama", vocab_size=16)
    block = model.trunk.layers[0].mlp
    own = block.forward
    block.forward = lambda hidden: 1.5 * own(hidden)
    with decoding(model) as by_hand:
        assert not isinstance(rows_of(model, by_hand).forward, LlamaTrunk)
