"""Runs one task on one model, and makes the table of all; needs lm-evaluation-harness."""

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import datasets
import lm_eval
from lm_eval.api.task import Task
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.evaluation.harness import task_list
from understudy.evaluation.harness.adapter import HarnessModel
from understudy.evaluation.harness.paper import BY_NAME, COLUMNS, GREEDY, RULES, PaperTask
from understudy.evaluation.harness.scores import Row, difference, estimate, metrics_of, rows_of
from understudy.evaluation.harness.toxicity import Scorer, scorer_of
from understudy.models.policies import Policy

if TYPE_CHECKING:
    from understudy.evaluation.harness.config import BenchmarkConfig


class Pairs:
    """The tasks of a run, with their rows read; ValueError for tasks that cannot be read."""

    def __init__(self, config: "BenchmarkConfig") -> None:
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        datasets.disable_progress_bars()
        datasets.logging.set_verbosity_error()
        self.config = config
        self.tasks = task_list.expand(config.tasks)
        self.scorer: Scorer | None = None
        if any(_is_toxicity(name) for name in self.tasks):
            self.scorer = scorer_of(config.toxicity)
        self.built: dict[str, Task] = {}
        missing: dict[str, ValueError] = {}
        for name in self.tasks:
            try:
                self.built[name] = task_list.build(name, config.data_dir, self.shots(name))
            except ValueError as error:
                missing[name] = error
        if missing:
            first = next(iter(missing.values()))
            more = f" (nor can {', '.join(list(missing)[1:])})" if len(missing) > 1 else ""
            raise ValueError(f"task {next(iter(missing))} cannot be read{more}: {first}")

    def shots(self, name: str) -> int:
        """Few-shot examples of a task in this run."""
        known = BY_NAME.get(name)
        return known.shots if known is not None and self.config.few_shot else 0

    def run(
        self, name: str, model: Policy, tokenizer: Tokenizer
    ) -> tuple[list[Row], dict[str, Any]]:
        """Run one task on one model: (a row per item, notes on the pair)."""
        task = self.built[name]
        lm = HarnessModel(
            model,
            tokenizer,
            batch_tokens=self.config.batch_tokens,
            seed=self.config.seed,
            title=name,
        )
        with contextlib.redirect_stderr(io.StringIO()):  # the harness's progress bars
            found = lm_eval.evaluate(
                lm=lm,
                task_dict={"tasks": {name: task}},
                samples={name: self.items(task)},
                bootstrap_iters=0,
                log_samples=True,
                apply_chat_template=self.config.chat,
                fewshot_as_multiturn=self.config.chat,
            )
        assert found is not None
        one_right = (
            task.OUTPUT_TYPE == "multiple_choice" and task.get_config("process_results") is None
        )
        rows = rows_of(found["samples"][name], lm.num_tokens, one_right=one_right)
        rows = [row for row in rows if row["filter"] == rows[0]["filter"]]
        if _is_toxicity(name):
            assert self.scorer is not None
            toxic = self.scorer([row["text"] for row in rows])
            for row, score in zip(rows, toxic, strict=True):
                row["values"]["toxicity"] = score
        whole = {k: v for k, v in found["results"][name].items() if isinstance(v, int | float)}
        notes = {"num_fewshot": task.get_config("num_fewshot"), "num_cut": lm.num_cut}
        return rows, {**notes, "harness": whole}

    def items(self, task: Task) -> list[int]:
        """Indices of the rows to run: all, or `limit` of them evenly spaced."""
        number = len(task.eval_docs)
        limit = number if self.config.limit is None else min(self.config.limit, number)
        return list(range(0, number, number // limit))[:limit]

    def table(
        self, found: Mapping[str, Mapping[str, Sequence[Row]]], baseline: str
    ) -> dict[str, Any]:
        """The key "benchmark" of results.json."""
        return {
            "baseline": baseline,
            "few_shot": self.config.few_shot,
            "limit": self.config.limit,
            "toxicity": self.config.toxicity if self.scorer is not None else None,
            "tasks": [
                self._line(name, {model: rows[name] for model, rows in found.items()}, baseline)
                for name in self.tasks
            ],
        }

    def _line(self, name: str, rows: Mapping[str, Sequence[Row]], baseline: str) -> dict[str, Any]:
        known = BY_NAME.get(name) or self._of_harness(name, rows[baseline])
        paper = known.few_shot if self.config.few_shot else known.zero_shot
        models = {}
        for model, found in rows.items():
            names = metrics_of(found)
            more = {n: estimate(found, n).to_json("mean") for n in names}
            models[model] = {**more[known.metric], "metrics": more}
            if model != baseline:
                gap = difference(found, rows[baseline], known.metric)
                models[model]["difference"] = gap.to_json("mean")
        return {
            "name": name,
            "title": known.title,
            "metric": known.metric,
            "rule": known.rule,
            "rules": {n: RULES[n] for n in metrics_of(rows[baseline]) if n in RULES},
            "shots": self.built[name].get_config("num_fewshot"),
            "scale": known.scale,
            "skill": known.skill,
            "lower_is_better": known.lower_is_better,
            "paper": None if paper is None else dict(zip(COLUMNS, paper, strict=True)),
            "models": models,
        }

    def _of_harness(self, name: str, rows: Sequence[Row]) -> PaperTask:
        """A line for the harness's own task, with its normalised accuracy if it has one, else the
        first metric that it lists."""
        task, names = self.built[name], metrics_of(rows)
        listed = list(task.higher_is_better())
        first = ("acc_norm", *listed, *names)
        metric = next((m for m in first if m in names), None)
        if metric is None:
            raise ValueError(f"task {name} has no metric per item, so it has no interval here")
        lower = task.higher_is_better().get(metric) is False
        choice = task.OUTPUT_TYPE == "multiple_choice"
        rule = RULES.get(metric, "the harness's") if choice else GREEDY
        title = f"{name.replace('_', ' ')}, {metric}"
        return PaperTask(
            name=name, title=title, metric=metric, rule=rule, lower_is_better=lower, skill=not lower
        )


def _is_toxicity(name: str) -> bool:
    known = BY_NAME.get(name)
    return known is not None and known.metric == "toxicity"
