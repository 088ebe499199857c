"""Plots are well-formed SVG that runs nothing, whatever their names hold."""

import re
from xml.etree import ElementTree

import pytest

from understudy.labeling.owner.plots import Series, bar_plot, line_plot

EVIL = "</text><script>alert(1)</script>"


def parse(svg):
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    tags = {element.tag.partition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "title", "rect", "line", "text", "path", "circle", "polygon"}
    assert not any(
        "style" in element.attrib or "href" in str(element.attrib) for element in root.iter()
    )
    return root


def texts(root):
    return [element.text for element in root.iter() if element.tag.endswith("}text")]


def test_lines_with_intervals_and_a_gap():
    series = Series(
        name="training", values=(0.7, None, 0.8), lows=(0.6, None, 0.7), highs=(0.8, None, 0.9)
    )
    root = parse(line_plot("Agreement", ["a", "b", "c"], [series], percent=True))
    assert {"a", "b", "c", "training", "60%", "100%"} <= set(texts(root))
    (path,) = [e.attrib["d"] for e in root.iter() if e.tag.endswith("}path")]
    assert path.count("M") == 2  # the gap is no line
    assert len([e for e in root.iter() if e.tag.endswith("}circle")]) == 2 + 1


def test_everything_is_within_the_frame():
    series = [
        Series(name=str(n), values=(0.0, 1.0), lows=(0.0, 0.9), highs=(0.1, 1.0)) for n in range(4)
    ]
    svg = line_plot("t", ["a", "b"], series, percent=True)
    parse(svg)
    for x, y in re.findall(r'c?x="([\d.]+)" c?y="([\d.]+)"', svg):
        assert 0 <= float(x) <= 720
        assert 0 <= float(y) <= 260


def test_names_are_text():
    for svg in (
        line_plot(EVIL, [EVIL], [Series(name=EVIL, values=(1.0,))]),
        bar_plot(EVIL, [EVIL], [(EVIL, [3])]),
    ):
        assert EVIL in texts(parse(svg))


@pytest.mark.parametrize(
    "svg", [line_plot("t", [], []), bar_plot("t", [], []), bar_plot("t", ["a"], [("x", [0])])]
)
def test_nothing_to_show_says_so(svg):
    assert texts(parse(svg)) == ["nothing to show yet"]


def test_stacked_bars_reach_their_sum():
    root = parse(bar_plot("t", ["mon", "tue"], [("done", [4, 0]), ("skipped", [2, 1])]))
    bars = [e.attrib for e in root.iter() if e.tag.endswith("}rect") and "x" in e.attrib]
    done, skipped = (float(bar["height"]) for bar in bars[:2])
    assert done == pytest.approx(2 * skipped, abs=0.2)
    assert "6" in texts(root)
