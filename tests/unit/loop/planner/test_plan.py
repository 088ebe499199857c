"""The command: what it prints, what it refuses, and its advice planned again."""

import json
from dataclasses import replace

import pytest
from tests.fixtures_models import save_model_folder

from understudy.cli import main
from understudy.loop.planner.config import PlanConfig
from understudy.loop.planner.job import job_of
from understudy.loop.planner.memory import peak_of, phases_of
from understudy.loop.planner.plan import make_plan
from understudy.models.policies import SCALAR_HEAD


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """A model of 0.3 MB with 8 layers."""
    where = tmp_path_factory.mktemp("plan")
    return str(save_model_folder(where / "model", num_hidden_layers=8, max_position_embeddings=512))


SHORT = ("--max-prompt-tokens", "64", "--max-response-tokens", "64")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "13b"], "13b is neither a model folder nor a size (1.3b, 6b, 175b)"),
        (["--model", "1.3b", "--memory", "0"], "memory is 0.0; it must be above 0"),
        (["--model", "1.3b", "--cards", "0"], "cards is 0; it must be above 0"),
        (["--model", "1.3b", "--usable", "1.5"], "usable is 1.5; it must be in (0, 1]"),
        (["--model", "1.3b", "--cost", "-1"], "cost is -1.0; it must not be negative"),
        (
            ["--model", "1.3b", "--cards", "8", "--", "--replicas", "3"],
            "8 cards do not divide into 3 replicas; choose a number of cards that is a multiple",
        ),
        (["--model", "1.3b", "--", "--bf61"], "understudy sft has no option --bf61"),
        (
            ["--model", "1.3b", "--reward-model", "6b"],
            "reward_model is for ppo, rloo, grpo, raft; sft has none",
        ),
        (["--model", "1.3b", "--cards", "2", "--", "--lora-rank", "8"], "lora_rank is 8, but"),
        (["--model", "1.3b", "--device", "cpu", "--cards", "2"], "device cpu plans one process"),
    ],
)
def test_what_cannot_be_planned_is_one_line(words, message, capsys):
    memory = [] if "--memory" in words else ["--memory", "80"]
    assert main(["plan", *memory, *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"understudy: error: {message}")
    assert said.count("\n") == 1


def test_a_folder_without_a_model_is_refused(tmp_path, capsys):
    assert main(["plan", "--memory", "80", "--model", str(tmp_path)]) == 2
    assert "is not a model folder: it has no config.json" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{}")
    assert main(["plan", "--memory", "80", "--model", str(tmp_path)]) == 2
    assert "is not a language model to plan for" in capsys.readouterr().err


def test_a_reward_model_as_the_policy_is_refused(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / SCALAR_HEAD).touch()
    assert main(["plan", "--memory", "80", "--model", str(tmp_path)]) == 2
    assert f"{tmp_path} is a reward model; give a language model" in capsys.readouterr().err


@pytest.mark.thorough
def test_a_plan_of_ppo_says_what_a_card_holds(folder, tmp_path, capsys):
    out = tmp_path / "plan.json"
    words = ["--model", folder, "--stage", "ppo", "--cards", "2", "--memory", "1", "--dry-run"]
    assert main(["plan", *words, "--cost", "2", "--json", str(out), "--", *SHORT]) == 0
    said, found = capsys.readouterr().out, json.loads(out.read_text())
    assert "It fits." in said
    assert f"understudy launch --cards 2 -- ppo --model {folder}" in said
    update = found["bytes"]["update"]
    parameters = found["parameters"]["policy"]
    # Half of the rows of each tensor, rounded up; the whole policy once more for rollouts.
    assert update["policy"] == update["reference"] == update["moving average"]
    assert 2 * parameters <= update["policy"] < 2 * parameters + 1000
    assert found["bytes"]["rollout"]["rollout copy"] == 4 * parameters
    assert "rollout copy" not in update, "its memory is free again"
    assert found["bytes"]["load"]["policy"] == update["policy"]
    assert found["dry_run"][folder] == [update["policy"], update["policy"]]
    assert found["price"] == pytest.approx(2 * 2 * found["hours"])
    assert found["peak"]["bytes"] == max(sum(held.values()) for held in found["bytes"].values())


@pytest.mark.parametrize(("lora", "frozen"), [((), {"reference"}), (("--lora-rank", "2"), set())])
def test_a_method_without_a_critic_holds_three_networks(folder, lora, frozen):
    config = PlanConfig(model=folder, stage="raft", memory=1, command=(*SHORT, *lora))
    phases = phases_of(job_of(config), lambda network, one: 0)
    assert {*phases["load"]} == {"policy", "reward model", *frozen}
    moments = {"policy's moments", "policy's gradients", "pass"}
    assert {*phases["update"]} == {*phases["load"], *moments}


def test_adapters_leave_little_to_train(folder):
    plain, adapted = (
        make_plan(PlanConfig(model=folder, memory=1, command=(*SHORT, *lora))).phases["update"]
        for lora in ((), ("--lora-rank", "2"))
    )
    assert adapted["gradients"] < plain["gradients"] / 5
    assert adapted["policy"] > plain["policy"]
    assert adapted["pass"] > 0


@pytest.mark.thorough
def test_a_plan_of_a_method_on_groups_ends_with_its_command(folder, capsys):
    words = ["--model", folder, "--stage", "grpo", "--memory", "1"]
    assert main(["plan", *words, "--cards", "2", "--", *SHORT]) == 0
    said = capsys.readouterr().out
    assert "critic" not in said
    assert f"understudy launch --cards 2 -- grpo --model {folder}" in said


@pytest.mark.thorough
def test_a_size_that_the_recipe_has_no_section_for_takes_the_trainers_defaults(capsys):
    words = ["--model", "1.3b", "--stage", "kto", "--memory", "80", "--cards", "8"]
    assert main(["plan", *words]) == 0
    assert "understudy launch --cards 8 -- kto --model FOLDER ..." in capsys.readouterr().out


@pytest.mark.parametrize(
    "stage",
    [
        "sft",
        *(
            pytest.param(s, marks=pytest.mark.thorough)
            for s in ("rl_init", "reward", "ppo", "rloo", "dpo")
        ),
    ],
)
def test_the_advice_fits_when_it_is_planned(folder, stage):
    config = PlanConfig(model=folder, stage=stage, memory=1, usable=1.0, command=SHORT)
    need = sum(make_plan(config).phases["update"].values()) / 1e9
    tight = make_plan(PlanConfig(**_fields(config) | {"memory": 0.75 * need}))
    assert not tight.fits
    assert tight.remedy is not None
    options, _, peak = tight.remedy
    assert peak <= tight.limit
    changed = _with_options(tight.config, options)
    assert (
        sum(max(make_plan(changed).phases.values(), key=lambda held: sum(held.values())).values())
        == peak
    )


def _fields(config: PlanConfig) -> dict:
    return {name: getattr(config, name) for name in PlanConfig.__slots__}


def _with_options(config: PlanConfig, options: list[str]) -> PlanConfig:
    """The config with the options that the advice prints."""
    fields = _fields(config)
    for option in options:
        if option.startswith("-- "):
            fields["command"] = (*fields["command"], *option.split()[1:])
        else:
            words = option.split()
            fields |= {w[2:]: int(v) for w, v in zip(words[::2], words[1::2], strict=True)}
    return PlanConfig(**fields)


SHARED = ("--activation-checkpointing", "--rollout-ranks", "8", "--rollout-slots", "32")


@pytest.mark.thorough
def test_ppo_of_the_papers_sizes_fits_when_cards_share_the_rollout_copy():
    large = PlanConfig(model="175b", stage="ppo", cards=8, nodes=16, memory=141, command=SHARED)
    for config in (large, replace(large, model="6b", nodes=1, memory=80)):
        limit = config.usable * config.memory * 1e9
        assert peak_of(phases_of(job_of(config)))[1] <= limit
        # Without its passes, a run of whole copies exceeds it.
        alone = phases_of(job_of(replace(config, command=SHARED[:1])), lambda network, one: 0)
        assert peak_of(alone)[1] > limit


def test_offloading_leaves_on_a_card_what_a_phase_needs(folder):
    config = PlanConfig(model=folder, stage="ppo", memory=1, cards=2, command=SHORT)
    here, away = (
        phases_of(job_of(replace(config, command=(*SHORT, *more))), lambda network, one: 0)
        for more in ((), ("--cpu-offload",))
    )
    assert here["load"] == away["load"]
    gone = {"critic", "reference", "reward model", "moving average"}
    gone |= {"policy's moments", "critic's moments"}
    assert {*here["rollout"]} - {*away["rollout"]} == gone
    assert {*here["score"]} - {*away["score"]} == {name for name in gone if "mo" in name} - {
        "reward model"
    }
    assert {*here["update"]} - {*away["update"]} == {"reference", "reward model"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(), "rollout_ranks is 3, which does not divide the 8 cards"),
        (dict(cards=3), "rollout_ranks is 3, which does not divide the 4 attention heads of"),
    ],
)
def test_ranks_that_cannot_share_a_copy_are_refused(folder, changes, message):
    config = PlanConfig(model=folder, stage="ppo", memory=1, cards=8)
    with pytest.raises(ValueError, match=message):
        job_of(replace(config, command=("--rollout-ranks", "3"), **changes))


