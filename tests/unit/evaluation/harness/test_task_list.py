"""Tasks by name, with rows from files: ours and the harness's own."""

import json
import re

import pytest

pytest.importorskip("lm_eval", reason="the extra 'benchmarks' is not installed")

from understudy.evaluation.harness.paper import BY_NAME, PAPER
from understudy.evaluation.harness.task_list import OURS, build, config_of, data_name, expand

ROW = {
    "activity_label": "Cooking", "ctx_a": "A cook stirs.", "ctx_b": "she", "label": "2",
    "endings": ["flies.", "sings.", "adds salt.", "sleeps."],
}  # fmt: skip


def _put(folder, name, *rows):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_every_task_of_the_paper_is_a_file_of_ours_or_the_harnesss():
    assert expand(["paper"]) == [task.name for task in PAPER]
    ours = {path.stem for path in OURS.glob("*.yaml")}
    assert ours == {name for name in BY_NAME if name.startswith("paper_")}
    for name, task in BY_NAME.items():
        config = config_of(name)
        assert config["task"] == name
        listed = {metric["metric"] for metric in config["metric_list"]}
        assert task.metric in {*listed, "acc_token", "toxicity"}


def test_a_task_of_ours_reads_the_papers_format(tmp_path):
    _put(tmp_path, "hellaswag.jsonl", ROW, ROW | {"label": "0"})
    task = build("paper_hellaswag", tmp_path, 0)
    doc = task.eval_docs[1]
    assert task.fewshot_context(doc, 0) == (
        "Complete each independent paragraph using common-sense reasoning.\n\n"
        "Cooking: A cook stirs. She"
    )
    assert task.doc_to_target(doc) == 0
    assert task.doc_to_choice(doc)[2] == "adds salt."


def test_few_shot_examples_come_from_the_training_rows(tmp_path):
    _put(tmp_path, "hellaswag.jsonl", ROW)
    with pytest.raises(ValueError, match=re.escape("hellaswag.train.jsonl")):
        build("paper_hellaswag", tmp_path, 2)
    examples = [ROW | {"activity_label": name} for name in ("Rowing", "Baking", "Diving")]
    _put(tmp_path, "hellaswag.train.jsonl", *examples)
    task = build("paper_hellaswag", tmp_path, 2)
    text = task.fewshot_context(task.eval_docs[0], 2)
    assert text.count("adds salt.") == 2
    assert text.endswith("Cooking: A cook stirs. She")


def test_the_harnesss_own_task_reads_the_same_file(tmp_path):
    _put(tmp_path, "hellaswag.jsonl", ROW)
    task = build("hellaswag", tmp_path, 0)
    assert task.fewshot_context(task.eval_docs[0], 0) == "Cooking: A cook stirs. She"
    assert data_name("truthfulqa_mc2") == "truthfulqa_mc"
    assert data_name("paper_toxicity_biased") == "real_toxicity_prompts"


def test_a_row_without_its_columns_is_one_line(tmp_path):
    _put(tmp_path, "hellaswag.jsonl", {"ctx": "x"})
    with pytest.raises(ValueError, match=r"task paper_hellaswag cannot be loaded: .*ctx_a"):
        build("paper_hellaswag", tmp_path, 0)
