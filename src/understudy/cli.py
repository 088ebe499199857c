"""The command line: one command per stage, each described by the config dataclass of its stage.

A command's module is imported when the command runs, so that `understudy --help` needs no torch.
Options come from the dataclass's fields (`loop/options.py`). A user's mistake is one line on stderr
and exit code 2; a failure of the work itself is 1; stopped by a signal with everything saved is 75;
interrupted from the keyboard is 130.
"""

import importlib
import os
import re
import signal
import sys
import traceback
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

from understudy.loop.options import nearest, parse

USER_ERROR, FAILURE, SAVED_AND_STOPPED, INTERRUPTED = 2, 1, 75, 130


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command's config and function are."""

    name: str
    """One word, or two as in "prompts build"."""
    module: str
    config: str
    """Name of the config dataclass in `module`."""
    function: str
    """Name of the function in `module` that takes the config."""
    summary: str
    """One line for `understudy --help`."""

    def load(self) -> tuple[type, typing.Callable[[Any], Any]]:
        """Import the module: (config class, function)."""
        module = importlib.import_module(self.module)
        return getattr(module, self.config), getattr(module, self.function)


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
        "understudy.labeling.new",
        "NewConfig",
        "new_project",
        "make a project: a folder with a store for prompts and labels",
    ),
    Command(
        "users add",
        "understudy.store.people",
        "AddUserConfig",
        "add_user",
        "add a user, or change the consent of one",
    ),
    Command(
        "users key",
        "understudy.store.people",
        "KeyConfig",
        "make_key",
        "make an API key for a user; shown once",
    ),
    Command(
        "users revoke",
        "understudy.store.people",
        "RevokeConfig",
        "revoke",
        "make an API key useless",
    ),
    Command(
        "users list",
        "understudy.store.people",
        "ListUsersConfig",
        "list_users",
        "list users, consent and keys",
    ),
    Command(
        "users forget",
        "understudy.store.forget",
        "ForgetConfig",
        "forget",
        "delete a user and all that hangs on them",
    ),
    Command(
        "serve",
        "understudy.serving.serve",
        "ServeConfig",
        "serve",
        "answer like OpenAI's API and, with consent, record prompts",
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
        "turn raw users' prompts into train, valid and test prompts",
    ),
    Command(
        "prompts show",
        "understudy.prompts.show",
        "ShowConfig",
        "show_prompts",
        "say what is in a file of prompts",
    ),
    Command(
        "prompts expire",
        "understudy.store.retention",
        "ExpireConfig",
        "expire",
        "delete prompts that are older than the project keeps them",
    ),
    Command(
        "data check",
        "understudy.loop.data_check",
        "DataCheckConfig",
        "check_data",
        "say what is in a file of training data, what is cut, and which tokens are learned",
    ),
    Command(
        "data convert",
        "understudy.loop.data_convert",
        "ConvertConfig",
        "convert_data",
        "write a file of any known shape as records",
    ),
    Command(
        "sft",
        "understudy.sft.train",
        "SFTConfig",
        "train_sft",
        "fine-tune a model on demonstrations (step 1)",
    ),
    Command(
        "sample",
        "understudy.loop.sample",
        "SampleConfig",
        "sample_answers",
        "draw K = 4 to 9 answers per prompt for labelers to rank (step 2)",
    ),
    Command(
        "labels add",
        "understudy.store.people",
        "AddLabelsConfig",
        "add_labels",
        "add labelers, responses and labels to the store",
    ),
    Command(
        "labels rubric",
        "understudy.store.people",
        "RubricConfig",
        "add_rubric",
        "add a version of the labelers' instructions",
    ),
    Command(
        "labels plan",
        "understudy.labeling.plan",
        "PlanConfig",
        "plan",
        "fill the labelers' queue with prompts and answers",
    ),
    Command(
        "labels agreement",
        "understudy.labeling.agreement_command",
        "AgreementConfig",
        "show_agreement",
        "say how far labelers agree, with intervals and counts",
    ),
    Command(
        "labels seen",
        "understudy.labeling.seen",
        "SeenConfig",
        "show_seen",
        "say who has read a prompt, or what a labeler has read",
    ),
    Command(
        "labels weights",
        "understudy.labeling.agreement_command",
        "WeightsConfig",
        "write_weights",
        "estimate how far to trust each labeler, for the reward model",
    ),
    Command(
        "labelers invite",
        "understudy.labeling.labelers",
        "InviteConfig",
        "invite_labeler",
        "invite a labeler or the owner by a link that works once",
    ),
    Command(
        "labelers list",
        "understudy.labeling.labelers",
        "ListConfig",
        "list_labelers",
        "list the accounts of labelers and owners",
    ),
    Command(
        "labelers decide",
        "understudy.labeling.labelers",
        "DecideConfig",
        "decide_labeler",
        "let a labeler work, or turn them away",
    ),
    Command(
        "labelers disable",
        "understudy.labeling.labelers",
        "DisableConfig",
        "disable_labeler",
        "let an account sign in no more",
    ),
    Command(
        "labelers enable",
        "understudy.labeling.labelers",
        "EnableConfig",
        "enable_labeler",
        "let a disabled account sign in again",
    ),
    Command(
        "labelers reset",
        "understudy.labeling.labelers",
        "ResetConfig",
        "reset_labeler",
        "make a link with which an account chooses a new password",
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
        "understudy.store.export",
        "ExportConfig",
        "export",
        "write a frozen, hashed dataset from the store",
    ),
    Command(
        "lineage",
        "understudy.store.lineage",
        "LineageConfig",
        "lineage",
        "show what a model was made from",
    ),
    Command(
        "store check",
        "understudy.store.maintenance",
        "CheckConfig",
        "check",
        "verify the store and the datasets' files",
    ),
    Command(
        "store backup",
        "understudy.store.maintenance",
        "BackupConfig",
        "backup",
        "copy the store and the log while they are written to",
    ),
    Command(
        "store upgrade",
        "understudy.store.maintenance",
        "UpgradeConfig",
        "upgrade_store",
        "bring a store to the newest schema",
    ),
    Command(
        "check-deployment",
        "understudy.loop.check_deployment",
        "CheckDeploymentConfig",
        "check_deployment",
        "say what a project that others use still lacks",
    ),
    Command(
        "reward",
        "understudy.reward.run",
        "RewardConfig",
        "train_reward",
        "train a reward model on rankings (step 2)",
    ),
    Command(
        "reward-check",
        "understudy.reward.check",
        "RewardCheckConfig",
        "reward_check",
        "say how far a reward model agrees with rankings that it has not seen",
    ),
    Command(
        "ppo",
        "understudy.ppo.train",
        "PPOConfig",
        "train_ppo",
        "optimise a model against a reward model, PPO or PPO-ptx (step 3)",
    ),
    Command(
        "evaluate",
        "understudy.evaluation.run",
        "EvaluateConfig",
        "evaluate",
        "compare models with a baseline on the same prompts",
    ),
    Command(
        "benchmark",
        "understudy.evaluation.harness.run",
        "BenchmarkConfig",
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
        "say what is wrong with a training run, or with the installation",
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
        "PretrainConfig",
        "pretrain",
        "pretrain a base model on the tiny world's web",
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code; the boundary at which exceptions become lines."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return run(arguments)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else FAILURE
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - stays open until the process ends
        return FAILURE
    except ModuleNotFoundError as error:
        extra = extra_with(error.name or "")
        if not extra:
            raise
        advice = f"pip install 'understudy[{extra}]'"
        return _complain(f"this needs {error.name}, which is not installed: {advice}", USER_ERROR)
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("UNDERSTUDY_TRACEBACK"):
            traceback.print_exc()
        return _complain(str(error), USER_ERROR if isinstance(error, ValueError) else FAILURE)


def run(arguments: list[str]) -> int:
    """Find the command, read its options, call it."""
    if not arguments:
        from understudy.loop.next_step import overview

        print(overview(Path()))
        return 0
    if arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] == "completion":
        from understudy.loop.completion import completion_script

        print(completion_script(" ".join(arguments[1:]), COMMANDS))
        return 0
    if arguments[0] == "--version":
        print(version("understudy"))
        return 0
    command, rest = _find(arguments)
    if command is None:
        print(_overview(arguments[0]))
        return 0
    config_class, function = command.load()
    config = parse(config_class, rest, prog=f"understudy {command.name}")
    code = _call(function, config)
    if code == 0:
        from understudy.loop.next_step import say_next

        say_next(command.name, config)
    return code


