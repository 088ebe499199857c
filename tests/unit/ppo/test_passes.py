import torch

from understudy.ppo.passes import make_passes, put, split_rows, take

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


def test_values_go_back_to_their_episodes():
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]]).bool()
    target = torch.zeros(3, 3)
    put(target, mask, torch.tensor([2, 0]), torch.tensor([9.0, 1.0, 2.0]))
    assert target.tolist() == [[1, 2, 0], [0, 0, 0], [9, 0, 0]]
    assert take(target, mask, torch.tensor([0, 2])).tolist() == [1, 2, 9]


def test_groups_hold_every_row_once_within_budget_and_padding():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        lengths = torch.randint(1, 60, (40,), generator=generator).tolist()
        groups = split_rows(lengths, 300, 50)
        assert sorted(i for group in groups for i in group) == list(range(40))
        for group in groups:
            longest = max(lengths[i] for i in group)
            assert len(group) == 1 or longest * len(group) <= 300
            assert sum(longest - lengths[i] for i in group) <= 50
    assert split_rows([500], 300, 50) == [[0]]
    assert split_rows([4, 4, 4], 8, 50) == [[0, 1], [2]]
