import os
import signal

import pytest

from understudy.training.stop import command_to_resume, stop_on_signal


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_asks_once_and_handlers_are_restored(name):
    before = signal.getsignal(name)
    with stop_on_signal() as stop:
        assert not stop.requested
        os.kill(os.getpid(), name)
        assert stop.requested
        assert signal.getsignal(name) is signal.SIG_DFL  # a second one ends the process
    assert signal.getsignal(name) is before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["/x/bin/understudy", "sft", "--out", "my run"], "understudy sft --out 'my run' --resume"),
        (["/x/understudy/cli.py", "ppo", "--resume"], "understudy ppo --resume"),
        (["/bin/understudy", "sft", "--overwrite"], "understudy sft --resume"),
        (["train.py"], "the same settings with resume=True"),
    ],
)
def test_the_command_that_goes_on(monkeypatch, words, expected):
    monkeypatch.setattr("sys.argv", words)
    assert command_to_resume() == expected