def _call(function: typing.Callable[[Any], Any], config: Any) -> int:
    from understudy.loop.runner import PlanFailed, PlanInterrupted

    try:
        result = function(config)
    except PlanFailed as error:
        return _complain(str(error), FAILURE)
    except PlanInterrupted as error:
        by_hand = error.signum == signal.SIGINT
        return _complain(str(error), INTERRUPTED if by_hand else SAVED_AND_STOPPED)
    if result is not None:
        print(result.table() if hasattr(result, "table") else result)
    return 0


def extra_with(module: str) -> str:
    """The first extra of this package that installs a module, by the module's name; "" if none."""
    top = module.partition(".")[0]
    for requirement in requires("understudy") or ():
        found = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", requirement)
        # The module's name begins the distribution's, as in argon2 and argon2-cffi.
        if found and found[2] != "all" and found[1].replace("-", "_").lower().startswith(top):
            return found[2]
    return ""


def _complain(message: str, code: int) -> int:
    from understudy.records.convert import visible

    print("understudy: error: " + visible(" ".join(message.split())), file=sys.stderr)
    return code


def _find(arguments: list[str]) -> tuple[Command | None, list[str]]:
    """The command and what follows it; None for a group ("prompts") that is only to be listed."""
    by_name = {command.name: command for command in COMMANDS}
    first, *rest = arguments
    if first in by_name:
        return by_name[first], rest
    group = [name.split()[1] for name in by_name if name.startswith(f"{first} ")]
    if not group:
        close = nearest(first, [name.split()[0] for name in by_name])
        raise ValueError(f"unknown command '{first}'; did you mean '{close}'? See understudy -h")
    if rest and rest[0] not in ("-h", "--help"):
        if rest[0] not in group:
            close = nearest(rest[0], group)
            raise ValueError(f"unknown command '{first} {rest[0]}'; did you mean '{close}'?")
        return by_name[f"{first} {rest[0]}"], rest[1:]
    return None, []


def _overview(group: str = "") -> str:
    commands = [c for c in COMMANDS if not group or c.name.startswith(f"{group} ")]
    width = max(len(c.name) for c in commands)
    lines = [f"  {c.name:<{width}}  {c.summary}" for c in commands]
    return "\n".join(
        [
            "usage: understudy COMMAND [OPTIONS]",
            "",
            "The whole InstructGPT loop: users' prompts to demonstrations, SFT, rankings, a reward",
            "model, PPO-ptx, and evaluation by people who did not train it.",
            "",
            *lines,
            "",
            "understudy COMMAND --help lists its options: defaults, units, the paper's section.",
            "understudy completion bash|zsh|fish prints a script that completes all of this.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
