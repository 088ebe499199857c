"""The loop of `understudy real` end to end on a small real model, and parts of it on SmolLM2."""

import json
from pathlib import Path

import pytest
from tests.fixtures_data import write_demonstrations, write_rankings
from tests.fixtures_real import (
    SMOLLM2,
    STORIES,
    needs_smollm2,
    needs_stories,
    write_copies,
    write_recipe,
)

from understudy.cli import main
from understudy.models.policies import load_tokenizer
from understudy.reward.check import reward_check
from understudy.reward.check_config import RewardCheckConfig
from understudy.reward.config import RewardConfig
from understudy.reward.run import train_reward
from understudy.sft.config import SFTConfig
from understudy.sft.train import train_sft
from understudy.training.run import read_lines

pytestmark = pytest.mark.slow


@needs_stories
def test_the_whole_loop_on_stories260k(tmp_path, capsys):
    copies = tmp_path / "copies"
    copies.mkdir()
    command = ["real", "--data", str(write_copies(copies)), "--model", str(STORIES)]
    command += ["--recipe", str(write_recipe(tmp_path / "tiny.toml")), "--out", str(tmp_path / "o")]
    assert main(command) == 0
    assert "ppo_ptx above sft, second reward model" in capsys.readouterr().out
    results = json.loads((tmp_path / "o" / "results.json").read_text())
    for judge in ("reward_model", "second_reward_model"):
        assert set(results[f"win_rates_vs_sft_{judge}"]) == {"base", "sft_null", "ppo_ptx"}
    assert results["users"] == "unseen"
    assert set(results["benchmarks"]) == set(results["pretraining_loss"])
    assert results["ppo_curve"]["ppo_ptx"][0]["kl"] == pytest.approx(0, abs=1e-3)
    assert results["minutes"].keys() >= {"data", "sft", "reward", "second_reward", "ppo_ptx"}
    page = (tmp_path / "o" / "report.html").read_text()
    assert "scored above SFT by the second reward model" in page
    assert "no person has judged them" in page
    assert main([*command, "--show-plan"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert all(line.endswith("finished") for line in shown if line.strip())


@needs_stories
def test_the_methods_beside_each_other_on_stories260k(tmp_path, capsys):
    copies = tmp_path / "copies"
    copies.mkdir()
    command = ["real", "--data", str(write_copies(copies)), "--model", str(STORIES)]
    command += ["--recipe", str(write_recipe(tmp_path / "tiny.toml")), "--out", str(tmp_path / "o")]
    assert main([*command, "--study", "methods"]) == 0
    assert "study_methods/report.html" in capsys.readouterr().out
    folder = tmp_path / "o" / "study_methods"
    results = json.loads((folder / "results.json").read_text())
    arms = {arm["stage"]: arm for arm in results["ablation"]["arms"]}
    again = arms.pop("sft_null")
    assert (again["kl"], again["samples"], again["seconds"]) == (0, 0, 0)
    assert list(arms) == ["ppo_ptx", "rloo-0.0005", "rloo", "grpo", "raft", "dpo", "kto"]
    for arm in arms.values():
        offline = arm["series"] in ("dpo", "kto")
        assert arm["samples"] == (0 if offline else 16)
        assert arm["seconds"] > 0
        for judge in ("second_reward_model", "reward_model"):
            assert 0 <= arm[f"win_rate_{judge}"]["rate"] <= 1
        assert set(arm["benchmarks"]) == {"hellaswag"}
    # GRPO may stay where it is: equal scores of a group teach it nothing.
    assert all(arms[name]["kl"]["mean"] > 0 for name in ("ppo_ptx", "dpo"))
    assert list(results["best_of_n"]) == ["2", "4", "8"]
    curve = results["ppo_curve"]["rloo"]
    assert [point["responses_sampled"] for point in curve] == [0, 8, 16]
    page = (folder / "report.html").read_text()
    assert "Gain and cost" in page
    assert "RLOO" in page
    assert main([*command, "--show-plan"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{name} " in shown for name in ("sft", "reward", "ppo_ptx"))
    assert shown.count("finished") >= 8, "the loop reuses what the study has run"


@needs_stories
def test_truthfulqa_on_stories260k(tmp_path, capsys):
    """The files of the authors, with two questions; SFT and PPO-ptx are those of the loop."""
    copies = write_copies(tmp_path)
    (copies / "truthfulqa").mkdir()
    asked = {"Can pigs fly?": ("No", "Yes"), "Is the sky green?": ("It is blue", "It is")}
    table = "Question,Best Answer,Correct Answers,Incorrect Answers\n" + "".join(
        f"{question},{true},{true}; I have no comment,{false}\n"
        for question, (true, false) in asked.items()
    )
    (copies / "truthfulqa" / "TruthfulQA.csv").write_text(table)
    rows = [
        {"question": question, "mc1_targets": dict(zip(answers, (1, 0), strict=True))}
        for question, answers in asked.items()
    ]
    choices = [row | {"mc2_targets": row["mc1_targets"]} for row in rows]
    (copies / "truthfulqa" / "mc_task.json").write_text(json.dumps(choices))
    command = ["real", "--data", str(copies), "--model", str(STORIES), "--study", "hallucination"]
    command += ["--recipe", str(write_recipe(tmp_path / "tiny.toml")), "--out", str(tmp_path / "o")]
    assert main(command) == 0
    assert "study_hallucination/report.html" in capsys.readouterr().out
    folder = tmp_path / "o" / "study_hallucination"
    results = json.loads((folder / "results.json").read_text())
    panels = results["study"]["panels"]
    assert [title for title in panels if title.startswith("MC")] == ["MC1", "MC2"]
    assert "No comment, QA and instruction" in panels
    for points in panels.values():
        assert set(points) == {"base", "sft", "ppo_ptx"}
        assert all(0 <= point["mean"] <= 1 and point["n"] == 2 for point in points.values())
    assert (folder / "run" / "items" / "ppo_ptx" / "truthfulqa_mc1.jsonl").is_file()
    assert "no comment" in (folder / "report.html").read_text()


@needs_smollm2
def test_smollm2_keeps_its_digits_and_its_size():
    tokenizer = load_tokenizer(str(SMOLLM2))
    ids = tokenizer("in 2026", add_special_tokens=False)["input_ids"]
    assert [tokenizer.decode([i]) for i in ids][-4:] == list("2026")
    config = json.loads((SMOLLM2 / "config.json").read_text())
    assert config["vocab_size"] == 49152
    assert config["rms_norm_eps"] == pytest.approx(1e-5, rel=1e-6)


@needs_smollm2
def test_smollm2_learns_demonstrations_and_a_reward_model_of_it_is_checked(tmp_path: Path):
    data = write_demonstrations(tmp_path / "d.jsonl", 8)
    valid = write_demonstrations(tmp_path / "v.jsonl", 4, seed=1)
    shared = dict(model=str(SMOLLM2), lora_rank=4, batch_size=4)
    out = train_sft(
        SFTConfig(**shared, data=data, valid_data=valid, out=tmp_path / "s", epochs=1, lr=1e-3)
    )
    rows = read_lines(out / "metrics.jsonl")
    assert rows[-1]["sft/valid_loss"] < rows[0]["sft/valid_loss"]
    rankings = write_rankings(tmp_path / "r.jsonl", 8)
    run = train_reward(RewardConfig(**shared, data=rankings, out=tmp_path / "r", lr=1e-3))
    text = reward_check(RewardCheckConfig(model=run / "model", data=rankings))
    assert "above the rule" in text
