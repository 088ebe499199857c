// A text field that grows with its text and shows its number of tokens against the limit.
import { h, newId } from "../lib/dom.js";
import { inWords } from "../lib/fold.js";
import { post, Unreached } from "../lib/net.js";

const PAUSE_MS = 300;
const NEAR = 0.9;

/**
 * A field labeled `label`: {node, field, sync(text), over()}. `write(text)` gets each change. The
 * server counts tokens with the model's tokenizer; while it is unreachable, words are shown instead.
 */
export function editor({ label, hint = "", limit = null, rows = 10, write }) {
  const [fieldId, countId] = [newId("editor"), newId("count")];
  const field = h("textarea", {
    id: fieldId,
    rows,
    dir: "auto",
    translate: "no",
    "aria-describedby": countId,
    spellcheck: "true",
    class: "editor",
    on: {
      input: () => {
        write(field.value);
        grow();
        count();
      },
    },
  });
  const meter = h("meter", {
    min: 0,
    max: limit?.count ?? 1,
    high: (limit?.count ?? 1) * NEAR,
    value: 0,
    "aria-hidden": "true",
    hidden: !limit,
  });
  const counted = h("span", { id: countId, class: "count soft small" });
  const node = h(
    "div",
    { class: "field editor-field" },
    h("label", { for: fieldId }, label, hint && h("span", { class: "soft" }, ` ${hint}`)),
    field,
    h("div", { class: "count-line" }, meter, counted),
  );
  let [timer, tooLong, asked] = [null, false, 0];

  function grow() {
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + 2}px`;
  }

  function count() {
    clearTimeout(timer);
    if (limit) timer = setTimeout(ask, PAUSE_MS);
    else counted.textContent = inWords(field.value);
  }

  async function ask() {
    asked += 1;
    const mine = asked;
    try {
      const reply = await post("/api/tokens", { text: field.value });
      if (mine === asked) showCount(reply.count, reply.limit, reply.unit);
    } catch (error) {
      const why =
        error instanceof Unreached ? "tokens are counted once you are online" : error.message;
      if (mine === asked) counted.textContent = `${inWords(field.value)} (${why})`;
    }
  }

  function showCount(number, most, unit) {
    tooLong = number > most;
    Object.assign(meter, { max: most, high: most * NEAR, value: number });
    counted.textContent = tooLong
      ? `${number} of ${most} ${unit}: ${number - most} too many`
      : `${number} of ${most} ${unit}`;
    node.classList.toggle("over", tooLong);
  }

  function sync(text) {
    if (field.value !== text) {
      field.value = text;
      count();
    }
    requestAnimationFrame(grow);
  }
  count();
  return { node, field, sync, over: () => tooLong };
}
