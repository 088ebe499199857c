"""Logs a run to trackio, Weights & Biases or MLflow as well: `--track NAME`.

metrics.jsonl stays the record; a tracker is a view. Its own environment variables set where it
writes (`MLFLOW_TRACKING_URI`, `WANDB_MODE`, `TRACKIO_DIR`). track.json in the run folder remembers
the tracker's run and the last step sent. A resumed run repeats some steps, with equal numbers, so
steps up to that one are not sent again.
"""

import importlib
import json
import logging
import math
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

TrackerName = Literal["trackio", "wandb", "mlflow"]
PROJECT = "understudy"
"""Project, or experiment, of all runs."""
FILE = "track.json"

log = logging.getLogger(__name__)


class Backend(Protocol):
    """The interface of the three trackers."""

    id: str
    """Id by which the tracker finds the run again."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send a step's numbers."""

    def finish(self) -> None:
        """End the run."""


class Trackio:
    """trackio, which resumes the newest run of a name, so each run's name gets a random suffix."""

    def __init__(self, name: str, run_id: str | None, settings: Mapping[str, Any]) -> None:
        import trackio

        self.id = run_id or f"{name}-{secrets.token_hex(4)}"
        resume = "must" if run_id else "never"
        self._run = trackio.init(
            project=PROJECT, name=self.id, config=dict(settings), resume=resume
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def finish(self) -> None:
        import trackio

        trackio.finish()  # the run's own method would be called again when the process ends


class Wandb:
    """Weights & Biases."""

    def __init__(self, name: str, run_id: str | None, settings: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(
            project=PROJECT, name=name, id=run_id, config=dict(settings), resume="allow"
        )
        self.id = str(self._run.id)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def finish(self) -> None:
        self._run.finish()


class Mlflow:
    """MLflow, through its client, which keeps no global run."""

    def __init__(self, name: str, run_id: str | None, settings: Mapping[str, Any]) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient()
        if run_id is None:
            experiment = self._client.get_experiment_by_name(PROJECT)
            found = experiment.experiment_id if experiment else None
            parent = found or self._client.create_experiment(PROJECT)
            run_id = self._client.create_run(parent, run_name=name).info.run_id
            params = [Param(key, str(value)) for key, value in settings.items()]
            self._client.log_batch(run_id, params=params)
        self.id = str(run_id)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        at = time.time_ns() // 1_000_000
        values = [Metric(name, value, at, step) for name, value in metrics.items()]
        self._client.log_batch(self.id, metrics=values)

    def finish(self) -> None:
        self._client.set_terminated(self.id)


BACKENDS: dict[str, type[Trackio] | type[Wandb] | type[Mlflow]] = {
    "trackio": Trackio,
    "wandb": Wandb,
    "mlflow": Mlflow,
}


class Tracker:
    """A run's view in a tracker; opened at the first step, so that bad input leaves no run there.

    ValueError when the tracker's package is missing.
    """

    def __init__(self, tracker: TrackerName, folder: Path, settings: Mapping[str, Any]) -> None:
        try:
            importlib.import_module(tracker)
        except ImportError:
            extra = "'understudy[track]'" if tracker == "mlflow" else tracker
            raise ValueError(
                f"track is {tracker}, whose package is missing: pip install {extra}"
            ) from None
        self._tracker, self._folder, self._settings = tracker, folder, settings
        self._backend: Backend | None = None
        self._sent, self._failed = -1, False

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send a step, unless it was sent before; non-finite numbers are left out."""
        if self._failed:
            return
        finite = {k: float(v) for k, v in metrics.items() if v is not None and math.isfinite(v)}
        with self._failure_costs_no_training():
            if self._backend is None:
                self._backend = self._open()
            if step > self._sent:
                self._backend.log(step, finite)
                self._sent = step
                self._remember(self._backend.id)

    def close(self) -> None:
        """End the tracker's run; further calls do nothing."""
        if self._backend is not None:
            with self._failure_costs_no_training():
                self._backend.finish()
            self._backend = None

    @contextmanager
    def _failure_costs_no_training(self) -> Iterator[None]:
        """Warn once of whatever a tracker raises, and stop using it."""
        try:
            yield
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            log.warning(
                "%s does not accept metrics (%s); metrics.jsonl has all of them",
                self._tracker,
                reason,
            )
            self._failed, self._backend = True, None

    def _open(self) -> Backend:
        path = self._folder / FILE
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        run_id = known.get("id") if known.get("tracker") == self._tracker else None
        if run_id is not None:
            self._sent = known["step"]
        name = self._folder.resolve().name
        return BACKENDS[self._tracker](name, run_id, self._settings)

    def _remember(self, run_id: str) -> None:
        row = {"tracker": self._tracker, "id": run_id, "step": self._sent}
        (self._folder / FILE).write_text(json.dumps(row), encoding="utf-8")
