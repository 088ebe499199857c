// After practice: the researcher's answer beside the labeler's own, and the reason for it.
import { h } from "../lib/dom.js";
import { foldable } from "../lib/fold.js";
import { promptCard } from "./frame.js";
import { placesOf } from "./tiers.js";

const plain = (name) => name.replaceAll("_", " ");

/** The comparison of both answers as a card; its button calls `next()`. */
export function feedbackCard(assignment, feedback, submission, letters, next) {
  const share =
    feedback.agreement === null || feedback.agreement === undefined
      ? null
      : Math.round(feedback.agreement * 100);
  return h(
    "div",
    { class: "feedback" },
    h(
      "h1",
      { tabindex: -1 },
      share === null
        ? "The researcher's answer"
        : `You agree with the researcher on ${share}% of the pairs`,
    ),
    h(
      "section",
      { class: "card why", "aria-label": "Why" },
      h("h2", {}, "Why"),
      h(
        "p",
        { class: "prose", dir: "auto", translate: "no" },
        feedback.why || "The researcher gave no reason for this answer.",
      ),
    ),
    promptCard(assignment, { fold: true }),
    sideBySide(assignment, feedback.expected, submission, letters),
    assignment.kind === "rank" ? table(feedback.expected, submission, letters) : null,
    h(
      "div",
      { class: "buttons" },
      h(
        "button",
        { class: "primary", type: "button", id: "next-task", on: { click: next } },
        "Continue",
      ),
    ),
  );
}

/** Both answers side by side: rankings with the texts in their tiers, or two texts. */
function sideBySide(assignment, expected, mine, letters) {
  const column = (name, ...inside) =>
    h("section", { class: "card", "aria-label": name }, h("h2", {}, name), ...inside);
  if (assignment.kind !== "rank")
    return h(
      "div",
      { class: "halves" },
      column("Your response", foldable(mine.text ?? "").node),
      column("The researcher's response", foldable(expected?.text ?? "").node),
    );
  return h(
    "div",
    { class: "halves" },
    column("Your ranking", tiersShown(assignment, mine.tiers, letters)),
    column("The researcher's ranking", tiersShown(assignment, expected?.tiers, letters)),
  );
}

/** A ranking of the assignment's responses, with their texts. */
export function tiersShown(assignment, tiers, letters) {
  if (!tiers?.length) return h("p", { class: "soft" }, "No ranking.");
  const answer = Object.fromEntries(assignment.answers.map((one) => [one.id, one]));
  const prose = ({ text, tree }) => foldable(text, { tree }).node;
  const placed = (id) => h("div", { class: "placed" }, h("b", {}, letters[id]), prose(answer[id]));
  return h(
    "ol",
    { class: "tiers-shown" },
    tiers.map((tier) => h("li", {}, tier.map(placed))),
  );
}

function table(expected, mine, letters) {
  const [theirPlaces, myPlaces] = [placesOf(expected?.tiers ?? []), placesOf(mine.tiers ?? [])];
  const rows = Object.entries(letters).map(([id, letter]) => {
    const [theirs, own] = [expected?.ratings?.[id], mine.ratings?.[id]];
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, letter),
      cells(myPlaces[id], theirPlaces[id]),
      cells(own?.likert, theirs?.likert),
      h("td", {}, flagsThatDiffer(own?.flags, theirs?.flags)),
    );
  });
  return h(
    "div",
    {
      class: "scroll",
      tabindex: 0,
      role: "group",
      "aria-label": "Your answers beside the researcher's",
    },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ["Response", "Your tier", "Theirs", "Your quality", "Theirs", "Flags that differ"].map(
            (name) => h("th", { scope: "col" }, name),
          ),
        ),
      ),
      h("tbody", {}, rows),
    ),
  );
}

function cells(mine, theirs) {
  const off = theirs !== undefined && mine !== theirs;
  return [
    h("td", { class: "number" }, mine ?? "–"),
    h("td", { class: off ? "number differs" : "number" }, theirs ?? "–"),
  ];
}

function flagsThatDiffer(mine = {}, theirs = null) {
  if (!theirs) return "–";
  const names = Object.keys(theirs).filter((name) => Boolean(theirs[name]) !== Boolean(mine[name]));
  return names.length
    ? names.map((name) => `${plain(name)}: ${theirs[name] ? "yes" : "no"}`).join("; ")
    : "none";
}
