"""Every error code that the gateway's source has is in the table of ways on, and no other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import understudy.serving
from understudy.serving.ways import WAYS
from understudy.serving.wire import UNSUPPORTED

FOLDER = Path(understudy.serving.__file__).parent


def texts(node: ast.expr | None) -> Iterator[str]:
    """The string literals that an expression may give."""
    if isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Name) and node.id == "UNSUPPORTED":
        yield UNSUPPORTED


def codes(tree: ast.AST) -> Iterator[str]:
    """What is given as `code=`, as error_body's third argument, or assigned to a name `code`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "code":
                    yield from texts(keyword.value)
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name == "error_body" and len(node.args) == 3:
                yield from texts(node.args[2])
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id == "code":
                yield from texts(node.value)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            names = [getattr(target, "id", "") for target in node.targets[0].elts]
            if "code" in names and isinstance(node.value, ast.Tuple):
                yield from texts(node.value.elts[names.index("code")])


def test_every_error_code_has_a_way_on() -> None:
    found = {
        code
        for path in FOLDER.glob("*.py")
        if path.name != "ways.py"
        for code in codes(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert len(found) > 8
    assert {way.state for way in WAYS} - {"answered"} == found
