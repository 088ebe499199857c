"""Runs a plan: stale stages only, up to `workers` at the same time, each in its own process.

A failure prints one line with its log's path; running stages finish and no new ones start. Ctrl-C
or SIGTERM sends SIGTERM to the children, so that trainers save; the next call continues from there.
A second Ctrl-C does not wait.
"""

import contextlib
import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from understudy.loop.plan import (
    Artifact,
    Check,
    Plan,
    Stage,
    Stamp,
    check_stage,
    fitting,
    priorities,
    read_stamp,
    seconds_left,
)
from understudy.loop.stage_call import read_progress

_TICK_SECONDS = 0.25


class PlanFailed(RuntimeError):
    """A stage failed; the message is one line for the user."""


class PlanInterrupted(RuntimeError):
    """Ended by a signal; finished and saved work is kept."""

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.signum = signum


@dataclass(slots=True)
class StageState:
    """The state of one stage, for the display."""

    stage: Stage
    state: str = "waiting"
    """waiting, fresh (already finished), running, done or failed."""
    reason: str = ""
    """Why it runs, or what went wrong."""
    started: float = 0.0
    seconds: float = 0.0
    fraction: float = 0.0
    """Progress from 0 to 1, while it runs."""
    note: str = ""


class Display(Protocol):
    """Shows a plan's progress; see `display.py`."""

    def update(self, states: Sequence[StageState], seconds_left: float) -> None:
        """Called a few times a second."""

    def changed(self, state: StageState) -> None:
        """Called when a stage starts, ends or is found fresh."""


def default_workers() -> int:
    """How many stages run at a time: the cores available to this process, at most 2."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(2, cores))


def run_plan(
    plan: Plan,
    root: Path,
    *,
    workers: int = 0,
    display: Display | None = None,
    preload: Sequence[str] = (),
) -> list[StageState]:
    """Bring every stage of `plan` up to date in folder `root`.

    `workers`: stages at a time, 0 for `default_workers()`. `preload`: modules that the stages
    import, loaded once. Raises `PlanFailed` or `PlanInterrupted`.
    """
    root.mkdir(parents=True, exist_ok=True)
    with _only_runner(root):
        runner = _Runner(plan, root.resolve(), workers or default_workers(), display, preload)
        with _signals_to(runner.request_stop):
            return runner.run()


@contextlib.contextmanager
def _only_runner(root: Path) -> Iterator[None]:
    with (root / ".running").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{root} is in use by another process; wait until it ends, or choose another --out"
            ) from None
        yield


@contextlib.contextmanager
def _signals_to(handler: Any) -> Iterator[None]:
    try:
        before = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # only the main thread can handle signals
        yield
        return
    try:
        yield
    finally:
        for signum, old in before.items():
            signal.signal(signum, old)


@dataclass(slots=True)
class _Runner:
    plan: Plan
    root: Path
    workers: int
    display: Display | None
    preload: Sequence[str]
    states: dict[str, StageState] = field(default_factory=dict)
    finished: dict[str, Stamp] = field(default_factory=dict)
    expected: dict[str, float] = field(default_factory=dict)
    checks: dict[str, Check] = field(default_factory=dict)
    server: "_Server | None" = None
    stop_signal: int = 0
    kill_now: bool = False

    def run(self) -> list[StageState]:
        for stage in self.plan.stages:
            stamp = read_stamp(self.root / stage.name)
            self.states[stage.name] = StageState(stage)
            self.expected[stage.name] = stamp.seconds if stamp else stage.seconds
        priority = priorities(self.plan, self.expected)
        try:
            while self._start_what_is_ready(priority) or self._running():
                self._handle_events()
                self._show(priority)
        finally:
            if self.server is not None:
                self.server.close()
        self._show(priority)
        self._raise_if_unfinished()
        return list(self.states.values())

    def request_stop(self, signum: int, _frame: object) -> None:
        """Signal handler: records the signal, on which the loop acts."""
        self.kill_now = bool(self.stop_signal)
        self.stop_signal = signum

    # Starting

    def _start_what_is_ready(self, priority: Mapping[str, float]) -> bool:
        """Start stages while there is room; returns whether any was started or found fresh."""
        if self._failed() or self.stop_signal:
            return False
        ready = []
        for stage in sorted(self.plan.stages, key=lambda s: -priority[s.name]):
            state = self.states[stage.name]
            if state.state != "waiting" or stage.needs() - self.finished.keys():
                continue
            if stage.name not in self.checks:
                self.checks[stage.name] = check_stage(stage, self.root, self.finished)
            check = self.checks[stage.name]
            if check.fresh:
                self._finish(state, "fresh")
                return True
            ready.append(stage)
        running = [state.stage for state in self._running()]
        starting = fitting(ready, running, self.workers)
        for stage in starting:
            self._start(self.states[stage.name], self.checks[stage.name])
        return bool(starting)

    def _start(self, state: StageState, check: Check) -> None:
        if self.server is None:
            self.server = _Server(self.preload)
        stage = state.stage
        self.server.send(start=self._job(stage, check))
        state.state, state.reason, state.started = "running", check.reason, time.monotonic()
        self._changed(state)

    def _job(self, stage: Stage, check: Check) -> dict[str, Any]:
        inputs = {
            name: [
                str(self.root / i.stage / i.output) if isinstance(i, Artifact) else str(i.resolve())
                for i in paths
            ]
            for name, paths in stage.input_lists().items()
        }
        return {
            "stage": stage.name,
            "function": stage.function,
            "config": stage.config,
            "inputs": inputs,
            "input_hashes": check.inputs,
            "outputs": list(stage.outputs),
            "key": check.key,
            "code": check.code,
            "threads": stage.threads,
            "root": str(self.root),
            "log": str(self._log(stage)),
        }

    # While they run

    def _handle_events(self) -> None:
        if self.server is None:
            return
        if self.stop_signal:
            signum = signal.SIGKILL if self.kill_now else signal.SIGTERM
            for state in self._running():
                self.server.send_signal(state.stage.name, signum)
        for event in self.server.events(_TICK_SECONDS):
            if "ended" in event:
                self._end(self.states[event["ended"]], event["status"], event["error"])
        if self.server.dead and self._running():
            for state in self._running():
                self._fail(state, "the worker process died (out of memory?)")

    def _end(self, state: StageState, status: int, error: str) -> None:
        state.seconds = time.monotonic() - state.started
        if status == 0:
            self._finish(state, "done")
        elif self.stop_signal:
            state.state, state.note = "waiting", "interrupted"
            self._changed(state)
        elif error:
            self._fail(state, error)
        elif status < 0:
            hint = " (out of memory?)" if -status == signal.SIGKILL else ""
            self._fail(state, f"ended by {signal.Signals(-status).name}{hint}")
        else:
            self._fail(state, f"ended with exit code {status}")

    def _finish(self, state: StageState, how: str) -> None:
        stamp = read_stamp(self.root / state.stage.name)
        if stamp is None:
            return self._fail(state, "it wrote no stamp")
        self.finished[state.stage.name] = stamp
        state.state, state.fraction, state.seconds = how, 1.0, stamp.seconds
        self._changed(state)

    def _fail(self, state: StageState, reason: str) -> None:
        state.state, state.reason = "failed", reason
        self._changed(state)

    def _running(self) -> list[StageState]:
        return [s for s in self.states.values() if s.state == "running"]

    def _failed(self) -> list[StageState]:
        return [s for s in self.states.values() if s.state == "failed"]

    def _log(self, stage: Stage) -> Path:
        return self.root / "logs" / f"{stage.name}.log"

    # Showing

    def _changed(self, state: StageState) -> None:
        if self.display is not None:
            self.display.changed(state)

    def _show(self, priority: Mapping[str, float]) -> None:
        if self.display is None:
            return
        left: dict[str, float] = {}
        for name, state in self.states.items():
            if state.state == "running":
                state.fraction, state.note = read_progress(self.root / name)
                left[name] = _seconds_left(state, self.expected[name])
            elif state.state == "waiting":
                left[name] = self.expected[name]
        running = [s.stage.name for s in self._running()]
        seconds = seconds_left(
            self.plan, left=left, running=running, priority=priority, workers=self.workers
        )
        self.display.update(list(self.states.values()), seconds)

    def _raise_if_unfinished(self) -> None:
        failed = self._failed()
        if failed:
            raise PlanFailed(
                "; ".join(
                    f"stage {s.stage.name} failed: {s.reason} (log: {_short(self._log(s.stage))})"
                    for s in failed
                )
            )
        if self.stop_signal:
            name = signal.Signals(self.stop_signal).name
            done = len(self.finished)
            raise PlanInterrupted(
                self.stop_signal,
                f"interrupted by {name}; {done} of {len(self.states)} stages are finished, "
                "and the same command continues from there",
            )


def _short(path: Path) -> Path:
    with contextlib.suppress(ValueError):
        return path.relative_to(Path.cwd())
    return path


def _seconds_left(state: StageState, expected: float) -> float:
    """Estimated from the expected duration at first, and increasingly from the stage's own pace."""
    elapsed = time.monotonic() - state.started
    by_guess = max(expected - elapsed, 0.1 * expected)
    if state.fraction < 0.02:
        return by_guess
    by_pace = elapsed * (1 - state.fraction) / state.fraction
    return state.fraction * by_pace + (1 - state.fraction) * by_guess


