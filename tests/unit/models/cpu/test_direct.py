import pytest
import torch
from tests.fixtures_models import make_policy

from understudy.models.batching import ranking_batch
from understudy.models.compute import checkpoint_activations
from understudy.models.cpu.direct import Rows, direct_pass
from understudy.models.lora import add_adapter
from understudy.sft.config import SFTConfig

LLAMAS = ["llama", "llama_tied", "qwen2", "qwen3", "mistral"]
ROW, COLUMN = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([1, 5, 2, 0, 4])


def right_padded():
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(3, 16, (3, 6), generator=generator)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, 3:] = 0
    mask_BT[2, 5:] = 0
    return ids_BT, mask_BT


def gradients(model, hidden_MD):
    model.zero_grad()
    weight_MD = torch.arange(hidden_MD.numel()).view(hidden_MD.shape) % 7 - 3.0
    (hidden_MD * weight_MD).sum().backward()
    named = model.trunk.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


@pytest.mark.parametrize("kind", LLAMAS)
def test_reads_the_librarys_hidden_states_with_its_gradients(kind):
    model = make_policy(kind, vocab_size=16)
    ids_BT, mask_BT = right_padded()
    assert direct_pass(model.trunk, 6, {}) is not None
    found_MD = model.hidden_at(ids_BT, mask_BT, ROW, COLUMN)
    expected_MD = model.hidden(ids_BT, mask_BT)[ROW, COLUMN]
    assert torch.allclose(found_MD, expected_MD, atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(model.hidden_at(ids_BT, mask_BT, ROW, COLUMN), found_MD, atol=1e-6)
    mine, theirs = gradients(model, found_MD), gradients(model, expected_MD)
    assert mine.keys() == theirs.keys()
    for name, grad in mine.items():
        assert torch.allclose(grad, theirs[name], atol=1e-4), name


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_answers_that_share_a_prompt_read_the_same(kind):
    model = make_policy(kind, vocab_size=16)
    long = [[3, 7, 4] * 40, [9, 4]]  # so much longer that its attention is computed apart
    prompts = [[3, 4, 5], [3, 4], *long]
    responses = [[[6, 7], [8], [9, 10, 11]], [[5], [7, 8, 9]], [[4], [5, 6]], [[12], [8]]]
    batch = ranking_batch(prompts, responses, 1, shared=True)
    where = batch.row_N, batch.column_N
    inputs = batch.input_ids_BT, batch.attention_mask
    found_MD = model.hidden_at(*inputs, *where, batch.position_ids_BT)
    expected_MD = model.hidden(*inputs, batch.position_ids_BT)[where]
    assert torch.allclose(found_MD, expected_MD, atol=1e-5)
    mine, theirs = gradients(model, found_MD), gradients(model, expected_MD)
    for name, grad in mine.items():
        assert torch.allclose(grad, theirs[name], atol=1e-4), name


def test_rankings_of_different_lengths_are_computed_without_padding():
    model = make_policy("llama", vocab_size=16)
    batch = ranking_batch([[3] * 8, [4]], [[[5] * 4, [6]], [[7], [8, 9]]], 1, shared=True)
    counted = []
    embedding = model.trunk.get_input_embeddings()
    embedding.register_forward_hook(lambda _module, inputs, _out: counted.append(len(inputs[0])))
    inputs = batch.input_ids_BT, batch.attention_mask, batch.row_N, batch.column_N
    model.hidden_at(*inputs, batch.position_ids_BT)
    assert counted[-1] == 13 + 4


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "opt", "gemma2"])
def test_other_shapes_are_left_to_the_library(kind):
    assert direct_pass(make_policy(kind, vocab_size=16).trunk, 6, {}) is None


def test_whatever_wraps_or_watches_a_module_is_left_to_the_library():
    model = make_policy("llama", vocab_size=16)
    trunk = model.trunk
    handle = trunk.layers[0].mlp.register_forward_hook(lambda *args: None)
    assert direct_pass(trunk, 6, {}) is None
    handle.remove()
    assert direct_pass(trunk, 6, {}) is not None
    trunk.layers[0].self_attn.attention_dropout = 0.1
    assert direct_pass(trunk, 6, {}) is not None  # which drops in training only
    assert direct_pass(trunk.train(), 6, {}) is None
    trunk.layers[0].self_attn.attention_dropout = 0.0
    assert direct_pass(trunk, 6, {}) is not None
    checkpoint_activations(model)
    assert direct_pass(trunk, 6, {}) is None


