// The parts of every task: its head, the prompt, the two panels, the row of buttons.
import { $, h } from "../lib/dom.js";
import { conversation, togglePlain } from "../lib/fold.js";
import { keyCap, typesText } from "../lib/keys.js";
import { say } from "../lib/say.js";

export const KINDS = { rank: "Rate and rank", demonstrate: "Demonstrate", write: "Write a prompt" };
export const STAGES = { practice: "Practice", screening: "Screening" };

/** "first helpful, then truthful, then harmless" */
export const priorityText = (priorities) =>
  priorities.map((name, index) => `${index ? "then" : "first"} ${name}`).join(", ");

/** Letters for the responses in the order shown: {a1: "A", …}. */
export const lettersOf = (assignment) =>
  Object.fromEntries(
    (assignment.answers ?? []).map(({ id }, index) => [id, String.fromCharCode(65 + index)]),
  );

/** The line above a task; `extra` (the steps) goes to its right. */
export function taskHead(assignment, extra = null) {
  const stage = STAGES[assignment.stage];
  return h(
    "div",
    { class: "task-head" },
    h(
      "div",
      {},
      h("h1", { tabindex: -1 }, KINDS[assignment.kind]),
      h(
        "p",
        { class: "soft small" },
        stage && h("span", { class: "badge" }, stage),
        assignment.state === "done" &&
          h("span", { class: "badge" }, assignment.changeable ? "Sent; you can change it" : "Sent"),
        h("a", { href: "/instructions" }, `Priorities: ${priorityText(assignment.priorities)}`),
      ),
    ),
    extra,
  );
}

/** The prompt as a card or, if the labeler is to write one, the brief. */
export function promptCard(assignment, { fold = false } = {}) {
  if (assignment.prompt)
    return h(
      "section",
      { class: "card prompt", "aria-label": "Prompt" },
      h("h2", {}, "Prompt"),
      conversation(assignment.prompt.turns, { fold }),
    );
  const { text } = assignment.brief ?? {};
  return h(
    "section",
    { class: "card prompt", "aria-label": "What to write" },
    h("h2", {}, "What to write"),
    h("div", { class: "prose", dir: "auto", translate: "no" }, text || "A prompt of your own."),
  );
}

/** Two panels: what to read, and what to judge. */
export function desk(reading, judging, kind) {
  return h(
    "div",
    { class: `desk ${kind}` },
    h("section", { class: "reading", "aria-label": "To read" }, reading),
    h("section", { class: "judging", "aria-label": "To judge" }, judging),
  );
}

/** A button with its key; `main` makes it the primary one. */
export function button(label, run, { key = null, main = false, id = null } = {}) {
  return h(
    "button",
    {
      type: "button",
      id,
      class: main ? "primary" : "quiet",
      "aria-keyshortcuts": key,
      on: { click: run },
    },
    label,
    key && keyCap(key),
  );
}

/** A button that looks like a link, for rare actions. */
export const linkButton = (label, run) =>
  h("button", { type: "button", class: "link", on: { click: run } }, label);

/** The row of buttons under a task, with the line that says what is missing: {node, tell(text)}. */
export function foot(...buttons) {
  const trouble = h("p", { class: "trouble", role: "alert" });
  return {
    node: h("div", { class: "foot" }, trouble, h("div", { class: "buttons" }, buttons)),
    tell: (text) => {
      trouble.textContent = text;
    },
  };
}

/** The keys that every task has. */
export const generalKeys = (task, page) => [
  {
    key: "u",
    does: "undo",
    run: () => {
      say(task.undo() ? "Undone" : "Nothing to undo");
    },
  },
  {
    key: "Control+z",
    hidden: true,
    does: "",
    run: (event) => !typesText(event.target) && task.undo(),
  },
  {
    key: "y",
    does: "redo",
    run: () => {
      say(task.redo() ? "Redone" : "Nothing to redo");
    },
  },
  ...["Control+y", "Control+Shift+z"].map((key) => ({
    key,
    hidden: true,
    does: "",
    run: (event) => !typesText(event.target) && task.redo(),
  })),
  { key: "x", does: "skip the task", run: () => page.skip() },
  ...((task.assignment.answers ?? []).some(({ tree }) => tree)
    ? [{ key: "p", does: "switch between plain text and Markdown", run: togglePlain }]
    : []),
];

/** Block the task while an answer is being sent. */
export const pauseDesk = (on) => {
  $("#stage").inert = on;
};
