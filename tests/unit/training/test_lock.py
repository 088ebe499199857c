import os
import signal
import subprocess
import sys

import pytest

from understudy.training.lock import lock_folder, unlock_folder

HOLDER = """
import sys
from pathlib import Path
from understudy.training.lock import lock_folder
lock_folder(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def holder(folder):
    """A process that holds the lock until its input ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"held\n"
    return child


@pytest.mark.parametrize("end", ["closed", "killed"])
def test_a_second_process_is_refused_until_the_first_ends(tmp_path, end):
    with holder(tmp_path) as child:
        for _ in range(2):
            with pytest.raises(ValueError, match="is in use by another process"):
                lock_folder(tmp_path)
        if end == "killed":
            child.send_signal(signal.SIGKILL)
        child.stdin.close()
        child.wait()
    lock_folder(tmp_path)
    unlock_folder(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_process_may_take_its_own_lock_again(tmp_path):
    lock_folder(tmp_path)
    lock_folder(tmp_path)
    unlock_folder(tmp_path)
    unlock_folder(tmp_path)
    with holder(tmp_path) as child:
        child.stdin.close()


def test_a_folder_made_anew_is_another_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    lock_folder(folder)
    folder.rename(tmp_path / "moved")
    folder.mkdir()
    lock_folder(folder)
    child = os.fork()
    if not child:
        try:
            lock_folder(folder)
        except ValueError:
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    unlock_folder(folder)