class _Server:
    """The worker process, seen from the runner."""

    def __init__(self, preload: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "understudy.loop.worker", *preload],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
            process_group=0,  # Ctrl-C on the terminal must reach only the runner
        )
        self.requests: IO[bytes] = _not_none(self.process.stdin)
        self.replies: IO[bytes] = _not_none(self.process.stdout)
        os.set_blocking(self.replies.fileno(), False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.replies, selectors.EVENT_READ)
        self.pending = b""
        self.dead = False
        self.signalled: set[tuple[str, int]] = set()

    def send(self, **request: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # the server died; `events` will set `dead`
            self.requests.write(json.dumps(request).encode() + b"\n")
            self.requests.flush()

    def send_signal(self, stage: str, signum: int) -> None:
        """Forward a signal to a stage, once."""
        if (stage, signum) not in self.signalled:
            self.signalled.add((stage, signum))
            self.send(signal=[stage, signum])

    def events(self, timeout: float) -> list[dict[str, Any]]:
        """The events that have arrived, after waiting up to `timeout` seconds for the first."""
        if self.dead or not self.selector.select(timeout):
            return []
        data = self.replies.read()
        if not data:
            self.dead = True
            return []
        *lines, self.pending = (self.pending + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """End the server; running children are told to save and exit."""
        with contextlib.suppress(BrokenPipeError):
            self.requests.close()
        self.process.wait()
        self.replies.close()
        self.selector.close()


def _not_none(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _environment() -> dict[str, str]:
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {
        **os.environ,
        **dict.fromkeys(threads, "1"),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