def test_layers_that_cards_split_are_planned_as_they_are_sharded(folder):
    config = PlanConfig(model=folder, stage="sft", memory=1, cards=4, dry_run=True)
    found = make_plan(replace(config, command=(*SHORT, "--tensor-parallel", "2")))
    assert all(planned == dry for planned, dry in found.dry.values())
    assert "2 shards (FSDP2) x 2 parts of each layer" in found.table()
    whole = make_plan(replace(config, command=SHORT))
    assert found.phases["update"]["pass"] < whole.phases["update"]["pass"]
    assert found.traffic.bytes < whole.traffic.bytes


def test_gpt2_is_split_for_rollouts_only():
    config = PlanConfig(model="1.3b", stage="ppo", memory=80, cards=8)
    message = "tensor_parallel is 2, but layers of gpt2 cannot be split among ranks, only those of"
    with pytest.raises(ValueError, match=message):
        job_of(replace(config, command=("--tensor-parallel", "2")))
    assert job_of(replace(config, command=("--rollout-ranks", "2"))).settings.ranks_of_a_copy == 2


@pytest.mark.thorough
def test_a_vllm_server_takes_the_copy_and_the_cache_off_the_cards(capsys):
    words = ["plan", "--model", "1.3b", "--memory", "80", "--cards", "8", "--stage", "rloo"]
    assert main([*words, "--", "--vllm", "http://127.0.0.1:8000"]) == 0
    said = capsys.readouterr().out
    assert "rollout copy" not in said
    assert "key-value cache" not in said
    assert "\nlog-probs " in said
    assert "\nrollouts " not in said
    assert "the vLLM server's rollouts, and handing weights over, are not counted" in said
