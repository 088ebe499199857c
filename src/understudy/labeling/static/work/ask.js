// Dialogs: skip, cannot rank, unsure, two drafts.
import { h, newId } from "../lib/dom.js";
import { openDialog } from "../lib/keys.js";

/** A dialog with a form; the main button resolves it to `read()`, anything else to null. */
function question({ title, lead = null, fields, yes, no = "Back", read, danger = false }) {
  return new Promise((resolve) => {
    const id = newId("question");
    let answer = null;
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id }, title),
      lead && h("p", {}, lead),
      fields,
      h(
        "div",
        { class: "buttons" },
        h("button", { class: "quiet", type: "button", on: { click: () => dialog.close() } }, no),
        h("button", { class: danger ? "primary danger" : "primary", type: "submit" }, yes),
      ),
    );
    const dialog = h("dialog", { "aria-labelledby": id }, form);
    form.addEventListener("submit", () => {
      answer = read();
    });
    dialog.addEventListener("close", () => resolve(answer));
    openDialog(dialog);
  });
}

/** Why the task is skipped, one of `reasons` ({name, title}): {reason, note} or null. */
export function askSkip(reasons) {
  const name = newId("reason");
  const radios = reasons.map(({ name: value, title: label }, index) =>
    h(
      "label",
      { class: "check" },
      h("input", { type: "radio", name, value, checked: index === 0 }),
      h("span", {}, label),
    ),
  );
  const note = noteField("Something to add?", "");
  return question({
    title: "Skip this task",
    lead: "Somebody else will get it.",
    yes: "Skip",
    fields: [
      h("fieldset", { class: "reasons" }, h("legend", { class: "unseen" }, "Reason"), radios),
      note.node,
    ],
    read: () => ({
      reason: radios.map((label) => label.querySelector("input")).find((input) => input.checked)
        .value,
      note: note.field.value.trim(),
    }),
  });
}

/** Why there is no ranking: a note or null. `outcome` is "cannot_rank" or "unsure". */
export function askNoRanking(outcome, note) {
  const words =
    outcome === "unsure"
      ? [
          "I am unsure",
          "You have read the responses and cannot decide. This is not the same as a tie.",
        ]
      : [
          "These cannot be ranked",
          "For example, all are unusable in ways that cannot be compared, or the prompt makes no sense.",
        ];
  const field = noteField("Why?", note);
  return question({
    title: words[0],
    lead: words[1],
    yes: "Send",
    fields: [field.node],
    read: () => field.field.value.trim(),
  });
}

/** Two drafts of one task: "mine" or "theirs". */
export async function askDraft({ mine, theirs }) {
  const when = (at) => (at ? new Date(at).toLocaleString() : "some time ago");
  const answer = await question({
    title: "There are two drafts of this task",
    yes: "Use the one here",
    no: "Use the saved one",
    lead: "Another tab or device saved this task after this page did. Which draft do you want to keep?",
    fields: [
      h(
        "dl",
        { class: "two" },
        h(
          "div",
          {},
          h("dt", {}, "Here"),
          h("dd", {}, when(mine.at), h("pre", { class: "excerpt" }, excerpt(mine.body))),
        ),
        h(
          "div",
          {},
          h("dt", {}, "Saved"),
          h("dd", {}, when(theirs.saved_at), h("pre", { class: "excerpt" }, excerpt(theirs.body))),
        ),
      ),
    ],
    read: () => "mine",
  });
  return answer ?? "theirs";
}

/** "replace" or null: the task was submitted elsewhere in the meantime. */
export const askReplace = () =>
  question({
    title: "This task was already sent",
    lead: "Another tab or device already sent an answer. Your answer here can replace it.",
    yes: "Replace it with this one",
    no: "Keep what was sent",
    fields: [],
    read: () => "replace",
  });

function noteField(label, value) {
  const field = h("textarea", { id: newId("why"), rows: 2, maxlength: 4000, value, dir: "auto" });
  return { node: h("div", { class: "field" }, h("label", { for: field.id }, label), field), field };
}

function excerpt(body) {
  if (!body) return "(empty)";
  if (body.text ?? body.prompt) return (body.text ?? body.prompt).slice(0, 200);
  const rated = Object.values(body.ratings ?? {}).filter((rating) => rating.likert).length;
  const placed = Object.values(body.places ?? {}).filter(Boolean).length;
  return `${rated} rated, ${placed} placed`;
}
