"""The page: self-contained, legible without its pictures, honest about what is missing."""

import re

import pytest
from tests.docs.pages import DOCS
from tests.unit.evaluation.synthetic import ablation, results, share

from understudy.evaluation import page
from understudy.evaluation.figures import colours_of, in_order, label_of
from understudy.evaluation.points import with_ends
from understudy.evaluation.report import render, write_report
from understudy.evaluation.tables import verdict, win_tables


@pytest.fixture(scope="module")
def html():
    return render(results())


def test_the_page_asks_for_nothing_from_elsewhere(html):
    assert "<script" not in html
    assert not re.search(r"https?://|\bsrc=|@import|@font-face|<link", html)
    assert not re.search(r"url\((?!#)", html)


def test_every_figure_has_words_and_no_colour_of_its_own(html):
    drawings = re.findall(r"<svg[^>]*>", html)
    assert len(drawings) == 12
    assert all('role="img"' in tag and re.search('aria-label="[^"]{40,}"', tag) for tag in drawings)
    bodies = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    paints = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", bodies))
    assert paints - {"none", "currentColor"} == {p for p in paints if p.startswith("var(--")}


@pytest.mark.parametrize("results", [results, ablation], ids=["whole", "ablation"])
def test_every_figure_has_one_sentence_that_reads_it(results):
    figures = re.findall(r"<figure>.*?</figure>", render(results()), flags=re.DOTALL)
    assert figures
    for figure in figures:
        (reading,) = re.findall(r'<p class="reading">(.*?)</p>', figure)
        assert reading.endswith(".")
        assert re.search(r"\d", reading) or "None of them" in reading or "smaller model" in reading


def test_examples_say_why_they_are_shown(html):
    assert "open qa (largest gain: +1.20 by gold)" in html
    assert "in turn the largest gain, the largest loss and a typical one" in html


def test_the_tutorial_names_every_section(html):
    tutorial = (DOCS / "tutorials" / "reading-a-report.md").read_text(encoding="utf-8").lower()
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    assert [title for title in titles if title.lower() not in tutorial] == []


def test_every_text_of_a_figure_takes_the_pages_colour(html):
    texts = re.findall(r"<text [^>]*>", html)
    assert texts
    assert all("fill: currentColor" in text for text in texts)


def test_colours_in_use_are_defined_for_light_and_dark(html):
    light, dark = page.CSS.split("prefers-color-scheme: dark")
    for name in set(re.findall(r"var\((--[a-z0-9-]+)[,)]", html)) - {"--colour"}:
        assert f"{name}:" in light
        assert f"{name}:" in dark or name == "--line"


def test_ids_are_unique_and_links_lead_somewhere(html):
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'href="#([^"]+)"', html) + re.findall(r"url\(#([^)]+)\)", html):
        assert target in ids


def test_what_models_and_users_write_is_text(html):
    assert "<b>soup</b>" not in html
    assert "cheese &amp; &lt;b&gt;soup&lt;/b&gt;" in html


def test_alt_text_says_the_numbers(html):
    assert "Held-out labelers: Base 8% (4 to 12), n = 600; Prompted 17%" in html


def test_everything_asked_for_is_on_the_page(html):
    for text in (
        "above 50% beyond the interval",
        "The gate: <span",
        "Null check",
        "The length rule",
        "One seed.",
        "gold 3.10",
        "What does Anna eat? List 9 foods.",
        "1.3 min",
        "code abc1234",
        "1 of 2 candidate labelers passed the screening; rejected: l2.",
        "The response shown first wins 49%",
        "6.2 min",
        "Training noise is not in them",
        "per user 58% (54 to 62), n = 120",
        "Always refuse 20%",
        "Base&#x27;s choice of 16",
        "SFT, greedy",
        "Prompted at 0.7",
        "RL init",
        "Seen in training",
        "64% of the reward model&#x27;s lead over chance comes from labels",
        "no labels, on held-out labelers",
    ):
        assert text in html


def test_an_ablation_is_a_page_of_its_own_curves():
    html = render(ablation())
    assert html.count("<svg") == 2
    assert "Not measured" not in html
    for text in (
        "PPO-ptx at 1.5: Held-out labelers&#x27; win rate 59% (55 to 63)",
        "Reading 40%",
        "Pretraining loss, nats",
        "KL coefficient (beta)",
    ):
        assert text in html


def test_methods_are_drawn_by_what_they_gain_and_cost():
    found = ablation()
    for place, arm in enumerate(found["ablation"]["arms"]):
        arm |= {"seconds": 50.0 + 10 * place, "samples": 5120}
    best_of = {n: {"kl": kl, "win_rate": share(0.6)} for n, kl in (("1", 0.0), ("4", 0.64))}
    html = render({**found, "best_of_n": best_of})
    assert html.count("<svg") == 3, "gain and cost, and the two of an ablation"
    for text in (
        "PPO at 1.5 wins most (62%, 1.2 nats, 80 s)",
        "PPO at 0.15 needs the least KL of those within PPO&#x27;s interval (58%, 0.8 nats, 70 s)",
        "seconds of training",
        "Best of 4",
        "<td>5,120</td>",
    ):
        assert text in html


