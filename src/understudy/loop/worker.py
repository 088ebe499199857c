"""The process that runs stages: `python -m understudy.loop.worker`, started by `runner.py`.

It imports the heavy modules once and forks one child per stage, so a stage starts in milliseconds
and still has its own process. Requests and replies are JSON lines:

    in   {"start": JOB}                          {"signal": [STAGE, SIGNUM]}
    out  {"ready": true}  {"started": STAGE}     {"ended": STAGE, "status": CODE, "error": LINE}

When its standard input closes, because the runner ended for any reason, it sends SIGTERM to its
children so that they save, waits for them and exits. Every child computes with its stage's number
of threads, mostly one: on two cores, two single-threaded processes are faster than one with two
threads, and sums do not depend on the machine's number of cores.
"""

import contextlib
import ctypes
import fcntl
import importlib
import json
import os
import selectors
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from understudy.loop.plan import STAMP_FILE, Stamp, hash_path
from understudy.loop.stage_call import StageCall

ATTEMPT_FILE = "attempt.json"
PREEMPTED = 75  # EX_TEMPFAIL: the stage has saved its work and can continue
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until standard input ends."""
    for module in sys.argv[1:]:
        importlib.import_module(module)
    _reply(ready=True)
    _Server().serve()


def _reply(**fields: Any) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


class _Server:
    def __init__(self) -> None:
        self.stage_of: dict[int, str] = {}
        self.errors: dict[str, Path] = {}
        self.wake_read, self.wake_write = os.pipe()
        os.set_blocking(self.wake_write, False)
        os.set_blocking(self.wake_read, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake_write)

    def serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(0, selectors.EVENT_READ)
            selector.register(self.wake_read, selectors.EVENT_READ)
            pending = b""
            while True:
                for key, _ in selector.select():
                    if key.fd == self.wake_read:
                        os.read(self.wake_read, 4096)
                        self._reap()
                        continue
                    data = os.read(0, 65536)
                    if not data:
                        return self._end()
                    *lines, pending = (pending + data).split(b"\n")
                    for line in lines:
                        self._handle(json.loads(line))

    def _handle(self, request: dict[str, Any]) -> None:
        if "start" in request:
            self._start(request["start"])
        else:
            name, signum = request["signal"]
            for pid, stage in self.stage_of.items():
                if stage == name:
                    _send(pid, signum)

    def _start(self, job: dict[str, Any]) -> None:
        log = Path(job["log"])
        log.parent.mkdir(parents=True, exist_ok=True)
        self.errors[job["stage"]] = log.with_suffix(".error")
        self.errors[job["stage"]].unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            os.close(self.wake_read)
            os.close(self.wake_write)
            _child(job)
        self.stage_of[pid] = job["stage"]
        _reply(started=job["stage"])

    def _reap(self) -> None:
        for pid in list(self.stage_of):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                stage = self.stage_of.pop(pid)
                error = self.errors[stage]
                text = error.read_text() if error.exists() else ""
                _reply(ended=stage, status=os.waitstatus_to_exitcode(status), error=text)

    def _end(self) -> None:
        signal.set_wakeup_fd(-1)
        for pid in self.stage_of:
            _send(pid, signal.SIGTERM)
        for pid in self.stage_of:
            os.waitpid(pid, 0)


def _send(pid: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


# In the child


def _child(job: dict[str, Any]) -> NoReturn:
    """Become the stage's process: own log, no interrupts from the terminal, then run and exit."""
    code = 1
    try:
        _detach(job)
        code = _run_and_report(job)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _detach(job: dict[str, Any]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # end with the server, even if it is killed
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _run_and_report(job: dict[str, Any]) -> int:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"--- {job['stage']}, {now}, pid {os.getpid()}", flush=True)
    try:
        run_job(job)
    except Exception as error:  # the boundary of the stage's process
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        kind = "" if isinstance(error, ValueError) and lines[0] else f"{type(error).__name__}: "
        Path(job["log"]).with_suffix(".error").write_text(f"{kind}{lines[0]}")
        return 1
    return 0


def run_job(job: dict[str, Any]) -> None:
    """Call the stage's function, check that it wrote its outputs, and stamp its folder."""
    folder = Path(job["root"]) / job["stage"]
    with _only_one(folder):
        attempt = _prepare(folder, job["key"])
        module, _, name = job["function"].partition(":")
        if job["threads"] > 1:
            import torch

            torch.set_num_threads(job["threads"])
        call = StageCall(
            name=job["stage"],
            inputs={k: tuple(Path(p) for p in paths) for k, paths in job["inputs"].items()},
            config=job["config"],
            out=folder,
            root=Path(job["root"]),
        )
        began = time.time()
        try:
            getattr(importlib.import_module(module), name)(call)
        finally:
            seconds = attempt["seconds"] + time.time() - began
            _write_attempt(folder, {**attempt, "seconds": seconds})
        _stamp(folder, job, started=attempt["started"], seconds=seconds)


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold `folder`'s lock; a stage of an earlier, killed run may still be saving in the folder."""
    locks = folder.parent / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / folder.name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prepare(folder: Path, key: str) -> dict[str, Any]:
    """Keep the files of an interrupted attempt with this key; remove any others."""
    try:
        attempt = json.loads((folder / ATTEMPT_FILE).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        attempt = {}
    if attempt.get("key") != key or (folder / STAMP_FILE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        attempt = {"key": key, "started": time.time(), "seconds": 0.0}
    folder.mkdir(parents=True, exist_ok=True)
    _write_attempt(folder, attempt)
    return attempt


def _write_attempt(folder: Path, attempt: dict[str, Any]) -> None:
    temporary = folder / f".{ATTEMPT_FILE}"
    temporary.write_text(json.dumps(attempt))
    temporary.replace(folder / ATTEMPT_FILE)


def _stamp(folder: Path, job: dict[str, Any], *, started: float, seconds: float) -> None:
    missing = [name for name in job["outputs"] if not (folder / name).exists()]
    if missing:
        raise RuntimeError(f"{job['function']} did not write {', '.join(missing)} in {folder}")
    Stamp(
        key=job["key"],
        outputs={name: hash_path(folder / name) for name in job["outputs"]},
        inputs=job["input_hashes"],
        config=job["config"],
        code=job["code"],
        started=started,
        seconds=round(seconds, 2),
    ).write(folder)


if __name__ == "__main__":
    main()
