"""Responses as Markdown: a safe subset, as a tree of elements that the page builds node by node.

Generates no HTML: a response's own markup stays text, and links and images become their text with
the address written out, so that nothing is fetched or clickable. Pygments colours code; LaTeX
becomes MathML, which browsers render. Invalid LaTeX and very long or deeply nested texts stay as
written.
"""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.texmath import texmath_plugin
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, String
from pygments.util import ClassNotFound

Node = str | list[Any]
"""A text, or [tag, attributes, children]."""
MAX_TEXT = 50_000
MAX_FORMULA = 2_000
MAX_CODE = 20_000
_TAGS = {
    **dict(paragraph="p", bullet_list="ul", ordered_list="ol", list_item="li", hr="hr"),
    **dict(blockquote="blockquote", em="em", strong="strong", s="s", hardbreak="br"),
    **dict(table="table", thead="thead", tbody="tbody", tr="tr", th="th", td="td"),
}
_MATH_TAGS = frozenset(
    "math mrow mi mn mo ms mtext mspace msup msub msubsup mfrac msqrt mroot mover munder "
    "munderover mtable mtr mtd mstyle mpadded mphantom mmultiscripts mprescripts none".split()
)
_MATH_ATTRIBUTES = frozenset(
    "display mathvariant stretchy fence separator accent form lspace rspace minsize maxsize "
    "linethickness columnalign rowspacing columnspacing width symmetric movablelimits".split()
)
_COLOURS = (
    (Comment, "tok-c"),
    (Keyword, "tok-k"),
    (String, "tok-s"),
    (Number, "tok-n"),
    (Name.Function, "tok-f"),
    (Name.Class, "tok-f"),
    (Name.Builtin, "tok-f"),
)


@lru_cache(maxsize=2000)
def markdown_tree(text: str) -> list[Node] | None:
    """The nodes of a text; None for one that is shown as plain text.

    >>> markdown_tree("A *good* one")
    [['p', {}, ['A ', ['em', {}, ['good']], ' one']]]
    """
    if len(text) > MAX_TEXT:
        return None
    return _all(SyntaxTreeNode(_parser().parse(text)))


def shown_texts(texts: Mapping[str, str], *, markdown: bool) -> list[dict[str, Any]]:
    """Responses by their names on the page, with their `tree` where the project shows Markdown."""
    if not markdown:
        return [{"id": name, "text": text} for name, text in texts.items()]
    return [{"id": n, "text": text, "tree": markdown_tree(text)} for n, text in texts.items()]


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.disable(["html_block", "html_inline"])
    parser.use(dollarmath_plugin, allow_digits=False, allow_space=False, double_inline=True)
    return parser.use(texmath_plugin, delimiters="brackets")


def _all(node: SyntaxTreeNode) -> list[Node]:
    return [made for child in node.children for made in _nodes(child)]


def _nodes(node: SyntaxTreeNode) -> list[Node]:
    kind = node.type
    if kind == "text":
        return [node.content] if node.content else []
    if kind == "softbreak":
        return ["\n"]
    if kind == "inline":
        return _all(node)
    if kind == "heading":  # below the page's own headings
        return [[f"h{min(6, int(node.tag[1:]) + 3)}", {}, _all(node)]]
    if kind == "code_inline":
        return [["code", {}, [node.content]]]
    if kind in ("fence", "code_block"):
        return [["pre", {"tabindex": "0"}, [["code", {}, _coloured(node.content, node.info)]]]]
    if kind == "link":
        return [*_all(node), _address(str(node.attrs.get("href", "")), _text(node))]
    if kind == "image":
        address = _address(str(node.attrs.get("src", "")), "")
        return [["span", {"class": "aside"}, [f"[picture: {_text(node) or 'unnamed'}]"]], address]
    if "math" in kind:
        return [_formula(node.content, block="block" in kind or "double" in kind)]
    tag = _TAGS.get(kind)
    if tag is None:
        return _all(node) if node.children else [node.content]
    start = node.attrs.get("start")
    return [[tag, {} if start is None else {"start": str(start)}, _all(node)]]


def _text(node: SyntaxTreeNode) -> str:
    return "".join(one.content for one in node.walk() if one.type in ("text", "code_inline"))


def _address(address: str, text: str) -> Node:
    """The address written out, unless the text already contains it."""
    if address.removeprefix("mailto:") == text:
        return ""
    return ["span", {"class": "aside"}, [f" ({address})"]]


def _coloured(code: str, info: str) -> list[Node]:
    name = re.match(r"[\w+#.-]*", info.strip())
    try:
        lexer = get_lexer_by_name(name[0] if name else "", stripnl=False)
    except ClassNotFound:
        return [code]
    if len(code) > MAX_CODE:
        return [code]
    found: list[Node] = []
    for kind, piece in lexer.get_tokens(code):
        colour = next((colour for family, colour in _COLOURS if kind in family), None)
        if colour is not None:
            found.append(["span", {"class": colour}, [piece]])
        elif found and isinstance(found[-1], str):
            found[-1] += piece
        else:
            found.append(piece)
    return found


def _formula(latex: str, *, block: bool) -> Node:
    latex = latex.strip()
    source: Node = ["code", {}, [latex]]
    if not latex or len(latex) > MAX_FORMULA:
        return source
    try:
        made = _mathml(convert_to_element(latex, display="block" if block else "inline"))
    except Exception:  # whatever its parser fails on, the source is still readable
        return source
    made[1]["alttext"] = latex
    return made


def _mathml(element: Element) -> list[Any]:
    """An element if its tag is allowed, else an mrow with its children."""
    tag = element.tag.rpartition("}")[2]
    attributes = {name: value for name, value in element.attrib.items() if name in _MATH_ATTRIBUTES}
    inside: list[Node] = [element.text] if element.text else []
    for child in element:
        inside.append(_mathml(child))
        if child.tail:
            inside.append(child.tail)
    return [tag if tag in _MATH_TAGS else "mrow", attributes, inside]
