"""`understudy prompts write`: turns what labelers wrote into prompts and demonstrations (A.2).

`records/written.py` defines the three kinds and the expansion of a few-shot prompt.
"""

from dataclasses import dataclass
from pathlib import Path

from understudy.records import Demonstration, Prompt, iter_records, write_records
from understudy.records.convert import many
from understudy.records.written import Layout, Written, expand


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteConfig:
    """Turn what labelers wrote into prompts and demonstrations (A.2)."""

    data: tuple[str, ...]
    """Files of written prompts, .jsonl or .parquet (kind, labeler_id and what the kind needs)."""
    project: Path | None = None
    """The folder of a project, to whose store the prompts and demonstrations are added. The
    labelers must be in it (understudy labels add --labelers)."""
    out: Path | None = None
    """Instead of a project: file for the prompts, .jsonl or .parquet."""
    demonstrations: Path | None = None
    """With `out`: file for the demonstrations, .jsonl or .parquet."""
    layout: Layout = "text"
    """A few-shot prompt as one text, or as a conversation with the instruction as the system
    turn."""

    def __post_init__(self) -> None:
        if (self.project is None) == (self.out is None) or (
            self.project is not None and self.demonstrations is not None
        ):
            raise ValueError(
                "prompts write needs --project, or --out (and preferably --demonstrations) instead"
            )


def write_prompts(config: WriteConfig) -> str:
    """Expand, and add to the store or write to files; reports how many."""
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
    lines = [f"{config.out}: {many(len(prompts), 'prompt')}"]
    if config.demonstrations is not None:
        write_records(config.demonstrations, demonstrations)
        lines.append(f"{config.demonstrations}: {many(len(demonstrations), 'demonstration')}")
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
