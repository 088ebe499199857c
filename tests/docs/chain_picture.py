"""docs/record_chain.svg; `make docs` draws it.

Boxes are tables of the store and what lies around it; an arrow goes from what is there first to
what hangs on it. A box's table must be one of the store's.
"""

from understudy.store.tables import metadata

WIDTH, HEIGHT, BOX_W, BOX_H = 980, 330, 128, 44
BOXES = {
    # name: (column, row, title, second line, table or "")
    "keys": (0, 0, "API key", "hash, limits", "api_keys"),
    "users": (0, 1, "user", "consent, organisation", "users"),
    "log": (1, 0, "gateway's log", "with consent only", ""),
    "prompts": (1, 1, "prompt", "split, use case", "prompts"),
    "responses": (2, 0, "response", "model, seed", "responses"),
    "feedback": (3, 0, "feedback", "thumb, choice, text", "feedback"),
    "labelers": (2, 2, "labeler", "role for good", "labelers"),
    "rubrics": (3, 2, "rubric", "version, priorities", "rubrics"),
    "labels": (3, 1, "label", "never changed: revised", "labels"),
    "datasets": (4, 1, "dataset", "frozen, hashed", "datasets"),
    "runs": (5, 1, "run", "sft, reward, ppo", ""),
    "models": (5, 0, "model", "what the gateway serves", ""),
}
ARROWS = (
    ("users", "keys", ""),
    ("keys", "log", "serve"),
    ("log", "prompts", "add"),
    ("users", "prompts", ""),
    ("prompts", "responses", "sample"),
    ("responses", "feedback", ""),
    ("responses", "labels", "rating, ranking"),
    ("prompts", "labels", "demonstration"),
    ("labelers", "labels", ""),
    ("rubrics", "labels", ""),
    ("labels", "datasets", "export"),
    ("datasets", "runs", ""),
    ("runs", "models", ""),
)
STYLE = (
    ".on{paint-order:stroke;stroke:#fff;stroke-width:4px}"
    "text{font:13px sans-serif;fill:#222}.small{font-size:11px;fill:#555}"
    ".box{fill:#eef3fb;stroke:#4a6fa5;rx:6}.outside{fill:#f6f6f2;stroke:#999;rx:6}"
    "path{fill:none;stroke:#4a6fa5;stroke-width:1.4}"
)


def picture() -> str:
    """The SVG's text."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-label="The record chain, from a user\'s key to a model and back">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" style="fill:#4a6fa5;stroke:none"/>'
        "</marker></defs>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        *(_arrow(*arrow) for arrow in ARROWS),
        *(_box(name) for name in BOXES),
        f'<text class="small" x="16" y="{HEIGHT - 14}">blue: tables of the store; grey: files. '
        "Deleting a user deletes everything along the arrows.</text>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _place(name: str) -> tuple[float, float]:
    """The middle of a box."""
    column, row = BOXES[name][:2]
    return 80 + 164 * column, 50 + 96 * row


def _box(name: str) -> str:
    x, y = _place(name)
    _, _, title, second, table = BOXES[name]
    assert not table or table in metadata.tables, table
    kind = "box" if table else "outside"
    return (
        f'<rect class="{kind}" x="{x - BOX_W / 2:g}" y="{y - BOX_H / 2:g}" width="{BOX_W}" '
        f'height="{BOX_H}"/><text x="{x:g}" y="{y - 3:g}" text-anchor="middle">{title}</text>'
        f'<text class="small" x="{x:g}" y="{y + 13:g}" text-anchor="middle">{second}</text>'
    )


def _arrow(start: str, end: str, label: str) -> str:
    (x, y), (to_x, to_y) = _place(start), _place(end)
    if to_x == x:
        sign = 1 if to_y > y else -1
        y, to_y = y + sign * BOX_H / 2, to_y - sign * BOX_H / 2
        middle = f"L{to_x:g} {to_y:g}"
    else:
        x, to_x = x + BOX_W / 2, to_x - BOX_W / 2
        bend = (x + to_x) / 2
        middle = f"C{bend:g} {y:g} {bend:g} {to_y:g} {to_x:g} {to_y:g}"
    at_x, at_y = (x + to_x) / 2, (y + to_y) / 2
    anchor = "start" if to_x == x else "middle"
    shift = 6 if to_x == x else 0
    text = (
        f'<text class="small on" x="{at_x + shift:g}" y="{at_y - 6:g}" text-anchor="{anchor}">'
        f"{label}</text>"
        if label
        else ""
    )
    return f'<path d="M{x:g} {y:g}{middle}" marker-end="url(#end)"/>{text}'