def test_an_adapter_is_left_to_the_library(tmp_path):
    model = make_policy("llama", vocab_size=16)
    options = SFTConfig(model="m", data=tmp_path, out=tmp_path, lora_rank=2)
    add_adapter(model.model, options, seed=0)
    assert direct_pass(model.trunk, 6, {}) is None


def test_a_window_that_binds_is_left_to_the_library():
    trunk = make_policy("mistral", vocab_size=16).trunk
    trunk.config.sliding_window = 8
    assert direct_pass(trunk, 8, {}) is not None
    assert direct_pass(trunk, 9, {}) is None


def test_left_padding_is_left_to_the_library():
    model = make_policy("llama", vocab_size=16)
    ids_BT, mask_BT = right_padded()
    ids_BT, mask_BT = ids_BT.flip(1), mask_BT.flip(1)
    found_MD = model.hidden_at(ids_BT, mask_BT, ROW, 5 - COLUMN)
    assert torch.equal(found_MD, model.hidden(ids_BT, mask_BT)[ROW, 5 - COLUMN])


def test_the_same_modules_in_another_order_are_left_to_the_library():
    model = make_policy("llama", vocab_size=16)
    block = model.trunk.layers[0].mlp
    own = block.forward
    block.forward = lambda hidden: 1.5 * own(hidden)
    assert direct_pass(model.trunk, 6, {}) is None


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
@pytest.mark.parametrize("lengths", [(30, 20, 27, 30), (19, 19, 19, 19)])
def test_a_beginning_that_all_rows_share_is_computed_once_with_the_same_gradients(kind, lengths):
    model = make_policy(kind, vocab_size=16)
    ids_BT = torch.randint(3, 16, (4, 30), generator=torch.Generator().manual_seed(3))
    ids_BT[:, :18] = ids_BT[0, :18]
    ids_BT[:, 18] = torch.arange(4)
    mask_BT = (torch.arange(30) < torch.tensor(lengths)[:, None]).long()
    groups = Rows.padded(mask_BT, ids_BT).groups
    assert sum(group.num_tokens for group in groups) == sum(lengths) - 3 * 18
    where = mask_BT.nonzero(as_tuple=True)  # also in the shared beginning
    found_MD = model.hidden_at(ids_BT, mask_BT, *where)
    expected_MD = model.hidden(ids_BT, mask_BT)[where]
    assert torch.allclose(found_MD, expected_MD, atol=1e-5)
    mine, theirs = gradients(model, found_MD), gradients(model, expected_MD)
    for name, grad in mine.items():
        assert torch.allclose(grad, theirs[name], rtol=1e-4, atol=1e-3), name


def test_of_equal_rows_each_keeps_its_last_token():
    ids_BT = torch.arange(20).expand(3, 20)
    rows = Rows.padded(torch.ones_like(ids_BT), ids_BT)
    assert [group.num_tokens for group in rows.groups] == [19, 3]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_rows_of_any_lengths_in_any_order_read_as_alone(kind):
    model = make_policy(kind, vocab_size=16)
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 300, (12,), generator=generator).tolist()
    rows = [torch.randint(3, 16, (n,), generator=generator) for n in lengths]
    ids_BT = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=1)
    mask_BT = (torch.arange(ids_BT.shape[1]) < torch.tensor(lengths)[:, None]).long()
    row_M = torch.tensor([5, 0, 11, 5, 3])
    column_M = torch.tensor([lengths[i] - 1 for i in row_M]) // torch.tensor([1, 1, 2, 3, 1])
    found_MD = model.hidden_at(ids_BT, mask_BT, row_M, column_M)
    for found_D, row, column in zip(found_MD, row_M.tolist(), column_M.tolist(), strict=True):
        alone_BTD = model.hidden(rows[row][None], torch.ones(1, lengths[row]).long())
        assert torch.allclose(found_D, alone_BTD[0, column], atol=1e-5)
