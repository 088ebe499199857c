"""HTML for the report: escaping, tables, figures with text, and the style sheet.

Plain functions from values to HTML strings; values are escaped here and nowhere else. The page uses
no script or font and makes no request.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

CSS = """
:root { color-scheme: light dark;
  --ink: #1d2330; --soft: #5b6474; --page: #fbfaf7; --card: #ffffff; --line: #e2dfd7;
  --grid: #dcd9d1; --accent: #9a3324; --good: #1e7a4d; --bad: #b3361d;
  --base: #7b818c; --prompted: #96731c; --sft: #2b62b8; --sft-null: #7b9dd1; --rl-init: #4f7f95;
  --ppo: #b8611b;
  --ppo-ptx: #a52a5f; --best-of-n: #1f7d64; --extra-1: #6b4fb3; --extra-2: #0f7c99;
  --extra-3: #5d7a1f; --extra-4: #a8452f; --extra-5: #a03a94;
  --rloo: var(--extra-1); --grpo: var(--extra-2); --raft: var(--extra-3); --dpo: var(--extra-4);
  --kto: var(--extra-5); }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e9e6df; --soft: #a5acb8; --page: #14171d; --card: #1c2028; --line: #31363f;
  --grid: #3a404a; --accent: #f0937f; --good: #63c793; --bad: #f08a72;
  --base: #a2a8b3; --prompted: #d5b45c; --sft: #7eaaf0; --sft-null: #5f7fae; --rl-init: #8fb7c9;
  --ppo: #eda05c;
  --ppo-ptx: #ee82b0; --best-of-n: #62c9aa; --extra-1: #b49cf0; --extra-2: #67c3da;
  --extra-3: #abc96a; --extra-4: #ea927b; --extra-5: #e08fd6; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: break-word; }
main, header, footer { max-width: 66rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 2.5rem; }
.brand { color: var(--accent); font-weight: 600; letter-spacing: .02em; margin: 0; }
h1, h2 { font-family: Georgia, "Iowan Old Style", "Times New Roman", serif; font-weight: 600;
  line-height: 1.2; text-wrap: balance; }
h1 { font-size: clamp(1.7rem, 5.2vw, 2.7rem); margin: .3rem 0 .8rem; }
h2 { font-size: clamp(1.35rem, 3.6vw, 1.75rem); margin: 0 0 .5rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p { margin: .5rem 0; max-width: 44rem; }
.lead { font-size: 1.08rem; color: var(--soft); }
.soft, figcaption, caption { color: var(--soft); }
nav { margin: 1.2rem 0 0; display: flex; flex-wrap: wrap; gap: .35rem 1.1rem; font-size: .92rem; }
a { color: inherit; text-decoration-color: var(--accent); text-underline-offset: .2em; }
section { border-top: 1px solid var(--line); margin-top: 2.4rem; padding-top: 1.6rem; }
.tiles { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(11.5rem, 1fr));
  margin: 1.4rem 0 0; padding: 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: .7rem;
  padding: .9rem 1rem; }
