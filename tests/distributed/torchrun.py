"""Scripts and commands on several processes of this machine, over gloo, with a hard timeout.

Processes are started by PyTorch's torchrun, as a user would; what they find out they write as JSON,
one file for each rank. On a timeout the whole group of processes is killed.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """A job that has ended."""

    code: int
    stdout: str
    stderr: str


class Job:
    """A job in a process group of its own."""

    def __init__(self, words: list[str], seconds: float, **variables: str) -> None:
        paths = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        environment |= {"GLOO_SOCKET_IFNAME": "lo", "TORCH_CPP_LOG_LEVEL": "ERROR"} | variables
        self.seconds = seconds
        self.process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def wait(self) -> Ended:
        """Its exit code and what it said; AssertionError when it takes too long."""
        try:
            stdout, stderr = self.process.communicate(timeout=self.seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGTERM)  # torchrun ends its processes with itself
            try:
                stdout, stderr = self.process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                stdout, stderr = self.process.communicate()
            raise AssertionError(f"not done in {self.seconds} s:\n{stdout}\n{stderr}") from None
        return Ended(self.process.returncode, stdout, stderr)


def torchrun(world: int, *words: Any) -> list[str]:
    """The words that start a script, or a module after "-m", on `world` processes."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    # Killed for good half a second after the polite signal: nothing here needs longer to end.
    return [*start, f"--nproc-per-node={world}", "--shutdown-timeout=5", *map(str, words)]


def run_script(
    script: str, folder: Path, *words: Any, world: int = 2, seconds: float = 1800
) -> list[Any]:
    """What each rank of a script in this folder found out, in `folder`, which it is given with
    `words`."""
    path = Path(__file__).with_name(script)
    ended = Job(torchrun(world, path, folder, *words), seconds).wait()
    assert ended.code == 0, ended.stderr
    return findings(folder, world)


def findings(folder: Path, world: int = 2) -> list[Any]:
    """What each rank has written down."""
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(world)]
