"""The pages' pure functions, in the browser that runs them."""

import pytest
from tests.web.site import Site

from understudy.labeling.tokens import num_words


@pytest.fixture(scope="module")
def module(browser, site: Site):
    """Call a function of a module: `module("work/tiers", "insert", places, "c", 1, 4)`."""
    page = browser.new_page(base_url=site.url)
    page.goto("/sign-in")
    call = """async ([path, name, values]) => {
      const found = await import(`/static/${path}.js`);
      return found[name](...values);
    }"""
    yield lambda path, name, *values: page.evaluate(call, [path, name, list(values)])
    page.close()


def tiers(module, name, *values):
    return module("work/tiers", name, *values)


@pytest.mark.parametrize(
    ("places", "gap", "after"),
    [
        ({"a": 1, "b": 2}, 0, {"a": 2, "b": 3, "x": 1}),  # above all: both go down
        ({"a": 1, "b": 2}, 1, {"a": 1, "b": 3, "x": 2}),
        ({"a": 1, "b": 2}, 2, {"a": 1, "b": 2, "x": 3}),  # an empty tier is taken as it is
        ({"a": 2, "b": 4}, 4, {"a": 2, "b": 3, "x": 4}),  # below all: no room, so up
        ({"a": 1, "b": 1, "c": 3}, 1, {"a": 1, "b": 1, "c": 3, "x": 2}),
        ({"a": 2, "b": 3, "c": 4}, 3, {"a": 1, "b": 2, "c": 4, "x": 3}),
        ({"a": 1, "b": 2, "c": 3, "x": 4}, 1, {"a": 1, "b": 3, "c": 4, "x": 2}),  # it leaves room
    ],
)
def test_insert_moves_others_towards_an_empty_tier(module, places, gap, after) -> None:
    assert tiers(module, "insert", places, "x", gap, 4) == after


def test_insert_keeps_the_order_of_the_others_and_the_tiers_in_range(module) -> None:
    import random

    rng = random.Random(0)
    for _ in range(200):
        k = rng.randint(2, 9)
        ids = [chr(97 + i) for i in range(k)]
        places = {one: rng.randint(0, k) for one in ids}
        moved, gap = rng.choice(ids), rng.randint(0, k)
        after = tiers(module, "insert", places, moved, gap, k)
        others = [one for one in ids if one != moved and places[one]]
        assert all(1 <= after[one] <= k for one in [*others, moved])
        assert [after[one] for one in others].count(after[moved]) == 0  # alone
        for one in others:
            for two in others:
                assert (places[one] < places[two]) == (after[one] < after[two])
            assert (places[one] <= gap) == (after[one] < after[moved])


def test_nudge_tie_and_the_ranking_that_is_sent(module) -> None:
    assert tiers(module, "nudge", {"a": 1}, "a", -1, 3) == {"a": 1}
    assert tiers(module, "nudge", {"a": 3}, "a", 1, 3) == {"a": 3}
    assert tiers(module, "nudge", {"a": 2}, "b", 1, 3) == {"a": 2, "b": 3}
    assert tiers(module, "tieWithAbove", {"a": 1, "b": 3}, "b") == {"a": 1, "b": 1}
    assert tiers(module, "tieWithAbove", {"a": 1, "b": 3}, "a") == {"a": 1, "b": 3}
    places = {"a": 4, "b": 2, "c": 4, "d": 0}
    assert tiers(module, "tiersOf", places, ["a", "b", "c", "d"]) == [["b"], ["a", "c"]]
    assert tiers(module, "placesOf", [["b"], ["a", "c"]]) == {"b": 1, "a": 2, "c": 2}
    assert tiers(module, "tiedWith", places, "a") == ["c"]


def longest_common(a: list[str], b: list[str]) -> int:
    """The naive reference."""
    best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            best[i + 1][j + 1] = (
                best[i][j] + 1 if one == other else max(best[i][j + 1], best[i + 1][j])
            )
    return best[-1][-1]


def test_the_difference_is_a_longest_common_subsequence_of_words(module) -> None:
    import random

    rng = random.Random(1)
    for _ in range(60):
        left, right = (" ".join(rng.choices("abcd", k=rng.randint(0, 12))) for _ in range(2))
        parts = module("work/difference", "difference", left, right)
        shared = "".join(part["left"] for part in parts if part["kind"] == "same")
        assert len(shared.split()) == longest_common(left.split(), right.split())
        assert "".join(part["left"] for part in parts) == left  # white space and all
        assert "".join(part["right"] for part in parts) == right


def test_a_long_difference_ends(module) -> None:
    left, right = " ".join(map(str, range(9000))), " ".join(map(str, range(5, 9005)))
    parts = module("work/difference", "difference", left, right)
    assert {part["kind"] for part in parts} <= {"same", "left", "right"}


def test_markup_and_handlers_cannot_be_written(module) -> None:
    for name in ("innerHTML", "onclick", "style", "srcdoc"):
        with pytest.raises(Exception, match="is not allowed"):
            module("lib/dom", "h", "p", {name: "x"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mixed.",
        "two  words",
        "don't - stop",
        "東京 is big",
        "สวัสดีครับ",
        "བོད་སྐད་ ｶﾅ",
        "مرحبا بك 3 …",
    ],
)
def test_the_browser_counts_words_as_the_server_does(module, text) -> None:
    number = num_words(text)
    assert module("lib/fold", "inWords", text) == ("1 word" if number == 1 else f"{number} words")
