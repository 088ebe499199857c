import torch

from understudy.rl.passes import make_passes

PROMPTS = [[5, 6], [7], [8, 9, 10]]
RESPONSES = [[11, 0], [12, 13, 0], [14]]
CPU = torch.device("cpu")


def test_columns_and_labels_by_hand():
    (batch,) = make_passes(PROMPTS, RESPONSES, [0, 1, 2], pad_id=1, budget=100, device=CPU)
    assert batch.ids_BT.tolist() == [[5, 6, 11, 0], [7, 12, 13, 0], [8, 9, 10, 14]]
    assert batch.last_B.tolist() == [3, 3, 3]
    # Each response token is predicted at the column before its own.
    assert batch.row_N.tolist() == [0, 0, 1, 1, 1, 2]
    assert batch.column_N.tolist() == [1, 2, 0, 1, 2, 2]
    assert batch.labels_N.tolist() == [11, 0, 12, 13, 0, 14]
