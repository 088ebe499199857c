import torch

from understudy.rl.scores import final_scores


def test_missing_eos_gets_the_fixed_score():
    raw, finished = torch.tensor([3.0, 4.0]), torch.tensor([True, False])
    assert final_scores(raw, finished, -1.0).tolist() == [3.0, -1.0]
    assert final_scores(raw, finished, None).tolist() == [3.0, 4.0]
