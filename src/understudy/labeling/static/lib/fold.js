// Folds long texts: the page holds the whole text and limits only its height.
import { fromTree, h, newId } from "./dom.js";
import { keep, kept } from "./keep.js";
import { say } from "./say.js";

const LONG_CHARACTERS = 1200;
const LONG_LINES = 18;

// In scripts without spaces, a word is one character, or four where words are longer (Thai, Lao, ...).
const PIECES =
  /[\u3040-\u312f\u3400-\ua48f\uf900-\ufaff\uff66-\uff9f\u{20000}-\u{3ffff}]|[\u0e00-\u109f\u1780-\u17ff\u1950-\u1aaf\ua980-\ua9df]{1,4}|[^\s\u3040-\u312f\u3400-\ua48f\uf900-\ufaff\uff66-\uff9f\u{20000}-\u{3ffff}\u0e00-\u109f\u1780-\u17ff\u1950-\u1aaf\ua980-\ua9df]+/gu;

/** "1 word", "12 words": as `labeling/tokens.py` counts them. */
export function inWords(text) {
  const pieces = (text.match(PIECES) ?? []).filter((piece) => /[\p{L}\p{N}]/u.test(piece));
  return pieces.length === 1 ? "1 word" : `${pieces.length} words`;
}
export const isLong = (text) =>
  text.length > LONG_CHARACTERS || text.split("\n").length > LONG_LINES;

/** Show responses as plain text, or as Markdown again. */
export function togglePlain() {
  const plain = document.documentElement.dataset.text !== "plain";
  keep("plain", plain);
  showPlain(plain);
  say(plain ? "Plain text" : "Markdown");
}

function showPlain(plain) {
  document.documentElement.dataset.text = plain ? "plain" : "";
}
showPlain(kept("plain") === true);

/** A text and, if the project shows Markdown, its rendering; only one of the two is visible. */
export const proseOf = (text, tree = null, attributes = {}) =>
  h(
    "div",
    { class: "prose", dir: "auto", translate: "no", ...attributes },
    tree?.length
      ? [h("div", { class: "rich" }, fromTree(tree)), h("div", { class: "source" }, text)]
      : text.trim()
        ? text
        : h("span", { class: "soft" }, "(empty)"),
  );

/**
 * A text as written, or as its Markdown `tree`: {node, toggle}. `toggle` is null if there is nothing
 * to fold.
 */
export function foldable(text, { folded = isLong(text), tree = null, onToggle = () => {} } = {}) {
  const id = newId("text");
  const body = proseOf(text, tree, { id });
  if (!folded) return { node: body, toggle: null };
  const button = h("button", {
    class: "link fold",
    type: "button",
    "aria-controls": id,
    "aria-expanded": "false",
  });
  const toggle = (open = body.classList.contains("folded")) => {
    body.classList.toggle("folded", !open);
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? "Fold" : `Show all ${inWords(text)}`;
    onToggle(open);
  };
  button.addEventListener("click", () => toggle());
  toggle(false);
  return { node: h("div", { class: "fold-box" }, body, button), toggle };
}

/** The turns of a conversation; for a single user turn the speaker is hidden. */
export function conversation(turns, { fold = false } = {}) {
  const names = { user: "User", assistant: "Assistant", system: "System" };
  return h(
    "div",
    { class: turns.length > 1 ? "turns" : "turns single" },
    turns.map((turn) =>
      h(
        "div",
        { class: `turn ${turn.role}` },
        h(
          "p",
          { class: turns.length > 1 || turn.role !== "user" ? "speaker" : "speaker unseen" },
          names[turn.role] ?? turn.role,
        ),
        foldable(turn.content, fold ? {} : { folded: false }).node,
      ),
    ),
  );
}
