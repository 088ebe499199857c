"""The stages of step 3: PPO and PPO-ptx."""

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.evaluation.model_judge import WORTH
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.training import optional, run_fields
from understudy.ppo.config import PPOConfig
from understudy.ppo.train import train_ppo
from understudy.records import Prompt, Ranking, Response, read_records
from understudy.rl.stopping import Said
from understudy.world.labelers import SimulatedLabeler
from understudy.world.world import World


def ppo(call: StageCall) -> None:
    """A policy optimised against the reward model, in run/model; with text, PPO-ptx."""
    config = PPOConfig(
        model=str(call.path("model")),
        reward_model=call.path("reward_model"),
        prompts=call.path("prompts"),
        reward_ensemble=call.paths("ensemble"),
        judge=optional(call, "judge"),
        pretrain_data=optional(call, "text"),
        eval_prompts=call.path("eval_prompts") if call.config.get("eval_every") else None,
        **run_fields(call),
    )
    call.follow("run/metrics.jsonl", config.num_iterations, "ppo/score")
    train_ppo(config, _people(call) if call.paths("judges") else None)
    (config.out / "samples.jsonl").touch()  # empty if nothing was measured during training


@dataclass(frozen=True, slots=True)
class People:
    """Simulated labelers as judge of a run: one of them compares the responses to a prompt."""

    team: Sequence[SimulatedLabeler]

    def outcomes(
        self, prompts: Sequence[Prompt], now: Sequence[Said], first: Sequence[Said]
    ) -> list[float]:
        """See `rl.stopping.Judge`."""
        found = []
        for number, (prompt, new, old) in enumerate(zip(prompts, now, first, strict=True)):
            labeler = self.team[number % len(self.team)]
            shown = labeler.compare(prompt, _response(prompt, new), _response(prompt, old))
            found.append(WORTH[shown.preferred])
        return found


def _people(call: StageCall) -> People:
    """The labelers whose rankings `judges` has."""
    names = {ranking.labeler_id for ranking in read_records(call.path("judges"), Ranking)}
    team = World(call.config["seed"]).labelers("training")
    return People([labeler for labeler in team if labeler.info.id in names])


def _response(prompt: Prompt, said: Said) -> Response:
    return Response(
        id="", prompt_id=prompt.id, prompt=prompt.prompt, response=said.text, model="",
        finished=said.finished,
    )  # fmt: skip
