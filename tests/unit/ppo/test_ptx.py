import pytest
import torch
from tests.fixtures_ppo import random_policy, word_tokenizer

from understudy.ppo.ptx import add_ptx_gradient, read_rows, rows_of_step


def test_rows_come_once_before_any_comes_again():
    ids = torch.arange(10).unsqueeze(1).expand(10, 3)
    seen = torch.cat([rows_of_step(ids, step, 4, seed=1)[:, 0] for step in range(5)]).tolist()
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    assert rows_of_step(ids, 3, 4, seed=1)[:, 0].tolist() == seen[12:16]
    assert rows_of_step(ids, 0, 4, seed=2)[:, 0].tolist() != seen[:4]


@pytest.mark.parametrize("budget", [1, 16, 1000])
def test_gradient_is_coef_times_that_of_the_mean_whatever_the_split(budget):
    policy = random_policy()
    ids = torch.randint(2, 16, (5, 8), generator=torch.Generator().manual_seed(0))
    logits = policy(input_ids=ids).logits[:, :-1]
    mean = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    mean.backward()
    expected = {name: 3 * p.grad for name, p in policy.named_parameters()}
    policy.zero_grad()
    loss = add_ptx_gradient(policy, ids, coef=3.0, micro_batch_tokens=budget)
    assert float(loss) == pytest.approx(mean.item(), abs=1e-5)
    for name, parameter in policy.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], atol=1e-5)


def test_rows_are_packed_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("w4 w5 w6\n\nw7 w8")
    rows = read_rows(path, word_tokenizer(), random_policy(), length=3)
    assert rows.tolist() == [[4, 5, 6], [0, 7, 8]]
    path.write_text("w4")
    assert read_rows(path, word_tokenizer(), random_policy(), length=9).tolist() == [[4, 0]]
