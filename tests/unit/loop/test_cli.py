"""The command line's own manners: help without torch, options, and errors in one line."""

import dataclasses
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from understudy.cli import extra_with, main, parse
from understudy.loop.commands import COMMANDS
from understudy.loop.examples import EXAMPLES
from understudy.loop.runner import PlanFailed, PlanInterrupted
from understudy.sft.config import SFTConfig


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Settings of a test."""

    data: Path
    """What to read."""
    lr: float = 0.1
    """How fast."""
    names: tuple[str, ...] = ()
    """Several."""
    resume: bool = False
    """Go on."""

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"lr is {self.lr}; it must be above 0")


def settings(*arguments: str) -> Settings:
    return parse(Settings, list(arguments), prog="understudy test")


def test_help_lists_every_command_without_importing_torch():
    code = (
        "import sys; from understudy.cli import main; code = main(['--help']);"
        "heavy = {'torch', 'transformers', 'numpy', 'tyro', 'rich'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(command.name in done.stdout for command in COMMANDS)


def test_mistakes_in_any_command_and_completion_load_no_torch():
    code = (
        "import sys; from understudy.cli import main; main(['completion', 'bash']);"
        "code = main('sft --model m --data none.jsonl --out o'.split());"
        "sys.exit('imported torch' if 'torch' in sys.modules else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr == ("understudy: error: input none.jsonl does not exist; check the path\n")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_complete_help(command, capsys):
    config_class = command.load_config()
    assert callable(command.load_function())
    assert main([*command.name.split(), "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("\u2502", " ").split())
    for field in dataclasses.fields(config_class):
        option = "--" + field.name.replace("_", "-")
        assert option in shown or "Positional" in str(field.type), option
    assert "--config FILE" in shown


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_shows_an_example_that_can_be_read(command, capsys):
    config = command.load_config()
    line = EXAMPLES[command.name]
    parse(config, shlex.split(line), prog=f"understudy {command.name}")
    assert main([*command.name.split(), "--help"]) == 0
    page = capsys.readouterr().out
    assert f"example: understudy {command.name} {line}".strip() in page
    assert page.count("Ouyang et al. 2022") == 1
    assert "{None}" not in page


@pytest.mark.parametrize(
    "words", ["--max-grad-norm none", "--max-grad-norm=None", "--max_grad_norm NONE"]
)
def test_options_that_may_be_none_take_that_word(words):
    given = ["--model", "m", "--data", "d", "--out", "o", *words.split()]
    assert parse(SFTConfig, given, prog="understudy sft").max_grad_norm is None


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_option_that_may_be_none_takes_that_word(command):
    config = command.load_config()
    given = shlex.split(EXAMPLES[command.name])
    for field in dataclasses.fields(config):
        option = "--" + field.name.replace("_", "-")
        if (
            field.default is None
            and "Positional" not in str(field.type)
            and option not in given
            and field.name not in ("model", "upstream")
        ):
            parsed = parse(config, [*given, option, "none"], prog=f"understudy {command.name}")
            assert getattr(parsed, field.name) is None


@pytest.mark.parametrize("where", ["option", "file"])
def test_a_setting_that_is_no_number_is_refused(tmp_path, where):
    file = tmp_path / "settings.toml"
    file.write_text('data = "x"\nlr = nan\n')
    given = ["--data", "x", "--lr", "nan"] if where == "option" else ["--config", str(file)]
    with pytest.raises(ValueError, match=r"lr is (nan|inf); give a finite number"):
        settings(*given)


def test_options_and_a_config_file_together(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('data = "from-file.jsonl"\nlr = 0.5\nnames = ["a"]\nresume = true\n')
    assert settings("--data", "x") == Settings(data=Path("x"))
    assert settings("--config", str(file)) == Settings(
        data=Path("from-file.jsonl"), lr=0.5, names=("a",), resume=True
    )
    mixed = settings("--config", str(file), "--lr", "2", "--names", "b", "c", "--no-resume")
    assert mixed == Settings(data=Path("from-file.jsonl"), lr=2.0, names=("b", "c"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "understudy test needs --data"),
        (["--data", "x", "--rl", "1"], "has no option --rl; the nearest is --lr"),
        (["--data", "x", "--learning-rate", "1"], "no option --learning-rate; the nearest is --lr"),
        (["--data", "x", "--quack", "1"], "no option --quack; see understudy test --help"),
        (["--data", "x", "--lr", "fast"], "--lr: 'fast' is not a number"),
        (["--data"], "Missing value for argument '--data'"),
        (["--data", "x", "stray"], "does not know what to do with 'stray'"),
        (["--data", "x", "--lr", "-1"], "lr is -1.0; it must be above 0"),
        (["--config"], "--config needs the name of a TOML file"),
        (["--config", "/none.toml"], "config file /none.toml does not exist"),
    ],
)
def test_what_is_wrong_is_said(arguments, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is the point
        settings(*arguments)
    assert message in str(error.value)


def test_an_error_is_one_sentence_where_the_terminal_knows_ascii_only():
    command = [sys.executable, "-m", "understudy.cli", "demo", "--seeds", "1.5"]
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "80"}
    done = subprocess.run(command, env=ascii_only, capture_output=True, text=True)
    assert done.stderr == "understudy: error: --seeds: '1.5' is not an integer\n"
    assert done.returncode == 2


def test_an_unknown_key_in_a_config_file_names_the_nearest(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("lrr = 1.0\n")
    with pytest.raises(ValueError, match=r"unknown key 'lrr' .* nearest valid key is 'lr'"):
        settings("--config", str(file))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("evalute", "unknown command 'evalute'; did you mean 'evaluate'?"),
        ("prompts bild", "unknown command 'prompts bild'; did you mean 'build'?"),
        ("demo --seeds 1.5", "--seeds: '1.5' is not an integer"),
        (
            "sft --model m --data d --out o --max-grad-norm x",
            "error: --max-grad-norm: 'x' is not a number or none\n",
        ),
        ("sft --modle x", "understudy sft has no option --modle; the nearest is --model"),
        ("sft", "understudy sft needs --model and --data and --out"),
        ("chat", "chat needs at least one model"),
        ("chat /nowhere/model", "model folder /nowhere/model does not exist"),
        ("report /nowhere", "/nowhere is not a folder; give the folder of a run"),
        ("demo --recipe nonesuch", "there is no recipe nonesuch; give a .toml file or one of"),
        ("demo --quick --recipe demo", "give --quick or --recipe, not both"),
        ("demo --workers -1", "workers is -1"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(line, message, capsys):
    assert main(line.split()) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("understudy: error: ")
    assert errors.count("\n") == 1
    assert message in errors


def test_a_group_without_a_command_lists_its_commands(capsys):
    assert main(["prompts"]) == 0
    shown = capsys.readouterr().out
    assert "prompts build" in shown
    assert "sft" not in shown.split("prompts build")[1]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PlanFailed("stage sft failed: no paper (log: x)"), 1),
        (PlanInterrupted(signal.SIGTERM, "interrupted by SIGTERM"), 75),
        (PlanInterrupted(signal.SIGINT, "interrupted by SIGINT"), 130),
        (KeyboardInterrupt(), 130),
        (SystemExit(75), 75),
        (PermissionError(13, "Permission denied", "/root/x"), 1),
        (ValueError("on two\nlines"), 2),
    ],
)
def test_exit_codes(error, code, monkeypatch, capsys):
    def fail(config) -> None:
        raise error

    monkeypatch.setattr("understudy.loop.report.write_run_report", fail)
    assert main(["report", "somewhere"]) == code
    errors = capsys.readouterr().err
    assert errors.count("\n") == (0 if isinstance(error, SystemExit) else 1)


def test_a_folder_that_cannot_be_made_is_said_in_words(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("a file")
    assert main(["new", str(tmp_path / "notes.txt" / "project")]) == 1
    found = capsys.readouterr().err
    assert found == f"understudy: error: {tmp_path}/notes.txt: exists and is not a folder\n"


def test_our_own_bugs_keep_their_traceback(monkeypatch):
    def fail(config) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr("understudy.loop.report.write_run_report", fail)
    with pytest.raises(TypeError, match="a bug"):
        main(["report", "somewhere"])


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("torch.nn", "train"),
        ("transformers", "train"),
        ("pyarrow", "parquet"),
        ("argon2", "label"),
        ("psycopg", "postgresql"),
        ("numpy", ""),
        ("json", ""),
    ],
)
def test_a_missing_module_names_its_extra(module, extra):
    assert extra_with(module) == extra
