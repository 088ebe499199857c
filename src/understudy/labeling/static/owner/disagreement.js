// One disagreement: each labeler's submission, blind, and the owner's decision.
import { $, h, newId } from "../lib/dom.js";
import { conversation } from "../lib/fold.js";
import { showKeys, useKeys } from "../lib/keys.js";
import { get, post } from "../lib/net.js";
import { leave, say } from "../lib/say.js";
import { rankView } from "../work/rank.js";
import { placesOf, tiersOf, unplaced } from "../work/tiers.js";
import { actButton, field, plain, section, select, show, table, tierLine, when } from "./parts.js";

const itemId = decodeURIComponent(location.pathname.split("/")[3]);

function draw(item) {
  const letters = Object.fromEntries(
    item.answers.map(({ id }, index) => [id, String.fromCharCode(65 + index)]),
  );
  const ids = item.answers.map(({ id }) => id);
  const task = localTask(item, () => ranking.sync(task.body()));
  const ranking = rankView(task, letters);
  ranking.sync(task.body());
  const note = h("textarea", {
    id: newId("note"),
    rows: 2,
    value: item.decision?.note ?? "",
    dir: "auto",
  });
  const gold = select("gold", [
    ["", "no"],
    ["practice", "for practice"],
    ["screening", "for screening"],
    ["mixed", "mixed into work"],
  ]);

  const decide = async (verdict) => {
    const left = unplaced(task.body().places, ids);
    if (verdict === "ranked" && left.length)
      throw new Error(`Response ${letters[left[0]]} has no tier yet.`);
    await post(`/api/owner/disagreements/${encodeURIComponent(item.item_id)}`, {
      verdict,
      tiers: verdict === "ranked" ? tiersOf(task.body().places, ids) : [],
      note: note.value.trim(),
      gold: gold.value || null,
    });
    const { items } = await get("/api/owner/disagreements");
    const next = items.find((other) => other.item_id !== item.item_id);
    leave(`/owner/disagreements${next ? `/${next.item_id}` : ""}`, "Decided.");
  };
  useKeys("Ranking", [
    ...ranking.keys,
    {
      key: "u",
      does: "undo",
      run: () => {
        say(task.undo() ? "Undone" : "Nothing to undo");
      },
    },
  ]);

  return [
    h(
      "div",
      { class: "task-head" },
      h(
        "div",
        {},
        h("h1", {}, "Decide a disagreement"),
        h(
          "p",
          { class: "soft small" },
          `For ${item.purpose}${item.use_case ? ` · ${plain(item.use_case)}` : ""}`,
        ),
      ),
      h("a", { href: "/owner/disagreements" }, "All disagreements"),
    ),
    h(
      "div",
      { class: "desk ranking" },
      h(
        "div",
        { class: "reading" },
        h(
          "section",
          { class: "card prompt", "aria-label": "Prompt" },
          h("h2", {}, "Prompt"),
          conversation(item.prompt.turns, { fold: true }),
        ),
        ranking.cards,
        labelsTable(item, letters),
        pairsTable(item, letters),
      ),
      h(
        "div",
        { class: "judging" },
        h(
          "div",
          { class: "card ladder-card" },
          h("h2", {}, "Your ranking"),
          ranking.panel,
          item.suggested?.length
            ? h(
                "p",
                { class: "small" },
                "Estimated from the labels: ",
                h("b", {}, tierLine(item.suggested, letters)),
                " ",
                actButton(
                  "Use this ranking",
                  () => {
                    task.change((body) => ({ ...body, places: placesOf(item.suggested) }));
                  },
                  { small: true },
                ),
              )
            : null,
        ),
        h(
          "div",
          { class: "card" },
          field("Why", note),
          field("Make it a gold item", gold),
          item.decision
            ? h(
                "p",
                { class: "soft small" },
                `Decided: ${plain(item.decision.verdict)} by ${item.decision.by}, `,
                when(item.decision.at),
              )
            : null,
        ),
        h(
          "div",
          { class: "foot" },
          actButton("Decide this ranking", () => decide("ranked"), { main: true }),
          h(
            "div",
            { class: "row spread" },
            actButton("Ask for more labels", () => decide("more_labels"), { small: true }),
            actButton("Cannot be ranked", () => decide("cannot_rank"), { small: true }),
            actButton("Set aside", () => decide("set_aside"), { small: true }),
          ),
        ),
      ),
    ),
  ];
}

/** The ranking being decided, with undo; it exists on this page only. */
function localTask(item, redraw) {
  let body = { places: placesOf(item.decision?.tiers ?? []), ratings: {} };
  const past = [];
  return {
    assignment: { answers: item.answers },
    body: () => body,
    change(make) {
      past.push(body);
      body = make(body);
      redraw();
    },
    undo() {
      if (!past.length) return false;
      body = past.pop();
      redraw();
      return true;
    },
  };
}

function labelsTable(item, letters) {
  const opinion = (label, id) => {
    const rating = label.ratings?.[id];
    const tier = label.tiers?.findIndex((ids) => ids.includes(id));
    const flags = Object.entries(rating?.flags ?? {})
      .filter(([, yes]) => yes)
      .map(([name]) => plain(name));
    return h(
      "span",
      {},
      tier >= 0 ? h("b", {}, `tier ${tier + 1}`) : "–",
      rating?.likert ? `, ${rating.likert} of 7` : "",
      flags.length ? h("small", { class: "basis soft" }, flags.join(", ")) : null,
      rating?.note ? h("small", { class: "basis", dir: "auto" }, `“${rating.note}”`) : null,
    );
  };
  return section(
    "What the labelers said",
    table(
      "What the labelers said",
      ["Labeler", "Ranking", ...Object.values(letters)],
      item.labels.map((label, index) => [
        `Labeler ${index + 1}`,
        h(
          "span",
          {},
          label.outcome === "ranked"
            ? tierLine(label.tiers, letters)
            : h("span", { class: "badge warn" }, plain(label.outcome)),
          label.note ? h("small", { class: "basis", dir: "auto" }, `“${label.note}”`) : null,
        ),
        ...item.answers.map(({ id }) => opinion(label, id)),
      ]),
      { empty: "Each labeler's submission appears here." },
    ),
  );
}

function pairsTable(item, letters) {
  const rows = item.pairs
    .filter((pair) => pair.for_first && pair.for_second)
    .map((pair) => [
      `${letters[pair.first]} or ${letters[pair.second]}`,
      pair.for_first,
      pair.ties,
      pair.for_second,
      pair.estimate === null
        ? "undefined"
        : `${Math.round(pair.estimate * 100)}% for ${letters[pair.first]}`,
    ]);
  return section(
    "Contested pairs",
    table(
      "Contested pairs",
      [
        "Pair",
        ["For the first", true],
        ["Ties", true],
        ["For the second", true],
        "Estimate, by the labelers' reliability",
      ],
      rows,
      { empty: "There is no pair on which two labelers disagree." },
    ),
  );
}

$("#help").addEventListener("click", showKeys);
show(`/api/owner/disagreements/${encodeURIComponent(itemId)}`, draw);
