"""`understudy judge` against a server of known accuracy: agreement, budget, resumption."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.gateways import in_a_process, make_key
from tests.judges import ScriptedJudge, serving
from tests.stores import make_project

from understudy.cli import main
from understudy.evaluation.judge_prompt import DEFAULT, verdict_of
from understudy.loop.judge import KEY_VARIABLE, JudgeConfig, judge
from understudy.records import (
    Comparison,
    Prompt,
    Ranking,
    Response,
    read_records,
    write_records,
)
from understudy.store.prompts.log import PromptLog

NUM = 40


def longer(request: str, a: str, b: str) -> str:
    return "tie" if len(a) == len(b) else "A" if len(a) > len(b) else "B"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Responses of two models to 40 prompts of 20 users, and what one person prefers in 16."""
    root = tmp_path_factory.mktemp("judged")
    prompts = [Prompt(id=f"p{i}", prompt=f"Say {i}.", user_id=f"u{i % 20}") for i in range(NUM)]
    write_records(root / "prompts.jsonl", prompts)
    responses = [
        Response(
            id=f"{model}{i}",
            prompt_id=p.id,
            prompt=p.prompt,
            model=model,
            response=f"{model} {i} " + "x" * (9 if (model == "ppo") == (i % 4 != 0) else 1),
        )
        for i, p in enumerate(prompts)
        for model in ("sft", "ppo")
    ]
    write_records(root / "responses.jsonl", responses)
    labels = [
        Comparison(
            prompt_id=a.prompt_id,
            prompt=a.prompt,
            first=a.response,
            second=b.response,
            first_model=a.model,
            second_model=b.model,
            preferred="first" if len(a.response) > len(b.response) else "second",
            labeler_id="kim",
            labeler_role="held_out",
        )
        for a, b in zip(responses[:32:2], responses[1:32:2], strict=True)
    ]
    write_records(root / "people.jsonl", labels)
    return root


