"""Operations, time and traffic, against the paper's figures and hand calculations."""

from dataclasses import replace

import pytest

from understudy.loop.planner.config import PlanConfig
from understudy.loop.planner.job import job_of
from understudy.loop.planner.work import PETAFLOP_DAY, traffic_of, work_of

CONFIG = PlanConfig(model="175b", memory=80, cards=8, nodes=16)


def petaflop_days(config: PlanConfig) -> tuple[float, float]:
    parts = work_of(job_of(config), config)
    counted, rule = (sum(getattr(part, name) for part in parts) for name in ("flops", "rule"))
    return counted / PETAFLOP_DAY, rule / PETAFLOP_DAY


def test_sft_of_175b_costs_the_papers_petaflop_days():
    counted, rule = petaflop_days(CONFIG)
    assert rule == pytest.approx(4.9, rel=0.05)
    # 16 epochs of 12,725 demonstrations in rows of 2,048 tokens, 6 operations per parameter.
    tokens = 16 * 12_725 * 2048
    assert rule == pytest.approx(6 * 174_604_259_328 * tokens / PETAFLOP_DAY, rel=1e-9)
    assert rule < counted < 1.1 * rule


def test_ppo_ptx_of_175b_costs_the_papers_petaflop_days():
    _, rule = petaflop_days(replace(CONFIG, stage="ppo"))
    assert rule == pytest.approx(60, rel=0.15)


def test_groups_learn_from_the_responses_that_they_keep():
    """RAFT samples 8 to a prompt and learns 4 times from the best; RLOO once from all."""
    for stage, share in (("raft", 4 / 8), ("rloo", 1)):
        config = replace(CONFIG, stage=stage)
        parts = {part.name: part for part in work_of(job_of(config), config)}
        assert [*parts] == ["rollouts", "reference", "reward model", "policy"]
        assert parts["policy"].tokens == share * parts["rollouts"].tokens


def test_kto_reads_each_response_after_another_prompt_too():
    config = replace(CONFIG, stage="kto", examples=100, command=("--epochs", "3"))
    job = job_of(config)
    reference, point, trained = work_of(job, config)
    assert reference.tokens == 400 * job.row
    assert point.tokens == trained.tokens == 300 * job.row


def test_ppo_without_text_costs_a_fraction():
    plain = replace(CONFIG, stage="ppo", command=("--ptx-coef", "0"))
    assert petaflop_days(plain)[1] < 15


def test_hours_are_operations_over_the_rate():
    config = PlanConfig(model="1.3b", memory=80, mfu=0.5, peak_tflops=1000)
    (part,) = work_of(job_of(config), config)
    assert part.seconds == pytest.approx(part.flops / 0.5e15)
    more = replace(config, command=("--activation-checkpointing",))
    (again,) = work_of(job_of(more), more)
    assert again.seconds == pytest.approx(part.seconds * 4 / 3)


def test_the_least_micro_batch_hides_the_traffic():
    config = PlanConfig(model="6b", memory=80, cards=8, mfu=0.4, peak_tflops=1000)
    job = job_of(config)
    found = traffic_of(job, config)
    whole, rest = job.policy.parameters, job.policy.parameters - job.policy.in_blocks
    sent = 4 * (3 * job.policy.in_blocks + 2 * rest) * 7 / 8
    assert found.bytes == pytest.approx(sent, abs=1)
    assert found.tokens == pytest.approx(sent / 400e9 * 0.4e15 / (6 * whole), abs=1)
    across = replace(config, nodes=2)
    assert traffic_of(job_of(across), across).tokens > 7 * found.tokens
    copies = replace(across, command=("--replicas", "2"))
    assert found.tokens < traffic_of(job_of(copies), copies).tokens


def test_passes_below_the_least_wait_for_the_traffic():
    config = PlanConfig(model="6b", memory=80, cards=8, node_gbs=50, nodes=8)
    job = job_of(config)
    slow = traffic_of(job, config).tokens / job.settings.micro_batch_tokens
    assert slow > 1
    (part,) = work_of(job, config)
    alone = replace(config, nodes=1, cards=1)
    (base,) = work_of(job_of(alone), alone)
    assert part.seconds == pytest.approx(base.seconds * slow, rel=1e-3)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "stage", ["sft", "rl_init", "reward", "ppo", "rloo", "grpo", "raft", "dpo", "kto"]
)
@pytest.mark.parametrize("size", ["1.3b", "6b", "175b"])
def test_every_stage_of_every_size_has_work(size, stage):
    config = PlanConfig(model=size, stage=stage, memory=80, cards=8)
    parts = work_of(job_of(config), config)
    assert all(part.flops > 0 and part.seconds > 0 for part in parts)
