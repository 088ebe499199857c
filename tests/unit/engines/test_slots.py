import torch

from understudy.engines.slots import WIDTH_STEP, SlotCache


def states(rows, length):
    return torch.randn(rows, 2, length, 4)


def test_rows_keep_their_columns_when_the_width_changes():
    cache = SlotCache(num_slots=3, capacity=200)
    key, value = states(3, 5), states(3, 5)
    cache.begin_prefill(0, None, 5)
    cache.update(key, value, 0)
    columns, rows = torch.tensor([5, 5, 5]), torch.arange(3)
    widths = set()
    for length in (6, 60, 120, 200, 70, 6):  # longer and shorter again
        widths.add(cache.begin_decode(columns, rows, length))
        assert length <= cache.width < length + 2 * WIDTH_STEP
        new_key, new_value = states(3, 1), states(3, 1)
        keys, values = cache.update(new_key, new_value, 0)
        assert torch.equal(keys[:, :, :6], torch.cat([key, new_key], 2))
        assert torch.equal(values[:, :, :6], torch.cat([value, new_value], 2))
        assert keys.is_contiguous()
        assert torch.isfinite(keys).all()
    assert len(widths) > 3


def test_a_row_that_leaves_is_replaced_by_the_last():
    cache = SlotCache(num_slots=3, capacity=20)
    key, value = states(3, 5), states(3, 5)
    cache.begin_prefill(0, None, 5)
    cache.update(key, value, 0)
    cache.move(torch.tensor([2]), torch.tensor([0]), 5)
    cache.begin_decode(torch.tensor([5, 5]), torch.arange(2), 6)
    keys, _ = cache.update(states(2, 1), states(2, 1), 0)
    assert torch.equal(keys[:, :, :5], key[[2, 1]])
