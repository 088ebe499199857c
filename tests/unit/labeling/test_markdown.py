"""Markdown as a tree: what is shown, and that nothing in it can act or fetch."""

import pytest

from understudy.labeling.markdown import markdown_tree


def tags(nodes) -> list[str]:
    return [tag for node in nodes if isinstance(node, list) for tag in (node[0], *tags(node[2]))]


def text(nodes) -> str:
    return "".join(node if isinstance(node, str) else text(node[2]) for node in nodes)


def attributes(nodes) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, list):
            found |= set(node[1]) | attributes(node[2])
    return found


def test_structure() -> None:
    made = markdown_tree(
        "# Title\n\nOne **bold** word.\n\n3. three\n4. four\n\n> said\n\n| a |\n|---|\n| b |"
    )
    found = tags(made)
    assert found[:3] == ["h4", "p", "strong"]
    assert {"ol", "li", "blockquote", "table", "th", "td"} <= set(found)
    assert ["ol", {"start": "3"}] in [node[:2] for node in made]


def test_code_keeps_its_characters_and_has_colours() -> None:
    code = "def f(x):\n    return x + 1  # one\n"
    made = markdown_tree(f"```python\n{code}```")
    assert text(made) == code
    assert made[0][0] == "pre"
    assert ["span", {"class": "tok-k"}, ["def"]] in made[0][2][0][2]
    assert text(markdown_tree("```nosuch\n<b>\n```")) == "<b>\n"


@pytest.mark.parametrize("source", ["$x^2$", "\\(x^2\\)", "so $$x^2$$ is", "\\[x^2\\]"])
def test_latex_becomes_mathml(source: str) -> None:
    assert {"math", "msup", "mi", "mn"} <= set(tags(markdown_tree(source)))


@pytest.mark.parametrize("source", ["It costs $5 and $6.", "a $ b $ c", "100$"])
def test_prices_are_no_formulas(source: str) -> None:
    assert text(markdown_tree(source)) == source
    assert "math" not in tags(markdown_tree(source))


@pytest.mark.parametrize(
    "source", ["$\\frac{$", "$\\begin{matrix$", "${" + "{" * 1900 + "$", "$\\left($"]
)
def test_what_is_no_latex_stays_readable(source: str) -> None:
    assert text(markdown_tree(source)).strip("$")


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/p.png)",
    "[a](https://evil.example 'onclick=alert(1)')",
    "<https://evil.example>",
    "$\\href{javascript:alert(1)}{x}$",
    "$\\style{color:red}{x}$",
    "```html\n<iframe src=//evil.example>\n```",
    "&lt;script&gt;",
    "[x]: https://evil.example\n\n[x]",
)
ALLOWED = {"class", "start", "tabindex", "alttext"}


@pytest.mark.parametrize("source", HOSTILE)
def test_nothing_acts_or_is_fetched(source: str) -> None:
    made = markdown_tree(source)
    assert not {"a", "img", "script", "iframe", "style", "object", "form"} & set(tags(made))
    known = ALLOWED | {"display", "mathvariant", "stretchy", "fence", "form", "accent"}
    assert attributes(made) <= known
    assert text(made), "something is shown"


def test_addresses_are_shown_in_words() -> None:
    assert text(markdown_tree("[here](https://a.example/b)")) == "here (https://a.example/b)"
    assert text(markdown_tree("![cat](cat.png)")) == "[picture: cat] (cat.png)"


@pytest.mark.parametrize(
    "source", ["> " * 5000 + "x", "*" * 20_000, "[" * 20_000, "`" * 9_999 + "a", "$" * 20_000]
)
def test_hostile_nesting_ends(source: str) -> None:
    assert markdown_tree(source) is not None  # quadratic time would take minutes


def test_a_very_long_text_is_left_as_it_is() -> None:
    assert markdown_tree("word " * 20_000) is None
