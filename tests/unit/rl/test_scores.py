import torch

from understudy.rl.scores import combined, final_scores


def test_missing_eos_gets_the_fixed_score():
    raw, finished = torch.tensor([3.0, 4.0]), torch.tensor([True, False])
    assert final_scores(raw, finished, -1.0).tolist() == [3.0, -1.0]
    assert final_scores(raw, finished, None).tolist() == [3.0, 4.0]


def test_several_reward_models_by_hand():
    scores = torch.tensor([[1.0, 4.0], [3.0, 0.0]])
    assert combined(scores).tolist() == [2.0, 2.0]
    assert combined(scores, "min").tolist() == [1.0, 0.0]
    # Variances 1 and 4.
    assert combined(scores, "uncertainty", 0.5).tolist() == [1.5, 0.0]
