"""Intake: turns users' prompts into a clean, capped, deduplicated prompt set, split by user. Free
of torch."""

from understudy.prompts.build import BuildConfig, IntakeConfig, build_files, build_prompts
from understudy.prompts.pii import Finding, find_pii, redact
from understudy.prompts.report import IntakeReport
from understudy.prompts.split import split_of
from understudy.prompts.use_case import PAPER_SHARES, use_case_of

__all__ = [
    "PAPER_SHARES",
    "BuildConfig",
    "Finding",
    "IntakeConfig",
    "IntakeReport",
    "build_files",
    "build_prompts",
    "find_pii",
    "redact",
    "split_of",
    "use_case_of",
]
