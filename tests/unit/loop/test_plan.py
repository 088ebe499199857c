"""What is stale, in which order stages start, and how long the rest takes."""

from pathlib import Path

import pytest

from understudy.loop.plan import (
    Plan,
    Stage,
    Stamp,
    check_plan,
    check_stage,
    fitting,
    hash_code,
    hash_json,
    hash_path,
    priorities,
    read_stamp,
    seconds_left,
)


def stage(name: str, *reads: Stage, **fields) -> Stage:
    """A stage with one output "out.txt" that reads that of others."""
    fields.setdefault("function", "understudy.loop.plan:hash_json")
    inputs = {r.name: r.output("out.txt") for r in reads}
    return Stage(name=name, meaning=name, inputs=inputs, outputs=("out.txt",), **fields)


def finish(root: Path, a_stage: Stage, text: str, finished: dict[str, Stamp]) -> None:
    """Do by hand what the worker does when a stage is done."""
    folder = root / a_stage.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "out.txt").write_text(text)
    check = check_stage(a_stage, root, finished)
    assert check.key is not None
    finished[a_stage.name] = Stamp(
        key=check.key,
        outputs={"out.txt": hash_path(folder / "out.txt")},
        inputs=check.inputs,
        config=a_stage.config,
        code=check.code,
        started=0.0,
        seconds=1.0,
    )
    finished[a_stage.name].write(folder)


def reasons(plan: Plan, root: Path) -> dict[str, str]:
    return {check.stage: check.reason for check in check_plan(plan, root)}


@pytest.fixture
def chain(tmp_path):
    """Three stages in a row, all finished."""
    first = stage("first", config={"lr": 1.0})
    second = stage("second", first)
    plan = Plan((first, second, stage("third", second)))
    finished: dict[str, Stamp] = {}
    for s in plan.stages:
        finish(tmp_path, s, f"by {s.name}", finished)
    return plan, tmp_path


def test_everything_finished_is_fresh(chain):
    plan, root = chain
    assert reasons(plan, root) == {"first": "", "second": "", "third": ""}


def test_a_changed_setting_is_named_and_what_follows_waits(chain):
    plan, root = chain
    changed = Plan((stage("first", config={"lr": 2.0}), *plan.stages[1:]))
    assert reasons(changed, root) == {
        "first": "settings changed: lr 1.0 -> 2.0",
        "second": "waits for first",
        "third": "waits for second",
    }


def test_of_many_nested_changes_a_few_are_named(tmp_path):
    before = stage("s", config={"ppo": {"lr": 1, "beta": 2, "clip": 3}, "seed": 0})
    finish(tmp_path, before, "text", {})
    after = stage("s", config={"ppo": {"lr": 5, "beta": 6, "clip": 7}, "seed": 1})
    assert reasons(Plan((after,)), tmp_path) == {
        "s": "settings changed: ppo.beta 2 -> 6, ppo.clip 3 -> 7, ppo.lr 1 -> 5 and 1 more"
    }


def test_a_stage_that_writes_the_same_again_makes_nothing_stale(chain):
    plan, root = chain
    changed = Plan((stage("first", config={"lr": 2.0}), *plan.stages[1:]))
    finish(root, changed["first"], "by first", {})
    assert reasons(changed, root) == {"first": "", "second": "", "third": ""}


def test_another_output_makes_its_readers_stale(chain):
    plan, root = chain
    finish(root, plan["first"], "something else", {})
    assert reasons(plan, root) == {
        "first": "",
        "second": "inputs changed: first",
        "third": "waits for second",
    }


def test_an_output_that_was_edited_or_removed_is_noticed(chain):
    plan, root = chain
    (root / "second" / "out.txt").write_text("edited")
    (root / "third" / "out.txt").unlink()
    assert reasons(plan, root)["second"] == "its output out.txt was changed"
    (root / "second" / "out.txt").write_text("by second")
    assert reasons(plan, root)["third"] == "its output out.txt is gone"


def test_half_a_stamp_is_no_stamp(chain):
    plan, root = chain
    (root / "second" / "stage.json").write_text('{"key": "ab')
    assert read_stamp(root / "second") is None
    assert reasons(plan, root)["second"] == "not done yet"


