"""`understudy demo --label`: the user ranks in the labelers' pages, and the result says so."""

import json
import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from rich.console import Console
from rich.live import Live
from tests.fixtures_models import make_policy, make_tokenizer
from tests.gateways import plain_client
from tests.labeling_client import LabelingClient, work

from understudy.evaluation.report import render
from understudy.evaluation.your_labels import with_your_labels
from understudy.labeling.collect import collect_rankings
from understudy.loop.demo import DemoConfig
from understudy.loop.demo_plan import YOUR_LABELS, demo_plan
from understudy.loop.display import Board, Lines
from understudy.loop.link import LINK_FILE, WithLink, read_link, write_link
from understudy.loop.recipe import load_recipe
from understudy.loop.stage_call import StageCall
from understudy.loop.stages import your_labels
from understudy.loop.stages.your_check import by_score, by_votes, check, rate
from understudy.loop.stages.your_labels import ask
from understudy.models.scalar import ScalarModel
from understudy.records import Prompt, Ranking, Response, read_records, write_records
from understudy.training.stop import EXIT_STOPPED
from understudy.trust.agreement import Vote, votes_of_rankings
from understudy.world.world import World

PASSWORD = "four good words here"
NUMBER = 4


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(your_labels, "SECONDS_AFTER_THE_LAST", 0.0)
    monkeypatch.setattr(your_labels, "SECONDS_BETWEEN_LOOKS", 0.05)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts, answers to them, and the rankings of simulated labelers."""
    folder = tmp_path_factory.mktemp("sampled")
    world = World(0)
    prompts = [replace(p, split="train") for p in world.closed_domain_prompts(8)]
    words = ("the passage does not say.", "you fool.", "i do not know.", "yes.")
    responses = [
        Response(id=f"{p.id}-{i}", prompt_id=p.id, prompt=p.prompt, response=text, model="sft")
        for p in prompts
        for i, text in enumerate(words)
    ]
    team = world.labelers("training")
    write_records(folder / "prompts.jsonl", prompts)
    write_records(folder / "responses.jsonl", responses)
    rankings = collect_rankings(team, prompts, responses, overlap=0.0, seed=0)
    write_records(folder / "rankings.jsonl", rankings)
    return folder


def call_of(sampled: Path, root: Path, number: int = NUMBER) -> StageCall:
    out = root / YOUR_LABELS
    out.mkdir(parents=True, exist_ok=True)
    inputs = {n: (sampled / f"{n}.jsonl",) for n in ("prompts", "responses", "rankings")}
    config = {"seed": 0, "number": number}
    return StageCall(name=YOUR_LABELS, inputs=inputs, config=config, out=out, root=root)


@contextmanager
def user(call: StageCall, most: int | None, *, then_stop: bool = False) -> Iterator[None]:
    """Somebody who opens the link once it is there, signs in and ranks, in a thread."""
    failed: list[BaseException] = []
    over = threading.Event()

    def live() -> None:
        try:
            while not (link := read_link(call.out)):
                if over.wait(0.02):
                    return
            assert stat.S_IMODE((call.out / LINK_FILE).stat().st_mode) == 0o600
            address, _, token = link.partition("/invitation#")
            assert urlsplit(address).hostname == "127.0.0.1"
            with plain_client(base_url=address, timeout=30) as http:
                client = LabelingClient(http)
                client.accept(token, name="Ann", password=PASSWORD)
                client.read_instructions()
                me = World(0).labelers("training")[0]
                work(client, me, most=most)
        except BaseException as error:
            failed.append(error)
        if (then_stop or failed) and signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not failed, failed


def test_you_rank_are_interrupted_go_on_and_your_rankings_train(
    sampled: Path, tmp_path: Path
) -> None:
    call = call_of(sampled, tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    with user(call, most=1, then_stop=True), pytest.raises(SystemExit) as stopped:
        ask(call)
    assert stopped.value.code == EXIT_STOPPED
    assert signal.getsignal(signal.SIGTERM) is before
    assert read_link(call.out) == ""
    assert not (call.out / "rankings.jsonl").exists()

    with user(call, most=NUMBER - 1):  # a new link, the same account: three are left
        ask(call)
    own = read_records(call.out / "yours.jsonl", Ranking)
    simulated = read_records(sampled / "rankings.jsonl", Ranking)
    assert len(own) == len({one.prompt_id for one in own}) == NUMBER
    assert {(one.labeler_role, one.split) for one in own} == {("training", "train")}
    assert len({one.labeler_id for one in own}) == 1
    everybody = (call.out / "rankings.jsonl").read_bytes()
    assert everybody.startswith((sampled / "rankings.jsonl").read_bytes())
    assert read_records(call.out / "rankings.jsonl", Ranking) == [*simulated, *own]

    ask(call)  # done is done: nobody is asked again
    assert (call.out / "rankings.jsonl").read_bytes() == everybody
    with user(call_of(sampled, tmp_path, NUMBER + 1), most=1):  # one more, not five
        ask(call_of(sampled, tmp_path, NUMBER + 1))
    more = read_records(call.out / "yours.jsonl", Ranking)
    assert len(more) == NUMBER + 1
    assert {one.id for one in own} < {one.id for one in more}


def test_more_than_there_is_to_rank_is_refused(sampled: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--label is 9, but only 8 prompts .* --label 8 or less"):
        ask(call_of(sampled, tmp_path, 9))


def test_a_project_that_was_half_made_is_made_anew(sampled: Path, tmp_path: Path) -> None:
    call = call_of(sampled, tmp_path)
    folder = your_labels.yours(call).folder
    (folder / "project.toml").unlink()
    assert (your_labels.yours(call).folder / "project.toml").is_file()


# What came of it


def ranking(name: str, labeler: str, *tiers: tuple[int, ...]) -> Ranking:
    texts = ("good", "fair", "bad")
    return Ranking(
        id=f"{name}-{labeler}",
        prompt_id=name,
        prompt="Which?",
        responses=texts,
        tiers=tiers,
        labeler_id=labeler,
    )


MINE = [ranking("p1", "you", (0,), (1,), (2,)), ranking("p2", "you", (0, 1), (2,))]
USERS = {"p1": "u1", "p2": "u2"}


def votes_of_mine() -> list[Vote]:
    return [vote for vote in votes_of_rankings(MINE) if vote.value]


def test_agreement_counts_the_pairs_that_both_tell_apart() -> None:
    votes = votes_of_mine()
    assert len(votes) == 5  # three of p1, two of p2
    others = [ranking("p1", "l1", (1,), (0,), (2,)), ranking("p2", "l2", (2,), (0,), (1,))]
    found = rate(by_votes(votes, others), USERS, "")
    assert (found["rate"], found["n"], found["num_prompts"]) == (2 / 5, 5, 2)
    assert found["low"] < found["rate"] < found["high"]
    scores = {name: {"good": 2.0, "fair": 2.0, "bad": 1.0} for name in USERS}
    found = rate(by_score(votes, scores), USERS, "")
    assert (found["rate"], found["n"]) == (1.0, 4)


def test_what_is_undefined_says_why() -> None:
    nobody = rate(by_votes(votes_of_mine(), []), USERS, "no one ranked")
    assert nobody["rate"] is None
    assert nobody["n"] == 0
    assert nobody["undefined"] == "no one ranked, or you ranked only ties"


def test_without_a_ranking_the_check_loads_no_model(sampled: Path, tmp_path: Path) -> None:
    write_records(tmp_path / "yours.jsonl", [])
    inputs = {n: (sampled / f"{n}.jsonl",) for n in ("prompts", "rankings")}
    inputs |= {"yours": (tmp_path / "yours.jsonl",), "reward_model": (tmp_path / "none",)}
    check(StageCall(name="c", inputs=inputs, config={"seed": 0}, out=tmp_path, root=tmp_path))
    table = json.loads((tmp_path / "your_labels.json").read_text())
    assert table["rankings"] == table["pairs"] == 0
    for key in ("agree_gold", "agree_training_labelers", "agree_reward_model"):
        assert table[key]["rate"] is None
        assert "you ranked only ties" in table[key]["undefined"]
    html = with_your_labels(render({"your_labels": table}), table)
    assert html.count('id="your-rankings"') == html.count('href="#your-rankings"') == 1
    assert "Undefined: no training labeler ranked" in html


def test_the_reward_model_and_the_gold_judge_are_asked(sampled: Path, tmp_path: Path) -> None:
    reward_model = tmp_path / "reward"
    ScalarModel.from_policy(make_policy(max_position_embeddings=512)).save(
        reward_model, make_tokenizer()
    )
    prompts = read_records(sampled / "prompts.jsonl", Prompt)
    world = World(0)
    responses = read_records(sampled / "responses.jsonl", Response)
    own = collect_rankings(world.labelers("training")[:1], prompts, responses, 0.0, seed=3)
    write_records(tmp_path / "yours.jsonl", own)
    inputs = {n: (sampled / f"{n}.jsonl",) for n in ("prompts", "rankings")}
    inputs |= {"yours": (tmp_path / "yours.jsonl",), "reward_model": (reward_model,)}
    check(StageCall(name="c", inputs=inputs, config={"seed": 0}, out=tmp_path, root=tmp_path))
    table = json.loads((tmp_path / "your_labels.json").read_text())
    assert table["rankings"] == len(own)
    assert table["agree_gold"]["rate"] > 0.5
    assert 0 < table["agree_reward_model"]["n"] <= table["pairs"]
    html = with_your_labels(render({"reward_model": {"chance": 0.5}}), table)
    assert html.index('id="your-rankings"') < html.index('id="the-reward-model"')


# In the plan and on the screen


def test_without_label_the_plan_is_what_it_was_and_with_it_only_what_follows_changes() -> None:
    recipe = load_recipe("quick")
    without, with_ = demo_plan(recipe, 0), demo_plan(recipe, 0, label=3)
    assert "your_" not in str(without)
    changed = [s.name for s in without.stages if s != with_[s.name]]
    assert changed == ["reward", "report"]
    added = {s.name for s in with_.stages} - {s.name for s in without.stages}
    assert added == {"your_labels", "your_check"}
    assert with_["reward"].input_lists()["data"][0].stage == YOUR_LABELS
    with pytest.raises(ValueError, match="label is -1"):
        DemoConfig(label=-1)


def test_the_link_is_said_once_and_whole(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    link = "http://127.0.0.1:40000/invitation#" + "x" * 80
    write_link(tmp_path, "a killed demo's")
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=40)
    quiet = {"auto_refresh": False, "redirect_stdout": False, "redirect_stderr": False}
    with Live(console=console, **quiet) as live:
        displays = [WithLink(d, tmp_path, "Rank:") for d in (Lines("t"), Board("t", live))]
        stages = []
        for display in displays:
            display.display.update = lambda *_: None  # the table is no matter here
            display.update(stages, 0.0)
        write_link(tmp_path, link)
        for display in displays * 2:
            display.update(stages, 0.0)
    assert capsys.readouterr().err.count(f"Rank: {link}\n") == 1
    assert screen.getvalue().count(f"Rank: {link}") == 1
