from understudy.rl.rollout import prompts_of


def test_prompts_come_once_before_any_comes_again():
    seen = [i for iteration in range(5) for i in prompts_of(iteration, 4, 10, seed=3, stage="ppo")]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert prompts_of(2, 4, 10, seed=3, stage="ppo") == seen[8:12]
    assert prompts_of(0, 4, 10, seed=4, stage="ppo") != seen[:4]
    assert prompts_of(0, 4, 10, seed=3, stage="rloo") != seen[:4]
