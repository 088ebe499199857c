"""Benchmark data from files: a task's rows with the columns of its data set on the hub.

`find_rows(Path("data"), "hellaswag")` reads data/hellaswag.jsonl, or the file its authors publish;
docs/benchmarks.md lists both. A file may also be one folder deeper.
"""

import bz2
import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from understudy.records.files import iter_rows

Row = dict[str, Any]


def find_rows(folder: Path, name: str) -> list[Row] | None:
    """All rows of a data set's file; None if there is no file. ValueError names the row at
    fault."""
    if not folder.is_dir():
        raise ValueError(f"--data-dir {folder} is not a folder; make it and put files there")
    for pattern, read in ((f"{name}.jsonl", _lines), *AUTHORS.get(name, {}).items()):
        found = sorted([*folder.glob(pattern), *folder.glob(f"*/{pattern}")])
        if found:
            try:
                rows = list(read(found[0]))
            except (KeyError, IndexError, TypeError, AttributeError, csv.Error) as error:
                reason = f"no {error}" if isinstance(error, KeyError) else str(error)
                raise ValueError(
                    f"{found[0]} is not the file that {name} needs ({reason}); see "
                    "docs/benchmarks.md"
                ) from None
            except (UnicodeDecodeError, json.JSONDecodeError) as error:
                raise ValueError(f"{found[0]} cannot be read: {error}") from None
            if not rows:
                raise ValueError(f"{found[0]} has no rows")
            return rows
    return None


def names_of(name: str) -> str:
    """The accepted file names of a data set, as text."""
    return " or ".join((f"{name}.jsonl", *AUTHORS.get(name, {})))


def _lines(path: Path) -> Iterator[Row]:
    for place, row in iter_rows(path):
        if not isinstance(row, Mapping):
            raise ValueError(f"{path} {place}: each line must be an object")
        yield dict(row)


def _table(path: Path, delimiter: str = ",") -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        yield from csv.DictReader(stream, delimiter=delimiter, strict=True)


def _hellaswag(path: Path) -> Iterator[Row]:
    """Six lines per item, as llama.cpp reads them: context, index of the right ending, endings."""
    raw = path.read_bytes()
    lines = (bz2.decompress(raw) if path.suffix == ".bz2" else raw).decode().splitlines()
    for start in range(0, len(lines) - len(lines) % 6, 6):
        title, _, context = lines[start].partition(": ")
        if lines[start + 1] not in ("0", "1", "2", "3"):
            raise ValueError(f"{path} line {start + 2}: the index of the right ending is expected")
        yield {
            "activity_label": title,
            **dict(zip(("ctx_a", "ctx_b"), _parts(context), strict=True)),
            "endings": lines[start + 2 : start + 6],
            "label": lines[start + 1],
        }


def _parts(context: str) -> tuple[str, str]:
    """Splits a context into (whole sentences, the beginning that the endings continue), which the
    file joins with a space: "A man sits. he" -> ("A man sits.", "he"). The harness capitalises the
    beginning."""
    found = re.fullmatch(r"(.*[.!?]['\")\]]*) +([^A-Z\s][^.!?]*)", context, flags=re.DOTALL)
    return (found[1], found[2]) if found else (context, "")


def _truthfulqa(path: Path) -> Iterator[Row]:
    for row in _table(path):
        yield {
            "question": row["Question"],
            "best_answer": row["Best Answer"],
            "correct_answers": _split(row["Correct Answers"]),
            "incorrect_answers": _split(row["Incorrect Answers"]),
        }


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _truthfulqa_mc(path: Path) -> Iterator[Row]:
    for row in json.loads(path.read_text(encoding="utf-8-sig")):
        targets = {
            key: {"choices": [*row[key]], "labels": [*row[key].values()]}
            for key in ("mc1_targets", "mc2_targets")
        }
        yield {"question": row["question"], **targets}


def _winogender(path: Path) -> Iterator[Row]:
    for row in _table(path, "\t"):
        if row["sentid"].count(".") != 4:
            raise ValueError(
                f"{path}: {row['sentid']!r} is not occupation.participant.number.gender.txt"
            )
        occupation, participant, _, gender, _ = row["sentid"].split(".")
        yield {
            "sentid": row["sentid"],
            "sentence": row["sentence"],
            "occupation": occupation,
            "participant": participant,
            "gender": gender,
        }


def _crows_pairs(path: Path) -> Iterator[Row]:
    for row in _table(path):
        names = ("sent_more", "sent_less", "stereo_antistereo", "bias_type")
        yield {name: row[name] for name in names}


AUTHORS: dict[str, dict[str, Callable[[Path], Iterator[Row]]]] = {
    "hellaswag": {
        "hellaswag_val.jsonl": _lines,
        "hellaswag_val_full.txt": _hellaswag,
        "hellaswag_val_full.txt.bz2": _hellaswag,
    },
    "truthfulqa": {"TruthfulQA.csv": _truthfulqa},
    "truthfulqa_mc": {"mc_task.json": _truthfulqa_mc},
    "winogender": {"all_sentences.tsv": _winogender},
    "crows_pairs": {"crows_pairs_anonymized.csv": _crows_pairs},
    "real_toxicity_prompts": {"prompts.jsonl": _lines, "rtp_val_5000.jsonl": _lines},
}
"""Data set -> the authors' own file names, and how to read each."""
