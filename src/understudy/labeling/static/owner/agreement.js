// Agreement: by role, labeler, use case, rubric version; over time; pair by pair of labelers.
import { h } from "../lib/dom.js";
import { measure, plain, plot, section, show, table, whisker } from "./parts.js";

const TIES = { drop: "left out", half: "half an agreement", exact: "a vote like the others" };
const ties = new URLSearchParams(location.search).get("ties") ?? "drop";

const known = ({ tables }) =>
  tables.some(({ lines: rows }) => rows.some(({ agreement }) => agreement?.value != null));

const draw = (all) => (known(all) ? numbers(all) : [h("h1", {}, "Agreement"), nothing()]);

/** One sentence instead of a page of "undefined". */
const nothing = () =>
  h(
    "p",
    { class: "card" },
    "Agreement appears here once two labelers have ranked the same prompt: ",
    h("a", { href: "/owner/labelers" }, "invite a second one"),
    " and fill the queue with an overlap (",
    h("code", {}, "understudy labels plan --overlap"),
    ").",
  );

const numbers = (all) => [
  h("h1", {}, "Agreement"),
  h(
    "p",
    { class: "soft" },
    "Share of pairs of responses on which two labelers agree, with 95% intervals over prompts and the counts behind each number. A tie against a preference is:",
  ),
  h(
    "nav",
    { class: "pills", "aria-label": "What a tie counts as" },
    Object.entries(TIES).map(([name, text]) =>
      h(
        "a",
        { class: "pill", href: `?ties=${name}`, "aria-current": name === all.ties ? "true" : null },
        text,
      ),
    ),
  ),
  h(
    "p",
    { class: "soft small" },
    `The tick shows the paper's labelers: ${Math.round(all.paper.training * 1000) / 10}% among training, ${Math.round(all.paper.held_out * 1000) / 10}% among held-out ones.`,
  ),
  all.tables.map((one) => section(one.title, lines(one, all.paper))),
  section(
    "Over time",
    plot(
      all.drift.plot,
      all.drift.alt,
      table(
        "Over time",
        ["Window", "Training", "Held-out", "Gold"],
        all.drift.windows.map((window) => [
          window.label,
          measure(window.training),
          measure(window.held_out),
          measure(window.gold),
        ]),
        { empty: "Time windows appear here as labels come in." },
      ),
    ),
  ),
  section(
    "Flags",
    table(
      "Flags",
      ["Question", ["Yes", true], ["Answers", true], "Alpha"],
      all.flags.map((flag) => [
        flag.question,
        flag.yes,
        flag.answers,
        measure(flag.alpha, { plainNumber: true, counts: false }),
      ]),
      {
        empty: "The flags' agreement appears here once two labelers have rated the same response.",
      },
    ),
  ),
  section(
    "Labeler by labeler",
    h(
      "p",
      { class: "soft" },
      "Pairs on which the two agree, of those on which both have a preference.",
    ),
    matrix(all.breakdown),
  ),
];

function lines({ title, about, lines: rows }, paper) {
  return table(
    title,
    [
      plain(about),
      h("span", { class: "unseen" }, "Picture"),
      "Agreement",
      "Alpha, preferences",
      "Alpha, quality",
      "Alpha, flags",
    ],
    rows.map((line) => [
      line.title,
      whisker(line.agreement, { mark: line.name === "held_out" ? paper.held_out : paper.training }),
      measure(line.agreement),
      ...[line.alpha_preferences, line.alpha_likert, line.alpha_flags].map((alpha) =>
        measure(alpha, { plainNumber: true, counts: false }),
      ),
    ]),
    { empty: "Nobody to compare here yet." },
  );
}

function matrix({ names, cells }) {
  if (!cells.length)
    return h("p", { class: "soft" }, "No two labelers have ranked the same prompt yet.");
  const found = new Map(
    cells.flatMap((cell) => [
      [`${cell.one}/${cell.other}`, cell],
      [`${cell.other}/${cell.one}`, cell],
    ]),
  );
  const box = (row, column) => {
    const cell = found.get(`${row}/${column}`);
    if (!cell) return h("td", { class: "heat none" }, row === column ? "" : "·");
    const both = cell.agreed + cell.disagreed;
    const level = both
      ? Math.min(4, Math.max(0, Math.floor((cell.agreed / both - 0.5) * 10)))
      : "none";
    return h(
      "td",
      { class: `heat heat-${level}`, title: `${cell.left_out} pairs with a tie left out` },
      both ? `${cell.agreed}/${both}` : "ties",
    );
  };
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": "Labeler by labeler" },
    h(
      "table",
      { class: "matrix" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, h("span", { class: "unseen" }, "Labeler")),
          names.map((name) => h("th", { scope: "col" }, name)),
        ),
      ),
      h(
        "tbody",
        {},
        names.map((name, row) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, name),
            names.map((_, column) => box(row, column)),
          ),
        ),
      ),
    ),
  );
}

show(`/api/owner/agreement?ties=${encodeURIComponent(ties)}`, draw);