.tile b { display: block; font: 600 2rem/1.15 Georgia, serif; font-variant-numeric: tabular-nums; }
.tile span { display: block; font-size: .88rem; color: var(--soft); }
.tile .what { color: var(--ink); font-size: .95rem; }
.figures { display: grid; gap: 1.6rem 2.2rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); align-items: start; }
figure { margin: 0; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; max-width: 34rem; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
figcaption { font-size: .9rem; margin-top: .4rem; max-width: 34rem; }
figcaption b { color: var(--ink); }
.reading { margin: 0 0 .6rem; max-width: 34rem; font-weight: 500; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-size: .9rem; padding-bottom: .3rem; }
th, td { text-align: left; padding: .34rem .9rem .34rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 500; }
tbody th { font-weight: 500; }
td.number { text-align: right; white-space: nowrap; }
td small { color: var(--soft); }
details td { min-width: 7rem; }
.bar { display: block; height: .5rem; border-radius: .25rem; background: var(--sft);
  min-width: 2px; margin-top: .45rem; }
.stages { list-style: none; padding: 0; margin: 1rem 0; }
.stages li { display: grid; grid-template-columns: minmax(0, 1fr) 4.5rem; gap: 0 1rem;
  padding: .5rem 0; border-bottom: 1px solid var(--line); }
.stages .bar { grid-column: 1 / -1; height: .25rem; background: var(--accent); opacity: .75; }
.stages .minutes { text-align: right; font-variant-numeric: tabular-nums; color: var(--soft); }
.badge { font-weight: 600; } .badge.good { color: var(--good); } .badge.bad { color: var(--bad); }
details { margin: .7rem 0; } summary { cursor: pointer; color: var(--soft); }
summary:hover { color: var(--ink); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; border-radius: 2px; }
.example { background: var(--card); border: 1px solid var(--line); border-radius: .7rem;
  padding: 1rem; margin: 1rem 0; }
.example h3 { margin: 0 0 .3rem; font-size: .85rem; color: var(--soft); font-weight: 500; }
.prompt, .response p { white-space: pre-wrap; }
.prompt { font-size: 1.02rem; margin: 0 0 .9rem; max-width: none; }
.responses { display: grid; gap: .7rem 1.4rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr)); }
.response { border-left: 3px solid var(--colour, var(--line)); padding-left: .7rem; min-width: 0; }
.response h4 { margin: 0; font-size: .85rem; display: flex; justify-content: space-between;
  gap: .6rem; }
.response h4 span { color: var(--soft); font-weight: 400; font-variant-numeric: tabular-nums; }
.response p { margin: .15rem 0 0; font-size: .95rem; }
footer { padding-top: 2rem; padding-bottom: 3rem; color: var(--soft); font-size: .88rem; }
@media print { nav { display: none; } section { break-inside: avoid; } }
"""


def page(title: str, header: str, sections: Iterable[str], footer: str) -> str:
    """The whole document."""
    body = "\n".join(sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f"<header>{header}</header>\n<main>\n{body}\n</main>\n<footer>{footer}</footer>\n"
        "</body>\n</html>\n"
    )


def section(anchor: str, title: str, *parts: str) -> str:
    """A section with its heading; empty parts are left out."""
    body = "\n".join(part for part in parts if part)
    return f'<section id="{escape(anchor)}">\n<h2>{escape(title)}</h2>\n{body}\n</section>'


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def figure(
    svg: str, title: str, caption: str, alt: str, numbers: str = "", *, reading: str = ""
) -> str:
    """A figure with one sentence about what it shows, an alt text, and its numbers in a details
    element."""
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)
    more = f"<details><summary>The numbers</summary>{numbers}</details>" if numbers else ""
    text = f"<b>{escape(title)}</b> {escape(caption)}"
    said = f'<p class="reading">{escape(reading)}</p>' if reading else ""
    return f"<figure>{said}{svg}<figcaption>{text}</figcaption>{more}</figure>"


def figures(*items: str) -> str:
    """Figures side by side where there is room."""
    return f'<div class="figures">{"".join(items)}</div>' if any(items) else ""


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", *, raw: bool = False
) -> str:
    """A table whose first column names the row; cells are escaped unless they are HTML (`raw`)."""
    keep = str if raw else escape
    lines = [
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{keep(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    ]
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    return (
        f'<div class="scroll"><table>{title}<thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def tile(number: str, what: str, note: str = "") -> str:
    """One headline figure."""
    more = f"<span>{escape(note)}</span>" if note else ""
    text = f'<b>{escape(number)}</b><span class="what">{escape(what)}</span>'
    return f'<div class="tile">{text}{more}</div>'


def bar(share: float, colour: str = "") -> str:
    """A bar as long as `share` of its cell; decoration only."""
    paint = f";background:var(--{colour})" if colour else ""
    width = 100 * min(max(share, 0.0), 1.0)
    return f'<span class="bar" aria-hidden="true" style="width:{width:.1f}%{paint}"></span>'


def setting(value: Any) -> str:
    """A setting as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(setting(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {setting(item)}" for key, item in value.items())
    return "-" if value is None else str(value)
