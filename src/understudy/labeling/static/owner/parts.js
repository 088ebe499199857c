// Shared by the owner's pages that the browser draws: times, tables, fields, action buttons.
import { $, $$, h, put } from "../lib/dom.js";
import { get } from "../lib/net.js";
import { toast } from "../lib/say.js";
import { askOverThePage } from "../lib/session.js";

if (document.documentElement.dataset.name) askOverThePage(document.documentElement.dataset.name);

export const when = (at) =>
  at
    ? h(
        "time",
        { datetime: at, title: at },
        new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }),
      )
    : "–";
export const plain = (name) => String(name ?? "–").replaceAll("_", " ");
export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

/** Fetch `path` and show the nodes that `draw(data)` returns, or the error, in #page. */
export async function show(path, draw) {
  const page = $("#page");
  page.setAttribute("aria-busy", "true");
  try {
    put(page, await draw(await get(path, { pending: () => wait(page) })));
  } catch (error) {
    put(
      page,
      h(
        "div",
        { class: "card" },
        h("p", { class: "trouble", role: "alert" }, error.message),
        h(
          "button",
          { type: "button", class: "quiet", on: { click: () => show(path, draw) } },
          "Try again",
        ),
      ),
    );
  }
  page.setAttribute("aria-busy", "false");
}

/** Say that the numbers take a while. */
function wait(page) {
  if ($$(".pending", page).length) return;
  const text = "The numbers are being computed. They appear here when they are ready.";
  put(page, h("p", { class: "card soft pending", role: "status" }, text));
}

/** A button that runs `act()` once at a time and reports errors. */
export function actButton(label, act, { main = false, small = false, danger = false } = {}) {
  const button = h(
    "button",
    {
      type: "button",
      class: small ? "link small" : main ? "primary" : danger ? "quiet danger" : "quiet",
    },
    label,
  );
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await act();
    } catch (error) {
      toast(error.message, { kind: "problem" });
    }
    button.disabled = false;
  });
  return button;
}

/** A section with a heading. */
export function section(title, ...children) {
  return h("section", { class: "block", "aria-label": title }, h("h2", {}, title), ...children);
}

/**
 * A table in its own scrolling box. `columns`: [title, isNumber?]; `rows`: lists of cells. Without rows
 * it shows `empty`, which says what will appear and what to do.
 */
export function table(title, columns, rows, { empty } = {}) {
  if (!rows.length) return h("p", { class: "soft" }, empty);
  const names = columns.map((column) => (Array.isArray(column) ? column : [column]));
  const cell = (content, index) => {
    const isNumber = names[index][1];
    return h(
      index ? "td" : "th",
      { class: isNumber ? "number" : null, scope: index ? null : "row" },
      content,
    );
  };
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": title },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          names.map(([name, isNumber]) =>
            h("th", { scope: "col", class: isNumber ? "number" : null }, name),
          ),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((row) => h("tr", {}, row.map(cell))),
      ),
    ),
  );
}

/** Tiers of responses as one line: "B > A = C". */
export const tierLine = (tiers, letters) =>
  tiers?.length
    ? tiers.map((tier) => tier.map((id) => letters[id] ?? id).join(" = ")).join(" > ")
    : "–";

/** A labeled field for forms. */
export function field(label, control, hint = "") {
  return h(
    "div",
    { class: "field" },
    h("label", { for: control.id }, label, hint && h("span", { class: "soft" }, ` ${hint}`)),
    control,
  );
}

/** A select with [value, text] options. */
export function select(id, options, value = null) {
  const node = h(
    "select",
    { id, name: id },
    options.map(([key, text]) => h("option", { value: key }, text)),
  );
  if (value !== null) node.value = value;
  return node;
}