def config(files: Path, url: str, out: Path, **changes) -> JudgeConfig:
    settings = {
        "responses": files / "responses.jsonl",
        "baseline": "sft",
        "people": files / "people.jsonl",
        "prompts": files / "prompts.jsonl",
    }
    return JudgeConfig(url=url, model="m", out=out, **(settings | changes))


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_both_orders_agreement_and_correction(files, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    scripted = ScriptedJudge(longer, stubborn=0.2, mute=0.1)
    with serving(scripted) as url:
        words = judge(config(files, url, tmp_path))
    assert {head[b"authorization"] for head in scripted.headers} == {b"Bearer secret"}
    assert {head[b"x-understudy-consent"] for head in scripted.headers} == {b"no"}
    found = results(tmp_path)
    about = found["model_judge"]
    comparisons = read_records(tmp_path / "comparisons.jsonl", Comparison)
    assert {(c.labeler_id, c.labeler_role) for c in comparisons} == {("m", "model")}
    assert len(comparisons) == 2 * about["pairs"]
    by_order = {(c.first, c.second): c.preferred for c in comparisons}
    flipped = sum(by_order[b, a] == won == "first" for (a, b), won in by_order.items()) / 2
    assert 0 < flipped == pytest.approx(about["flipped"]["rate"] * about["pairs"])
    assert about["unreadable"] > 0
    assert about["pairs"] < about["wanted"] == NUM
    people = about["people"]
    # It is right wherever it does not flip, and a flip is half an agreement.
    pairs = {tuple(sorted(pair)) for pair in by_order}
    labels = read_records(files / "people.jsonl", Comparison)
    met = [c for c in labels if tuple(sorted((c.first, c.second))) in pairs]
    halves = sum(by_order[c.first, c.second] == by_order[c.second, c.first] for c in met)
    assert people["pairs"] == len(met)
    assert people["agreement"]["rate"] == pytest.approx(1 - halves / 2 / len(met))
    assert people["agreement_untied"]["rate"] == 1
    corrected = found["win_rates_vs_sft_model_judge_corrected"]["ppo"]
    assert corrected["n"] == len(met)
    assert corrected["low"] < 0.75 < corrected["high"]  # what everybody's labels would say
    assert "agreement with people on" in words
    assert f"{about['unreadable']} replies without a readable verdict" in words
    assert "secret" not in "".join(p.read_text() for p in tmp_path.iterdir())


def test_ones_own_gateway_serves_as_judge_and_records_nothing(files, tmp_path, monkeypatch) -> None:
    project = make_project("sqlite", tmp_path / "project")
    monkeypatch.setenv(KEY_VARIABLE, make_key(project, "ann", requests_per_minute=10_000))
    with serving(ScriptedJudge(longer)) as upstream:
        where = ("--project", str(project.folder), "--upstream", upstream, "--name", "m")
        process, url = in_a_process("serve", *where)
        try:
            judge(config(files, f"{url}/v1", tmp_path / "out"))
        finally:
            process.terminate()
            process.communicate()
    assert results(tmp_path / "out")["model_judge"]["people"]["agreement"]["rate"] == 1
    log = PromptLog(project.log)
    assert [event.kind for _, event in log.events()] == []
    log.close()


def test_a_budget_stops_it_and_the_same_command_goes_on(files, tmp_path) -> None:
    scripted = ScriptedJudge(longer)
    with serving(scripted) as url:
        words = judge(config(files, url, tmp_path, max_requests=30, concurrency=3))
        assert len(scripted.seen) == 30
        assert results(tmp_path)["model_judge"]["pairs"] == 15
        assert "stopped by max_requests" in words
        assert results(tmp_path)["model_judge"]["people"]["pairs"] == 15  # people's come first
        judge(config(files, url, tmp_path, max_tokens=2000, concurrency=1))
        assert len(scripted.seen) == 50
        words = judge(config(files, url, tmp_path))
        assert len(scripted.seen) == 2 * NUM  # nothing is asked twice
        assert "stopped" not in words
        judge(config(files, url, tmp_path))
        assert len(scripted.seen) == 2 * NUM
        template = tmp_path / "mine.txt"
        template.write_text(DEFAULT.read_text().replace("Below are", "Here are"))
        judge(config(files, url, tmp_path, template=template, max_requests=4))
        assert len(scripted.seen) == 2 * NUM + 4  # another question


@pytest.mark.faults
def test_a_killed_run_pays_for_nothing_twice(files, tmp_path) -> None:
    scripted = ScriptedJudge(longer)
    with serving(scripted) as url:
        words = [
            "judge",
            "--url",
            url,
            "--model",
            "m",
            "--out",
            str(tmp_path),
            "--concurrency",
            "1",
        ]
        words += ["--responses", str(files / "responses.jsonl"), "--baseline", "sft"]
        process = subprocess.Popen([sys.executable, "-m", "understudy.cli", *words])
        kept = tmp_path / "replies.jsonl"
        while not kept.exists() or kept.read_bytes().count(b"\n") < 10:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        num_kept = kept.read_bytes().count(b"\n")
        with kept.open("a") as stream:
            stream.write('{"key": "cut')  # as a kill may leave it
        before = len(scripted.seen)
        assert main(words) == 0
    assert before - num_kept <= 1  # the one under way
    assert len(scripted.seen) - before == 2 * NUM - num_kept
    assert results(tmp_path)["model_judge"]["pairs"] == NUM


def test_without_a_baseline_it_ranks_what_a_model_wrote(files, tmp_path) -> None:
    rows = [
        Response(id=f"r{i}", prompt_id="p", prompt="Say.", model="m", response="x" * n)
        for i, n in enumerate((2, 4, 1, 2, 3))
    ]
    rows[3] = replace(rows[3], response="yy")  # as long as the first: a tie
    write_records(tmp_path / "k.jsonl", rows)
    out = tmp_path / "out"
    with serving(ScriptedJudge(longer)) as url:
        changes = {"responses": tmp_path / "k.jsonl", "baseline": None, "people": None}
        judge(config(files, url, out, **changes))
    (ranking,) = read_records(out / "rankings.jsonl", Ranking)
    assert results(out)["model_judge"]["rankings"] == 1
    texts = [[ranking.responses[i] for i in tier] for tier in ranking.tiers]
    assert texts == [["xxxx"], ["xxx"], ["xx", "yy"], ["x"]]
    assert (ranking.labeler_id, ranking.labeler_role) == ("m", "model")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--people", "no.jsonl"], "no.jsonl does not exist"),
        (["--url", "localhost:1", "--people", "x"], "url is 'localhost:1'; it must be like"),
        ([], "judge needs --responses, --people or both"),
        (["--people", "PEOPLE", "--template", "bad.txt"], "has {second} 0 times"),
        (["--responses", "RESPONSES", "--baseline", "gpt"], "no response in"),
        (["--people", "PEOPLE", "--max-requests", "0"], "max_requests is 0"),
    ],
)
def test_bad_input_costs_nothing(files, tmp_path, monkeypatch, capsys, words, message) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.txt").write_text("{prompt} {first} Verdict:")
    names = {"PEOPLE": files / "people.jsonl", "RESPONSES": files / "responses.jsonl"}
    words = [str(names.get(word, word)) for word in words]
    url = [] if "--url" in words else ["--url", "http://127.0.0.1:9/v1"]
    assert main(["judge", *url, "--model", "m", "--out", "out", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("out").exists()


def test_a_model_that_gives_no_verdict_is_told_apart(files, tmp_path) -> None:
    with (
        serving(ScriptedJudge(longer, mute=1)) as url,
        pytest.raises(ValueError, match=r"such as one that ends 'Both have .*max-response-tokens"),
    ):
        judge(config(files, url, tmp_path))


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("**Verdict:** A", "first"),
        ("**Verdict**: B", "second"),
        ('Verdict: "tie".', "tie"),
        ("### Verdict: [[B]]", "second"),
        ("Verdict: Response A", "first"),
        ("Verdict: A and B", None),
        ("Verdict: a tie", None),
        ("My verdict: A", None),
    ],
)
def test_a_verdict_may_be_marked_up(line: str, verdict: str | None) -> None:
    assert verdict_of(f"Because.\n\n{line}\n") == verdict


def test_labels_of_a_model_are_no_peoples(files, tmp_path) -> None:
    labels = read_records(files / "people.jsonl", Comparison)
    write_records(tmp_path / "l.jsonl", [replace(c, labeler_role="model") for c in labels])
    with pytest.raises(ValueError, match=r"are by models \(kim\)"):
        judge(config(files, "http://127.0.0.1:9/v1", tmp_path / "o", people=tmp_path / "l.jsonl"))