def test_an_outside_file_is_an_input_by_content(tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text("one")
    reader = Stage(
        name="reader",
        meaning="",
        function="understudy.loop.plan:hash_json",
        inputs={"data": data},
        outputs=("out.txt",),
    )
    finish(tmp_path, reader, "text", {})
    assert reasons(Plan((reader,)), tmp_path) == {"reader": ""}
    data.write_text("two")
    assert reasons(Plan((reader,)), tmp_path) == {"reader": "inputs changed: data"}
    data.unlink()
    with pytest.raises(
        ValueError, match=r"stage 'reader' needs .*data.jsonl, which does not exist"
    ):
        check_plan(Plan((reader,)), tmp_path)


def test_code_counts_through_imports_but_remarks_do_not(tmp_path, monkeypatch):
    package = tmp_path / "planted_package"
    package.mkdir()
    files = {
        "__init__.py": "",
        "top.py": "def f(call):\n    from planted_package import used\n    used.g()\n",
        "used.py": "from .deeper import h\n\ndef g():\n    return h()\n",
        "deeper.py": "def h():\n    return 1\n",
        "other.py": "x = 1\n",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    before = hash_code("planted_package.top:f")
    (package / "other.py").write_text("x = 2\n")
    (package / "deeper.py").write_text('def h():\n    """Says one."""\n    return 1  # really\n')
    assert hash_code("planted_package.top:f") == before
    (package / "deeper.py").write_text("def h():\n    return 2\n")
    assert hash_code("planted_package.top:f") != before


def test_a_folder_is_hashed_by_names_and_contents(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_text("1")
    before = hash_path(tmp_path / "model")
    (tmp_path / "model" / "a").rename(tmp_path / "model" / "b")
    assert hash_path(tmp_path / "model") != before
    (tmp_path / "model" / "b").rename(tmp_path / "model" / "a")
    assert hash_path(tmp_path / "model") == before


def test_hash_json_does_not_depend_on_the_order_of_keys():
    assert hash_json({"a": 1, "b": (2, 3)}) == hash_json({"b": [2, 3], "a": 1})


def test_plans_that_make_no_sense_are_refused():
    first, second = stage("first"), stage("second", stage("first"))
    with pytest.raises(ValueError, match="two stages are called 'first'"):
        Plan((first, first))
    with pytest.raises(ValueError, match="no earlier stage writes"):
        Plan((second, first))


def test_what_has_the_longest_way_to_go_comes_first():
    a, b = stage("a"), stage("b")
    long = stage("long", a)
    plan = Plan((a, b, long, stage("end", long, b)))
    seconds = {"a": 1.0, "b": 5.0, "long": 10.0, "end": 2.0}
    assert priorities(plan, seconds) == {"a": 13.0, "b": 7.0, "long": 12.0, "end": 2.0}


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (1, 18.0),
        (2, 13.0),  # b fits beside a and long
    ],
)
def test_the_time_left_is_that_of_the_schedule(workers, expected):
    a, b = stage("a"), stage("b")
    long = stage("long", a)
    plan = Plan((a, b, long, stage("end", long, b)))
    left = {"a": 1.0, "b": 5.0, "long": 10.0, "end": 2.0}
    priority = priorities(plan, left)
    assert seconds_left(plan, left=left, running=[], priority=priority, workers=workers) == expected
    del left["a"], left["b"]
    left["long"] = 4.0
    assert (
        seconds_left(plan, left=left, running=["long"], priority=priority, workers=workers) == 6.0
    )


@pytest.mark.parametrize(
    ("running", "workers", "started"),
    [
        ("", 2, "wide"),
        ("", 3, "wide one"),
        ("", 1, "wide"),
        ("one", 2, ""),  # no later stage either, or `wide` would wait for ever
        ("one", 4, "wide one"),
    ],
)
def test_a_stage_of_two_threads_waits_for_two_cores(running, workers, started):
    stages = {"wide": stage("wide", threads=2), "one": stage("one"), "two": stage("two")}
    begun = [stages[name] for name in running.split()]
    ready = [stages[name] for name in ("wide", "one", "two")]
    assert [s.name for s in fitting(ready, begun, workers)] == started.split()


def test_settings_are_json_from_the_start():
    assert stage("a", config={"ks": (4, 9)}).config == {"ks": [4, 9]}
    with pytest.raises(TypeError):
        stage("a", config={"path": Path("x")})
