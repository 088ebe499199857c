// Two responses side by side, with their differences highlighted.
import { h } from "../lib/dom.js";
import { inWords } from "../lib/fold.js";
import { keyCap, openDialog } from "../lib/keys.js";
import { say } from "../lib/say.js";
import { difference, side } from "./difference.js";

/**
 * Marks responses for comparison. The returned function marks or unmarks one, shows the difference
 * once two are marked, and updates the Compare button of every card.
 */
export function comparing(responses, letters, cards) {
  let marked = [];
  return function toggle(id) {
    marked = marked.includes(id) ? marked.filter((other) => other !== id) : [...marked, id];
    if (marked.length === 2) {
      const chosen = marked.map((one) => responses.find((response) => response.id === one));
      showDifference(chosen, letters);
      marked = [];
    } else if (marked.length) {
      say(`Response ${letters[id]} chosen; choose another to compare it with.`);
    }
    for (const other of Object.keys(cards))
      cards[other].offer(marked.includes(other), letters[marked[0]]);
  };
}

/** A dialog with both responses, their differences marked word by word. */
function showDifference([left, right], letters) {
  const parts = difference(left.text, right.text);
  const both = { class: "columns", tabindex: 0, role: "group", "aria-label": "Both responses" };
  const title = `Responses ${letters[left.id]} and ${letters[right.id]}`;
  const head = h(
    "header",
    {},
    h("h2", { id: "difference-title" }, title),
    keyCap("Escape"),
    h("button", { class: "quiet icon", "aria-label": "Close" }, "×"),
  );
  const columns = h(
    "div",
    both,
    column(left, letters[left.id], side(parts, "left")),
    column(right, letters[right.id], side(parts, "right")),
  );
  openDialog(
    h(
      "dialog",
      { class: "difference", "aria-labelledby": "difference-title" },
      h("form", { method: "dialog" }, head, columns),
    ),
  );
}

const column = (response, letter, marked) =>
  h(
    "section",
    { "aria-label": `Response ${letter}` },
    h(
      "h3",
      {},
      h("b", { class: "letter" }, letter),
      h("span", { class: "soft small" }, ` ${inWords(response.text)}`),
    ),
    h("div", { class: "prose", dir: "auto", translate: "no" }, marked),
  );
