// After practice: the researcher's answer beside one's own, and why.
import { h } from "../lib/dom.js";
import { placesOf } from "./tiers.js";

const plain = (name) => name.replaceAll("_", " ");

/** The comparison as a card; `next()` goes on. */
export function feedbackCard(assignment, feedback, submission, letters, next) {
  const share =
    feedback.agreement === null || feedback.agreement === undefined
      ? null
      : Math.round(feedback.agreement * 100);
  return h(
    "div",
    { class: "narrow feedback" },
    h(
      "h1",
      { tabindex: -1 },
      share === null
        ? "How a researcher answered"
        : `You agree with the researcher on ${share}% of the pairs`,
    ),
    h("p", { class: "prose", dir: "auto" }, feedback.why),
    assignment.kind === "rank" ? table(feedback.expected, submission, letters) : null,
    feedback.expected?.text
      ? h(
          "section",
          { class: "card" },
          h("h2", {}, "The researcher's answer"),
          h("div", { class: "prose", dir: "auto" }, feedback.expected.text),
        )
      : null,
    h(
      "div",
      { class: "buttons" },
      h(
        "button",
        { class: "primary", type: "button", id: "next-task", on: { click: next } },
        "Go on",
      ),
    ),
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
          ["Answer", "Your tier", "Theirs", "Your quality", "Theirs", "Flags that differ"].map(
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
