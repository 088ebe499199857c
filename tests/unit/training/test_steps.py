import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from understudy.training.checkpoint import latest_checkpoint, list_checkpoints
from understudy.training.opening import open_run
from understudy.training.optim import TooManySkips
from understudy.training.run import read_lines
from understudy.training.steps import Learner, Steps
from understudy.training.stop import EXIT_STOPPED


@dataclass(frozen=True, kw_only=True)
class Config:
    keep_checkpoints: bool = True


def steps_in(folder: Path, total: int = 4, every: int = 2, resume: bool = False) -> Steps:
    run = open_run(folder, stage="sft", config=Config(), inputs={}, seed=0, resume=resume)
    torch.manual_seed(0)
    return Steps(run, Learner.of(torch.nn.Linear(2, 1), lr=0.1), total, every)


def take(steps: Steps, before=lambda step: None) -> None:
    with steps.shown("test"):
        while steps.left:
            before(steps.step)
            model = steps.state.model
            loss = (model(torch.ones(3, 2)) - steps.step).square().mean()
            loss.backward()
            result = steps.state.step(max_grad_norm=1.0, lr=0.1 / (1 + steps.step))
            steps.done({"sft/loss": loss.detach(), "sft/grad_norm": result.grad_norm})


def state_of(steps: Steps) -> list[torch.Tensor]:
    moments = steps.state.optimizer.state.values()
    return [*steps.state.model.parameters(), *(m["exp_avg"] for m in moments)]


def test_it_logs_numbers_and_saves_every_so_many_steps(tmp_path):
    steps = steps_in(tmp_path / "run", total=5)
    take(steps)
    rows = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert all(isinstance(row["sft/loss"], float) for row in rows)
    names = [path.name for path in list_checkpoints(tmp_path / "run")]
    assert names[-1].endswith("5"), names  # the last step is saved, whatever `every` is


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 3])
def test_resumed_it_ends_with_the_same_bits(tmp_path, after):
    straight = steps_in(tmp_path / "straight")
    take(straight)

    def interrupt(step: int) -> None:
        if step == after:
            raise Interrupted

    with pytest.raises(Interrupted):
        take(steps_in(tmp_path / "run"), interrupt)
    resumed = steps_in(tmp_path / "run", resume=True)
    resumed.resume()
    assert resumed.step == after // 2 * 2  # saved at even steps
    take(resumed)
    for one, two in zip(state_of(straight), state_of(resumed), strict=True):
        assert torch.equal(one, two)
    one, two = (tmp_path / name / "metrics.jsonl" for name in ("straight", "run"))
    assert one.read_bytes() == two.read_bytes()


def test_told_to_stop_it_saves_the_step_and_exits_with_75(tmp_path):
    def tell(step: int) -> None:
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        take(steps_in(tmp_path / "run", every=100), tell)
    assert caught.value.code == EXIT_STOPPED
    assert latest_checkpoint(tmp_path / "run").name.endswith("2")


def test_told_to_stop_in_the_last_step_it_ends(tmp_path):
    def tell(step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    steps = steps_in(tmp_path / "run")
    take(steps, tell)
    assert steps.left == 0


def test_a_learner_skips_what_is_not_finite_and_gives_up_in_the_end():
    learner = Learner.of(torch.nn.Linear(2, 1), lr=0.1)
    before = [parameter.clone() for parameter in learner.model.parameters()]
    for skips in range(1, learner.guard.limit):
        (learner.model(torch.ones(1, 2)) * float("nan")).sum().backward()
        assert learner.step(max_grad_norm=None).skipped
        assert learner.counters() == {"skips": skips}
    assert all(map(torch.equal, before, learner.model.parameters()))
    (learner.model(torch.ones(1, 2)) * float("nan")).sum().backward()
    with pytest.raises(TooManySkips):
        learner.step(max_grad_norm=None)
