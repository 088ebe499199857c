"""The table of commands: the module that holds each command's config and function."""

import importlib
import typing
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Command:
    """A command: the location of its config and function."""

    name: str
    """One word, or two as in "prompts build"."""
    module: str
    config: str
    """Name of the config dataclass: NAME in `module`, or MODULE:NAME elsewhere."""
    function: str
    """Name of the function in `module` that takes the config."""
    summary: str
    """One line for `understudy --help`."""

    def load_config(self) -> type:
        """The config class. A trainer's loads no PyTorch, so help and errors appear at once."""
        module, _, name = self.config.rpartition(":")
        found: type = getattr(importlib.import_module(module or self.module), name)
        return found

    def load_function(self) -> typing.Callable[[Any], Any]:
        """The function that the command calls with its config."""
        function: typing.Callable[[Any], Any]
        function = getattr(importlib.import_module(self.module), self.function)
        return function


TRAINERS = ("sft", "reward", "ppo", "rloo", "grpo", "raft", "dpo", "kto")
"""Commands that train a model, and so can run on several ranks."""

OTHER_RUNS = {"evaluate": "evaluate", "benchmark": "benchmark", "world pretrain": "pretrain"}
"""Other commands that write a run folder, and the stage that it records."""

COMMANDS: tuple[Command, ...] = (
    Command(
        "demo",
        "understudy.loop.demo",
        "DemoConfig",
        "run_demo",
        "run the whole loop in the tiny world and write a report",
    ),
    Command(
        "figures",
        "understudy.loop.figures",
        "FiguresConfig",
        "run_figures",
        "run the demo for every model size and compare them (long)",
    ),
    Command(
        "real",
        "understudy.loop.real",
        "RealConfig",
        "run_real",
        "run the loop on a real model and people's rankings (long)",
    ),
    Command(
        "new",
        "understudy.commands.new",
        "NewConfig",
        "new_project",
        "make a project: a folder with a store for prompts and labels",
    ),
    Command(
        "users add",
        "understudy.commands.users",
        "AddUserConfig",
        "add_user",
        "add a user, or change the consent of one",
    ),
    Command(
        "users key",
        "understudy.commands.users",
        "KeyConfig",
        "make_key",
        "make an API key for a user; shown once",
    ),
    Command(
        "users revoke",
        "understudy.commands.users",
        "RevokeConfig",
        "revoke",
        "revoke an API key",
    ),
    Command(
        "users list",
        "understudy.commands.users",
        "ListUsersConfig",
        "list_users",
        "list users, consent and keys",
    ),
    Command(
        "users forget",
        "understudy.commands.users",
        "ForgetConfig",
        "forget",
        "delete a user and everything derived from them",
    ),
    Command(
        "serve",
        "understudy.serving.serve",
        "ServeConfig",
        "serve",
        "serve an OpenAI-compatible API and, with consent, record prompts",
    ),
    Command(
        "prompts add",
        "understudy.prompts.add",
        "AddConfig",
        "add_prompts",
        "add prompts to the store, from files or the gateway's log",
    ),
    Command(
        "prompts write",
        "understudy.prompts.write",
        "WriteConfig",
        "write_prompts",
        "turn what labelers wrote into prompts and demonstrations",
    ),
    Command(
        "prompts build",
        "understudy.prompts.build",
        "BuildConfig",
        "build_files",
        "turn users' raw prompts into train, valid and test prompts",
    ),
    Command(
        "prompts show",
        "understudy.prompts.show",
        "ShowConfig",
        "show_prompts",
        "describe a file of prompts",
    ),
    Command(
        "prompts expire",
        "understudy.commands.expire",
        "ExpireConfig",
        "expire_prompts",
        "delete prompts older than the project's retention",
    ),
    Command(
        "data check",
        "understudy.loop.data_check",
        "DataCheckConfig",
        "check_data",
        "check training data: contents, cut responses, and the tokens that are learned",
    ),
    Command(
        "data convert",
        "understudy.loop.data_convert",
        "ConvertConfig",
        "convert_data",
        "convert a file of any known shape to records",
    ),
    Command(
        "text pack",
        "understudy.loop.text_pack",
        "PackConfig",
        "pack_text",
        "encode pretraining text once, for sft and ppo to read from the disk",
    ),
    Command(
        "sft",
        "understudy.sft.train",
        "understudy.sft.config:SFTConfig",
        "train_sft",
        "fine-tune a model on demonstrations (step 1)",
    ),
    Command(
        "launch",
        "understudy.loop.launch",
        "LaunchConfig",
        "launch",
        "start a training command on several cards or machines",
    ),
    Command(
        "plan",
        "understudy.loop.planner.config",
        "PlanConfig",
        "plan",
        "say what a training run needs: memory per card, hours, price",
    ),
    Command(
        "sample",
        "understudy.loop.sample",
        "understudy.loop.sample_config:SampleConfig",
        "sample_responses",
        "draw K = 4 to 9 responses per prompt for labelers to rank (step 2)",
    ),
    Command(
        "labels add",
        "understudy.commands.labels",
        "AddLabelsConfig",
        "add_labels",
        "add labelers, responses and labels to the store",
    ),
    Command(
        "labels rubric",
        "understudy.commands.labels",
        "RubricConfig",
        "add_rubric",
        "add a version of the labelers' instructions",
    ),
    Command(
        "labels plan",
        "understudy.labeling.plan",
        "PlanConfig",
        "plan",
        "fill the labelers' queue with prompts and responses",
    ),
    Command(
        "labels agreement",
        "understudy.commands.agreement",
        "AgreementConfig",
        "show_agreement",
        "measure the labelers' agreement, with intervals and counts",
    ),
    Command(
        "labels seen",
        "understudy.commands.seen",
        "SeenConfig",
        "show_seen",
        "show who has read a prompt, or what a labeler has read",
    ),
    Command(
        "labels weights",
        "understudy.commands.agreement",
        "WeightsConfig",
        "write_weights",
        "estimate how far to trust each labeler, for the reward model",
    ),
    Command(
        "labelers invite",
        "understudy.commands.labelers",
        "InviteConfig",
        "invite_labeler",
        "invite a labeler or the owner by a link that works once",
    ),
    Command(
        "labelers list",
        "understudy.commands.labelers",
        "ListConfig",
        "list_labelers",
        "list the accounts of labelers and owners",
    ),
    Command(
        "labelers decide",
        "understudy.commands.labelers",
        "DecideConfig",
        "decide_labeler",
        "approve or reject a labeler",
    ),
    Command(
        "labelers disable",
        "understudy.commands.labelers",
        "DisableConfig",
        "disable_labeler",
        "disable an account",
    ),
    Command(
        "labelers enable",
        "understudy.commands.labelers",
        "EnableConfig",
        "enable_labeler",
        "enable a disabled account",
    ),
    Command(
        "labelers reset",
        "understudy.commands.labelers",
        "ResetConfig",
        "reset_labeler",
        "make a link for choosing a new password",
    ),
    Command(
        "label",
        "understudy.labeling.serve",
        "LabelConfig",
        "label",
        "serve the pages on which labelers demonstrate, rate and rank",
    ),
    Command(
        "export",
        "understudy.commands.export",
        "ExportConfig",
        "export",
        "write a frozen, hashed dataset from the store",
    ),
    Command(
        "lineage",
        "understudy.commands.lineage",
        "LineageConfig",
        "show_lineage",
        "show which records a model was trained on",
    ),
    Command(
        "store check",
        "understudy.commands.store",
        "CheckConfig",
        "check_store",
        "verify the store and the datasets' files",
    ),
    Command(
        "store backup",
        "understudy.commands.store",
        "BackupConfig",
        "backup_store",
        "back up the store and the log while they are in use",
    ),
    Command(
        "store upgrade",
        "understudy.commands.store",
        "UpgradeConfig",
        "upgrade_store",
        "upgrade a store to the newest schema",
    ),
    Command(
        "check-deployment",
        "understudy.loop.check_deployment",
        "CheckDeploymentConfig",
        "check_deployment",
        "list what a project still needs before others use it",
    ),
    Command(
        "reward",
        "understudy.reward.run",
        "understudy.reward.config:RewardConfig",
        "train_reward",
        "train a reward model on rankings (step 2)",
    ),
    Command(
        "reward-check",
        "understudy.reward.check",
        "understudy.reward.check_config:RewardCheckConfig",
        "reward_check",
        "measure a reward model on rankings it has not seen",
    ),
    Command(
        "ppo",
        "understudy.loop.judged_training",
        "understudy.ppo.config:PPOConfig",
        "ppo",
        "optimise a model against a reward model, PPO or PPO-ptx (step 3)",
    ),
    Command(
        "rloo",
        "understudy.loop.judged_training",
        "understudy.rloo.config:RLOOConfig",
        "rloo",
        "optimise a model against a reward model, REINFORCE leave-one-out",
    ),
    Command(
        "grpo",
        "understudy.loop.judged_training",
        "understudy.grpo.config:GRPOConfig",
        "grpo",
        "optimise a model against a reward model, group-relative PPO",
    ),
    Command(
        "raft",
        "understudy.loop.judged_training",
        "understudy.raft.config:RAFTConfig",
        "raft",
        "fine-tune a model on the best of its own responses, by a reward model",
    ),
    Command(
        "dpo",
        "understudy.dpo.train",
        "understudy.dpo.config:DPOConfig",
        "train_dpo",
        "optimise a model on rankings directly, without a reward model",
    ),
    Command(
        "kto",
        "understudy.kto.train",
        "understudy.kto.config:KTOConfig",
        "train_kto",
        "optimise a model on single responses, each desirable or not",
    ),
    Command(
        "evaluate",
        "understudy.evaluation.run",
        "understudy.evaluation.config:EvaluateConfig",
        "evaluate",
        "compare models with a baseline on the same prompts",
    ),
    Command(
        "judge",
        "understudy.loop.judge",
        "JudgeConfig",
        "judge",
        "have a language model compare responses, beside people's labels",
    ),
    Command(
        "benchmark",
        "understudy.evaluation.harness.run",
        "understudy.evaluation.harness.config:BenchmarkConfig",
        "benchmark",
        "run the paper's public benchmarks on models, through lm-evaluation-harness",
    ),
    Command(
        "report",
        "understudy.loop.report",
        "ReportConfig",
        "write_run_report",
        "write the report of a comparison, or the page of a training run",
    ),
    Command(
        "board",
        "understudy.loop.board",
        "BoardConfig",
        "board",
        "show all runs in a browser while they train",
    ),
    Command(
        "doctor",
        "understudy.loop.doctor",
        "DoctorConfig",
        "doctor",
        "report what is wrong with a training run or with the installation",
    ),
    Command(
        "chat",
        "understudy.loop.chat",
        "ChatConfig",
        "chat",
        "talk to one or more models side by side",
    ),
    Command(
        "world pretrain",
        "understudy.world.pretrain",
        "understudy.world.pretrain_config:PretrainConfig",
        "pretrain",
        "pretrain a base model on the tiny world's web",
    ),
)
