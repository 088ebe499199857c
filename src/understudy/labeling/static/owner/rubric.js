// The rubric: its versions with their changes, and an editor for the next one.
import { h, newId, put } from "../lib/dom.js";
import { post } from "../lib/net.js";
import { prose } from "../lib/prose.js";
import { toast } from "../lib/say.js";
import { actButton, count, field, section, show, when } from "./parts.js";

const draw = ({ versions }) => [
  h("h1", {}, "Rubric"),
  h(
    "p",
    { class: "soft" },
    "The labelers' instructions, by version. Each label records the version that it followed. Everybody reads a new version before their next item.",
  ),
  editor(versions),
  section(
    "Versions",
    versions.map((version, index) =>
      h(
        "details",
        { class: "card version", open: index === 0 },
        h(
          "summary",
          {},
          h("b", {}, version.version),
          " ",
          when(version.created_at),
          h(
            "span",
            { class: "soft" },
            ` · ${count(version.num_labels, "label")} · read by ${version.read_by} of ${version.of}`,
          ),
        ),
        h(
          "p",
          { class: "small" },
          `Training: ${version.priorities.join(", ")}. Final evaluation: ${version.evaluation_priorities.join(", ")}.`,
        ),
        version.diff
          ? h("details", {}, h("summary", {}, "What changed"), diffLines(version.diff))
          : null,
        h("div", { class: "rubric", dir: "auto" }, prose(version.instructions)),
      ),
    ),
  ),
];

function editor([newest]) {
  const name = h("input", {
    type: "text",
    id: "version",
    maxlength: 40,
    value: next(newest?.version),
  });
  const text = h("textarea", {
    id: "instructions",
    rows: 18,
    value: newest?.instructions ?? "",
    dir: "auto",
  });
  const [training, evaluation] = [
    newest?.priorities ?? ["helpful", "truthful", "harmless"],
    newest?.evaluation_priorities ?? ["truthful", "harmless", "helpful"],
  ].map(orderField);
  const changes = h("div", { role: "status" });
  const preview = actButton("Show what changes", async () =>
    put(
      changes,
      diffLines((await post("/api/owner/rubrics/preview", { instructions: text.value })).diff),
    ),
  );
  const publish = actButton(
    "Publish this version",
    async () => {
      await post("/api/owner/rubrics", {
        version: name.value.trim(),
        instructions: text.value,
        priorities: training.order(),
        evaluation_priorities: evaluation.order(),
      });
      toast("Published. Everybody reads it before their next item.");
      await load();
    },
    { main: true },
  );
  return h(
    "details",
    { class: "card" },
    h("summary", {}, "Write the next version"),
    field("Name", name),
    field(
      "Instructions",
      text,
      "plain text; a blank line between paragraphs, # for headings, - for lists",
    ),
    h(
      "div",
      { class: "halves" },
      h("div", {}, h("p", { class: "label" }, "Priorities for training labels"), training.node),
      h("div", {}, h("p", { class: "label" }, "Priorities for final evaluation"), evaluation.node),
    ),
    changes,
    h("div", { class: "buttons" }, preview, publish),
  );
}

/** "v2" -> "v3"; a name without a number gets one. */
function next(version = "v0") {
  const found = /^(.*?)(\d+)$/.exec(version);
  return found ? `${found[1]}${Number(found[2]) + 1}` : `${version}-2`;
}

/** An ordered list whose lines move up and down. */
function orderField(initial) {
  const order = [...initial];
  const node = h("ol", { class: "orderable", id: newId("order") });
  const move = (index, by) => {
    [order[index], order[index + by]] = [order[index + by], order[index]];
    redraw();
    node.children[index + by].querySelector("button:not([disabled])")?.focus();
  };
  const arrow = (name, index, by, sign) =>
    h(
      "button",
      {
        type: "button",
        class: "quiet icon",
        "aria-label": `${name} ${by < 0 ? "up" : "down"}`,
        disabled: !order[index + by],
        on: { click: () => move(index, by) },
      },
      sign,
    );
  const redraw = () =>
    put(
      node,
      order.map((name, index) =>
        h(
          "li",
          {},
          h("span", { class: "grow" }, name),
          arrow(name, index, -1, "↑"),
          arrow(name, index, 1, "↓"),
        ),
      ),
    );
  redraw();
  return { node, order: () => order };
}

function diffLines(lines) {
  const classes = { "+": "added", "-": "removed", "=": "same" };
  if (!lines?.some(([sign]) => sign !== "=")) return h("p", { class: "soft" }, "Nothing changes.");
  return h(
    "pre",
    { class: "diff", tabindex: 0, "aria-label": "What changes" },
    lines.map(([sign, line]) =>
      h("span", { class: classes[sign] ?? "same" }, `${sign === "=" ? " " : sign} ${line}\n`),
    ),
  );
}

const load = () => show("/api/owner/rubrics", draw);
load();
