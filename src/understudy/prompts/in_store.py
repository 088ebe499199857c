"""Intake on a project's store: `understudy prompts build --project DIR`."""

import json
import os
from dataclasses import replace
from pathlib import Path

from understudy.prompts.build import IntakeConfig, build_prompts
from understudy.prompts.report import IntakeReport
from understudy.store import open_project


def build_in_store(folder: Path, config: IntakeConfig) -> IntakeReport:
    """Build all prompts of the store and mark each: split and use case, or the step that dropped
    it.

    Run it again after adding prompts: no user changes split. The split key is the project's. The
    report is also kept in PROJECT/intake.report.json.
    """
    project = open_project(folder)
    if config.split_key not in (IntakeConfig().split_key, project.split_key):
        raise ValueError("the split key is in project.toml; leave --split-key out")
    store = project.open_store()
    dropped: list[tuple[str, str]] = []
    kept, report = build_prompts(
        store.prompts(),
        replace(config, split_key=project.split_key),
        on_drop=lambda step, prompt: dropped.append((prompt.id, step)),
    )
    store.set_intake(kept, dropped)
    text = json.dumps(report.to_json(), indent=2) + "\n"
    project.intake_report.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with open(os.open(project.intake_report, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    return report
