import pytest
import torch
from torch.nn import functional as F

from understudy.models.cpu.products import ROW_STEP, product, product_onto, rows_to_spare

BY_ONEDNN, BY_THE_OTHER = 3 * ROW_STEP, 3 * ROW_STEP + 1


def inputs(rows):
    generator = torch.Generator().manual_seed(0)
    shapes = {"x": (rows, 24), "weight": (40, 24), "bias": (40,), "onto": (rows, 40)}
    return {
        name: torch.randn(shape, generator=generator, requires_grad=True)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("rows", [BY_ONEDNN, BY_THE_OTHER])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("onto", [False, True])
def test_is_the_linear_map_with_its_gradients(rows, wide, bias, onto):
    t = inputs(rows)
    if wide:  # as many inputs as there were outputs
        t["x"], t["weight"] = t["onto"], t["weight"].detach().T.contiguous().requires_grad_()
        t["bias"] = t["bias"].detach()[:24].requires_grad_()
        t["onto"] = inputs(rows)["x"]
    bias_M = t["bias"] if bias else None
    used = [t["x"], t["weight"], *([t["bias"]] if bias else []), *([t["onto"]] if onto else [])]
    if onto:
        found_NM = product_onto(t["onto"], t["x"], t["weight"], bias_M)
    else:
        found_NM = product(t["x"], t["weight"], bias_M)
    expected_NM = F.linear(t["x"], t["weight"], bias_M) + (t["onto"] if onto else 0)
    assert torch.allclose(found_NM, expected_NM, atol=1e-5)
    grad_NM = torch.arange(found_NM.numel()).view(found_NM.shape) % 5 - 2.0
    mine = torch.autograd.grad(found_NM, used, grad_NM)
    theirs = torch.autograd.grad(expected_NM, used, grad_NM)
    for found, expected in zip(mine, theirs, strict=True):
        assert torch.allclose(found, expected, atol=1e-4)


def test_the_same_inputs_give_the_same_bits():
    t = inputs(BY_ONEDNN)
    assert torch.equal(product(t["x"], t["weight"]), product(t["x"], t["weight"]))


@pytest.mark.parametrize("count", [1, 31, 512, 1023])
def test_few_rows_stay_as_many(count):
    assert rows_to_spare(count) == 0


def test_many_rows_become_a_number_that_comes_again():
    counts = range(1024, 2048)
    sums = {count + rows_to_spare(count) for count in counts}
    assert len(sums) <= 17
    assert all(total % ROW_STEP == 0 for total in sums)
    assert all(rows_to_spare(count) <= count / 16 for count in counts)
