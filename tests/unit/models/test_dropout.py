import pytest
import torch
from tests.fixtures_models import KINDS, make_policy
from torch import nn

from understudy.models.dropout import residual_blocks, set_dropout
from understudy.models.trunk import TrunkModel

IDS = torch.arange(20).unsqueeze(0)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_on_in_training_and_off_in_evaluation(kind):
    model = make_policy(kind)
    plain = model(IDS).logits
    set_dropout(model, 0.2)
    assert torch.equal(model.eval()(IDS).logits, plain)
    model.train()
    torch.manual_seed(0)
    first = model(IDS).logits
    assert not torch.allclose(first, plain, atol=1e-3)
    torch.manual_seed(0)
    assert torch.equal(model(IDS).logits, first)
    set_dropout(model, 0.0)
    assert torch.equal(model(IDS).logits, plain)


@pytest.mark.parametrize("kind", KINDS)
def test_two_blocks_per_layer_and_nothing_else_drops(kind):
    model = make_policy(kind)
    assert len(list(residual_blocks(model))) == 4
    set_dropout(model, 0.5)
    assert all(m.p == 0 for m in model.modules() if isinstance(m, nn.Dropout))


def test_a_fifth_of_the_block_outputs_is_dropped_and_the_mean_kept():
    model = make_policy(hidden_size=64)
    set_dropout(model, 0.2)
    block = model.trunk.layers[0].mlp
    seen = {}
    handle = block.register_forward_hook(lambda _, __, out: seen.update(out=out))
    model.train()(IDS)
    handle.remove()
    assert (seen["out"] == 0).float().mean().item() == pytest.approx(0.2, abs=0.05)


def test_setting_it_twice_does_not_drop_twice():
    model = make_policy()
    set_dropout(model, 0.2)
    set_dropout(model, 0.2)
    assert all(len(block._forward_hooks) == 1 for block in residual_blocks(model))


class Bare(TrunkModel):
    trunk = nn.Linear(2, 2)


def test_refusals():
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        set_dropout(make_policy(), 1.0)
    with pytest.raises(ValueError, match="no blocks for residual dropout"):
        set_dropout(Bare(), 0.1)
