"""Completion, asked of a real shell where it is installed."""

import shutil
import subprocess

import pytest

from understudy.cli import main
from understudy.loop.commands import COMMANDS
from understudy.loop.completion import SHELLS, completion_script

ASK = """
source {script}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
complete -p understudy | grep -o -- '-F [^ ]*' | {{ read -r _ function; declare -F "$function"; }}
_shtab_understudy
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    script = tmp_path_factory.mktemp("completion") / "understudy.bash"
    script.write_text(completion_script("bash", COMMANDS))

    def complete(*words: str) -> list[str]:
        quoted = " ".join(f"'{word}'" for word in words)
        asked = ["bash", "-c", ASK.format(script=script, words=quoted)]
        return subprocess.run(asked, capture_output=True, text=True).stdout.split()

    return complete


def test_commands_complete_in_bash(bash):
    assert {"sft", "sample", "serve", "store"} <= set(bash("understudy", "s"))


def test_the_second_word_of_a_command_completes_in_bash(bash):
    assert {"build", "show"} <= set(bash("understudy", "prompts", ""))


def test_options_complete_in_bash(bash):
    found = bash("understudy", "ppo", "--")
    assert {"--model", "--reward-model", "--resume", "--no-resume", "--config"} <= set(found)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_accepts_its_script(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(completion_script(shell, COMMANDS))
    checked = subprocess.run([shell, "-n", script], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_another_shell_is_refused_in_one_line(capsys):
    assert main(["completion", "csh"]) == 2
    assert "bash, zsh, fish" in capsys.readouterr().err
