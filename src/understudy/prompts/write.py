"""`understudy prompts write`: what labelers wrote becomes prompts and demonstrations (A.2).

`records/written.py` has the three kinds and how a few-shot prompt is expanded.
"""

from dataclasses import dataclass
from pathlib import Path

from understudy.records import Demonstration, Prompt, iter_records, write_records
from understudy.records.written import Layout, Written, expand


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteConfig:
    """Turn what labelers wrote into prompts and demonstrations (A.2)."""

    data: tuple[str, ...]
    """Files of written prompts, .jsonl or .parquet (kind, labeler_id and what the kind needs)."""
    project: Path | None = None
    """The folder of a project, whose store takes the prompts and the demonstrations. The labelers
    must be in it (understudy labels add --labelers)."""
    out: Path | None = None
    """Instead of a project: file of the prompts, .jsonl or .parquet."""
    demonstrations: Path | None = None
    """Beside `out`: file of the demonstrations, .jsonl or .parquet."""
    layout: Layout = "text"
    """A few-shot prompt as one text, or as turns of a conversation with the instruction as the
    system's."""

    def __post_init__(self) -> None:
        if (self.project is None) == (self.out is None) or (
            self.project is not None and self.demonstrations is not None
        ):
            raise ValueError(
                "prompts write needs --project, or --out (and best --demonstrations) instead of it"
            )


def write_prompts(config: WriteConfig) -> str:
    """Expand, and add to the store or write to files; says how many."""
    pieces = [
        piece
        for source in config.data
        for written in iter_records(source, Written)
        for piece in expand(written, config.layout)
    ]
    prompts = [prompt for prompt, _ in pieces]
    demonstrations = [given for _, given in pieces if given is not None]
    if config.project is not None:
        return _into_store(config.project, prompts, demonstrations)
    assert config.out is not None
    write_records(config.out, prompts)
    lines = [f"{config.out}: {len(prompts):,} prompts"]
    if config.demonstrations is not None:
        write_records(config.demonstrations, demonstrations)
        lines.append(f"{config.demonstrations}: {len(demonstrations):,} demonstrations")
    return "\n".join(lines)


def _into_store(folder: Path, prompts: list[Prompt], demonstrations: list[Demonstration]) -> str:
    from understudy.store import open_project

    store = open_project(folder).open_store()
    known = {labeler.id for labeler in store.labelers()}
    for given in demonstrations:  # before anything is added
        if given.labeler_id not in known:
            raise ValueError(
                f"labeler {given.labeler_id!r} is not in the store; add the labeler, with the "
                "role, first (understudy labels add --labelers FILE)"
            )
    added = store.add_prompts(prompts)
    labeled = store.add_labels(demonstrations)
    return (
        f"prompts: {added.new:,} new, {added.known:,} known\n"
        f"demonstrations: {labeled.new:,} new, {labeled.known:,} known"
    )
