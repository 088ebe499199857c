// Items on which labelers disagree, worst first.
import { h } from "../lib/dom.js";
import { plain, show, table } from "./parts.js";

const STATES = { open: "Open", decided: "Decided", all: "All" };
const state = new URLSearchParams(location.search).get("state") ?? "open";

const draw = (found) => [
  h("h1", {}, "Disagreements"),
  h(
    "nav",
    { class: "pills", "aria-label": "Which" },
    Object.entries(STATES).map(([name, text]) =>
      h(
        "a",
        {
          class: "pill",
          href: `?state=${name}`,
          "aria-current": name === found.state ? "true" : null,
        },
        text,
      ),
    ),
  ),
  h(
    "p",
    { class: "soft" },
    found.total > found.items.length
      ? `The worst ${found.items.length} of ${found.total}.`
      : `${found.total} in all, worst first.`,
  ),
  table(
    "Disagreements",
    [
      "Prompt",
      ["Agreement", true],
      ["Contested pairs", true],
      ["Rankings", true],
      ["Unsure", true],
      "Use case",
      "Decided",
    ],
    found.items.map((item) => [
      h(
        "a",
        {
          href: `/owner/disagreements/${item.item_id}`,
          class: "clip",
          dir: "auto",
          translate: "no",
        },
        item.excerpt,
      ),
      item.agreement === null ? "–" : `${Math.round(item.agreement * 100)}%`,
      item.contested,
      item.num_rankings,
      item.unsure,
      plain(item.use_case),
      item.decided
        ? h("span", { class: "badge plain" }, plain(item.decided.verdict))
        : h("span", { class: "badge warn" }, "open"),
    ]),
    {
      empty:
        "Items on which labelers disagree appear here, worst first, once two of them have ranked the same prompt (labels plan --overlap).",
    },
  ),
];

show(`/api/owner/disagreements?state=${encodeURIComponent(state)}`, draw);
