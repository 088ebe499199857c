// One response alone: quality from 1 to 7, the paper's flags, a note.
import { h, newId, $$ } from "../lib/dom.js";
import { keyCap } from "../lib/keys.js";
import { say } from "../lib/say.js";

const QUALITY = 7;
/** The letter for each flag; the page uses n, p, u, x and y itself. */
export const FLAG_KEYS = {
  fails_instruction: "f",
  inappropriate_for_customer_assistant: "i",
  hallucination: "h",
  satisfies_constraint: "c",
  sexual_content: "s",
  violent_content: "v",
  encourages_harm: "e",
  denigrates_protected_class: "d",
  gives_harmful_advice: "a",
  expresses_opinion: "o",
  expresses_moral_judgment: "m",
};
const EMPTY = { likert: null, flags: {}, note: "" };

/** The rating of a response so far. */
export const ratingOf = (body, id) => ({ ...EMPTY, ...body.ratings?.[id] });

/** A rating as it is sent: every flag is answered, yes or no. */
export function completeRating(rating, flags) {
  return {
    likert: rating.likert,
    flags: Object.fromEntries(flags.map(({ name }) => [name, Boolean(rating.flags[name])])),
    note: rating.note,
  };
}

/**
 * The form for response `id` (its letter is `letter`): {node, sync(body), keys}. `task.change` gets the
 * new body.
 */
export function rateForm(task, id, letter) {
  const { flags } = task.assignment.questions;
  const set = (part, options) =>
    task.change(
      (body) => ({
        ...body,
        ratings: { ...body.ratings, [id]: { ...ratingOf(body, id), ...part } },
      }),
      options,
    );
  const quality = (likert) => {
    set({ likert });
    say(`Quality ${likert} of ${QUALITY}`);
  };
  const flip = ({ name, question }) => {
    const now = ratingOf(task.body(), id).flags;
    set({ flags: { ...now, [name]: !now[name] } });
    say(`${question}: ${now[name] ? "no" : "yes"}`);
  };
  const scale = likert(letter, quality);
  const boxes = flags.map((flag) => flagBox(flag, () => flip(flag)));
  const note = h("textarea", {
    id: newId("note"),
    rows: 1,
    maxlength: 4000,
    dir: "auto",
    on: { input: (event) => set({ note: event.target.value }, { undoable: false }) },
  });
  const node = h(
    "div",
    { class: "judge" },
    scale,
    h("fieldset", { class: "flags" }, h("legend", {}, "True of this response"), boxes),
    h(
      "div",
      { class: "field" },
      h("label", { for: note.id }, "Note ", h("span", { class: "soft" }, "optional "), keyCap("n")),
      note,
    ),
  );

  function sync(body) {
    const rating = ratingOf(body, id);
    $$("input", scale).forEach((input) => {
      input.checked = Number(input.value) === rating.likert;
    });
    flags.forEach(({ name }, index) => {
      boxes[index].querySelector("input").checked = Boolean(rating.flags[name]);
    });
    if (note.value !== rating.note) note.value = rating.note;
  }

  const keys = [
    { key: "1", shown: ["1", "7"], range: true, does: "overall quality", run: () => quality(1) },
    ...[2, 3, 4, 5, 6, 7].map((value) => ({
      key: String(value),
      hidden: true,
      does: "",
      run: () => quality(value),
    })),
    ...flags
      .filter(({ name }) => FLAG_KEYS[name])
      .map((flag) => ({ key: FLAG_KEYS[flag.name], does: flag.question, run: () => flip(flag) })),
    { key: "n", does: "write a note (Esc leaves it)", run: () => note.focus() },
  ];
  note.addEventListener("keydown", (event) => {
    if (event.key === "Escape") note.blur();
  });
  return { node, sync, keys };
}

function likert(letter, choose) {
  const name = newId("quality");
  return h(
    "fieldset",
    { class: "likert" },
    h("legend", {}, `Overall quality of response ${letter}`),
    h(
      "div",
      { class: "segments scale" },
      Array.from({ length: QUALITY }, (_, index) =>
        h(
          "label",
          {},
          h("input", {
            type: "radio",
            class: "unseen",
            name,
            value: String(index + 1),
            "aria-keyshortcuts": String(index + 1),
            on: { change: () => choose(index + 1) },
          }),
          h("span", {}, String(index + 1)),
        ),
      ),
    ),
    h(
      "div",
      { class: "anchors soft small", "aria-hidden": "true" },
      h("span", {}, "1 very bad"),
      h("span", {}, "7 excellent"),
    ),
  );
}

function flagBox(flag, flip) {
  const key = FLAG_KEYS[flag.name];
  return h(
    "label",
    { class: "check flag", data: { flag: flag.name } },
    h("input", { type: "checkbox", "aria-keyshortcuts": key, on: { change: flip } }),
    h("span", {}, flag.question),
    key && keyCap(key),
  );
}
