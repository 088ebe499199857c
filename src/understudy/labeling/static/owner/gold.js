// Gold items: for practice, for screening, mixed into the work.
import { h, newId } from "../lib/dom.js";
import { openDialog } from "../lib/keys.js";
import { post } from "../lib/net.js";
import {
  actButton,
  clip,
  field,
  measure,
  plain,
  plot,
  section,
  select,
  show,
  table,
  when,
} from "./parts.js";

const draw = (gold) => [
  h("h1", {}, "Gold items"),
  h(
    "p",
    { class: "soft" },
    "Items that a researcher has answered. Practice shows that answer afterwards; screening and mixed-in items never reveal that they are gold.",
  ),
  rateForm(gold.rate),
  section(
    "Items",
    table(
      "Gold items",
      ["Prompt", "Kind", "Use", "Why", "By", ["Answered", true], "Right", ""],
      gold.items.map((item) => [
        clip(item.excerpt),
        plain(item.kind),
        h("span", { class: "badge plain" }, item.retired_at ? "retired" : item.use),
        clip(item.why),
        item.author,
        item.answered,
        measure(item.accuracy),
        item.retired_at
          ? ""
          : actButton(
              "Retire",
              () => change(`/api/owner/gold/${encodeURIComponent(item.item_id)}/retire`),
              { small: true },
            ),
      ]),
      {
        empty:
          "Gold items appear here: make them from items that a researcher has answered, below.",
      },
    ),
  ),
  section(
    "Could become gold",
    h("p", { class: "soft" }, "Answered by a researcher."),
    table(
      "Could become gold",
      ["Prompt", "Kind", "By", "When", ""],
      gold.could_be.map((item) => [
        clip(item.excerpt),
        plain(item.kind),
        item.author,
        when(item.at),
        actButton("Make gold", () => askUse(item), { small: true }),
      ]),
      {
        empty:
          "Items that a researcher has answered under Work appear here and can be made gold: invite a researcher under Labelers.",
      },
    ),
  ),
  section(
    "By labeler",
    gold.items.length
      ? plot(
          gold.plot,
          gold.alt,
          table(
            "By labeler",
            ["Name", "Rankings", "Flags"],
            gold.labelers.map((one) => [one.name, measure(one.accuracy), measure(one.flags)]),
            { empty: "Labelers appear here once they have done a mixed-in gold item." },
          ),
        )
      : h(
          "p",
          { class: "soft" },
          "Each labeler's results on gold items appear here once there are some.",
        ),
  ),
];

function rateForm(rate) {
  const input = h("input", {
    type: "number",
    id: "rate",
    min: 0,
    max: 50,
    step: 1,
    value: String(Math.round(rate * 100)),
  });
  return h(
    "div",
    { class: "card form-row" },
    field("Mixed in, percent of each labeler's items", input),
    actButton("Set", () => change("/api/owner/gold/rate", { rate: Number(input.value) / 100 })),
  );
}

function askUse(item) {
  const use = select(newId("use"), [
    ["practice", "practice"],
    ["screening", "screening"],
    ["mixed", "mixed in"],
  ]);
  const why = h("textarea", { id: newId("why"), rows: 3, dir: "auto" });
  const dialog = h(
    "dialog",
    { "aria-label": "Make it gold" },
    h("h2", {}, "Make it gold"),
    h("p", { class: "clip", dir: "auto", translate: "no" }, item.excerpt),
    field("Use", use),
    field("Why this answer", why, "shown after practice"),
    h(
      "div",
      { class: "buttons" },
      h("button", { class: "quiet", type: "button", on: { click: () => dialog.close() } }, "Back"),
      actButton(
        "Make gold",
        async () => {
          await change("/api/owner/gold", {
            item_id: item.item_id,
            use: use.value,
            why: why.value.trim(),
          });
          dialog.close();
        },
        { main: true },
      ),
    ),
  );
  openDialog(dialog);
}

async function change(path, body = {}) {
  await post(path, body);
  await load();
}

const load = () => show("/api/owner/gold", draw);
load();
