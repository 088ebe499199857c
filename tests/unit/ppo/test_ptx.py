import numpy as np
import pytest
import torch
from tests.fixtures_ppo import random_policy

from understudy.models.text import TextRows
from understudy.ppo.ptx import StepText, add_ptx_gradient, text_of_step


def test_rows_come_once_before_any_comes_again():
    text = TextRows(np.arange(30), 3)
    seen = [i for step in range(5) for i in text_of_step(text, step, 4, seed=1).numbers]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    assert text_of_step(text, 3, 4, seed=1).numbers == seen[12:16]
    assert text_of_step(text, 0, 4, seed=2).numbers != seen[:4]


@pytest.mark.parametrize("budget", [1, 16, 1000])
def test_gradient_is_coef_times_that_of_the_mean_whatever_the_split(budget):
    policy = random_policy()
    ids = torch.randint(2, 16, (5, 8), generator=torch.Generator().manual_seed(0))
    logits = policy(input_ids=ids).logits[:, :-1]
    mean = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    mean.backward()
    expected = {name: 3 * p.grad for name, p in policy.named_parameters()}
    policy.zero_grad()
    rows = StepText(TextRows(ids.flatten().numpy(), 8), range(5))
    loss = add_ptx_gradient(policy, rows, coef=3.0, micro_batch_tokens=budget)
    assert float(loss) == pytest.approx(mean.item(), abs=1e-5)
    for name, parameter in policy.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], atol=1e-5)