def test_models_and_tricks_have_names_for_people():
    names = ["echo", "sft_greedy", "prompted_07", "ppo", "shortest_of_16", "prompted", "mine_of_2"]
    assert in_order(names)[:4] == ["prompted", "prompted_07", "sft_greedy", "ppo"]
    assert label_of("shortest_of_16") == "Shortest of 16"
    assert label_of("mine_of_2") == "mine_of_2"
    found = colours_of(["prompted_07", "prompted", "mine", "theirs", "mine"])
    assert found["prompted_07"] == found["prompted"]
    assert len({found["prompted"], found["mine"], found["theirs"]}) == 3


def test_the_same_results_make_the_same_page():
    known = {"win_rates_vs_sft": results()["win_rates_vs_sft"]}
    assert render(known) == render(known)


def test_what_is_missing_is_left_out_with_a_word():
    known = {"win_rates_vs_sft_reward_model": {"ppo": share(0.6)}, "baseline": "sft"}
    html = render(known)
    assert "Reward model" in html
    left_out = html[html.index("left out: ") :].partition(".<")[0]
    assert left_out.startswith("left out: What else could explain it; Faults in the responses; The")
    assert left_out.endswith("What was done; Settings")
    assert html.count("<svg") == 1


def test_nothing_at_all_is_still_a_page():
    assert "Not measured in this run" in render({})


def test_a_users_own_models_and_baseline():
    known = {
        "win_rates_vs_v1": {"v2": share(0.6), "v3": {"rate": 0.4}, "a$_$b<i>": 0.3},
        "baseline": "v1",
        "temperature": 0.7,
    }
    html = render(known)
    assert "Win rate against v1, sampled at temperature 0.7." in html
    assert "v3 40%; a$_$b&lt;i&gt; 30%" in html
    assert "a$_$b<i>" not in html


def test_a_score_is_not_called_a_preference():
    known = {"win_rates_vs_sft_reward_model": {"ppo": share(0.8)}}
    html = render(known)
    assert "PPO scored above SFT by the reward model" in html
    assert "not a person&#x27;s preference" in html
    assert "no person has judged them" in html
    assert "preferred to" not in html
    assert "compared blind" not in html
    people = render(known | {"win_rates_vs_sft": {"ppo": share(0.6)}})
    assert "PPO preferred to SFT by held-out labelers" in people
    assert "compared blind" in people


@pytest.mark.parametrize(
    ("users", "words"),
    [
        ("unseen", "users unseen in training"),
        ("test_split", "of the test split"),
        (None, "whether training saw them is not known"),
    ],
)
def test_only_users_known_to_be_unseen_are_called_so(users, words):
    html = render({"win_rates_vs_sft": {"ppo": share(0.6)}, "users": users})
    assert words in html
    assert ("unseen in training" in html) == (users == "unseen")


def test_the_length_of_the_answers_is_beside_the_win_rates(html):
    assert "9.50 (9.10 to 9.90), n = 600" in html


def test_metrics_of_runs_stand_in_for_a_curve(tmp_path):
    rows = [{"step": i, "ppo/kl": 0.1 * i, "ppo/score": 0.2 * i} for i in range(5)]
    path = write_report({}, tmp_path / "report.html", {"ppo": rows})
    assert "PPO: Reward-model score from 0.00 to 0.80" in path.read_text()


def test_conversations_show_their_turns():
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    example = {"prompt": turns, "use_case": None, "answers": {"sft": {"text": "", "gold": None}}}
    html = render({"examples": [example]})
    assert "user: Hi\nassistant: Hello" in html
    assert "(no words)" in html


@pytest.mark.parametrize(
    ("point", "words"),
    [
        (share(0.6), "above 50% beyond the interval"),
        (share(0.52), "not distinguishable from 50%"),
        (share(0.4), "below 50% beyond the interval"),
        ({"rate": 0.9}, "no interval"),
    ],
)
def test_verdict(point, words):
    assert verdict(point) == words


def test_win_tables_are_named_after_the_judges_in_order():
    keys = ["win_rates_vs_sft_gold", "win_rates_vs_sft_mine", "win_rates_vs_sft"]
    tables = win_tables({key: {"ppo": 0.5} for key in keys})
    assert list(tables) == ["Held-out labelers", "Gold judge", "mine"]


def test_numbers_as_people_read_them():
    assert with_ends({"rate": 0.654, "low": 0.6, "high": 0.7, "n": 9}) == "65% (60 to 70), n = 9"
    assert with_ends({"mean": 3.1234}, as_percent=False) == "3.12"
    assert with_ends(None) == "-"
    assert page.setting({"a": [1, True], "b": None}) == "a = 1, yes, b = -"
