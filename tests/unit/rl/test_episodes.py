import torch

from understudy.engines.generation import Generation
from understudy.rl.episodes import Episodes

PROMPTS = [[5, 6], [7], [8, 9, 10]]


def episodes() -> Episodes:
    generations = [
        Generation(ids=ids, logprobs=[-float(i) for i in ids], finished=ids[-1] == 0)
        for ids in ([11, 0], [12, 13, 0], [14])
    ]
    return Episodes.sampled(PROMPTS, generations, pad_id=1, device=torch.device("cpu"))


def test_sampled_by_hand():
    found = episodes()
    assert found.mask_BR.tolist() == [[True, True, False], [True] * 3, [True, False, False]]
    assert found.old_logprobs_BR.tolist() == [[-11, 0, 0], [-12, -13, 0], [-14, 0, 0]]
    assert found.finished_B.tolist() == [True, True, False]
    assert found.lengths() == [4, 4, 4]
    assert found.num_tokens([0, 2]) == 3


def test_values_go_back_to_their_episodes():
    found = episodes()
    # Rows in another order than in the grid, and in passes of their own.
    for number, batch in enumerate(found.passes([2, 0, 1], budget=8)):
        values = torch.arange(len(batch.labels_N)) + 10.0 * number
        found.put(found.values_BR, batch, values)
        assert found.take(found.values_BR, batch).tolist() == values.tolist()
        assert found.take(found.old_logprobs_BR, batch).tolist() == [-i for i in batch.labels_N]
    assert (found.values_BR[~found.mask_BR] == 0).all()
    assert (found.ref_logprobs_BR == 0).all()
