// Shared by the owner's pages: numbers with intervals, tables, plots, action buttons.
import { $, $$, h, put, svg } from "../lib/dom.js";
import { get } from "../lib/net.js";
import { toast } from "../lib/say.js";
import { askOverThePage } from "../lib/session.js";

if (document.documentElement.dataset.name) askOverThePage(document.documentElement.dataset.name);

const percent = (value) => `${Math.round(value * 100)}%`;
export const when = (at) =>
  at
    ? h(
        "time",
        { datetime: at, title: at },
        new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }),
      )
    : "–";
/** Somebody's text, cut after two lines. */
export const clip = (text) => h("span", { class: "clip", dir: "auto", translate: "no" }, text);
export const plain = (name) => String(name ?? "–").replaceAll("_", " ");
export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

/** Load `path` into #page by `draw(data)`, which returns nodes; also shows a failure there. */
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

/** Say that the numbers take a while; the page shows them once they are ready. */
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

/** A section with a heading; `lead` is a sentence under it. */
export function section(title, ...children) {
  return h("section", { class: "block", "aria-label": title }, h("h2", {}, title), ...children);
}

/**
 * A table in its own scrolling box. `columns`: [title, isNumber?]; `rows`: lists of cells; `empty` says,
 * if there are none, what will appear and what to do.
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

/** A share with its interval as text, or why there is none. `plainNumber` is for alpha. */
export function measure(value, { plainNumber = false, counts = true } = {}) {
  if (!value) return h("span", { class: "soft" }, "–");
  if (value.value === null || value.value === undefined)
    return counts
      ? h("small", { class: "soft" }, value.undefined)
      : h("span", { class: "soft", title: value.undefined }, "–");
  const say = plainNumber ? (number) => number.toFixed(2) : percent;
  const interval =
    value.low === null || value.low === undefined
      ? "no interval"
      : plainNumber
        ? `${say(value.low)} to ${say(value.high)}`
        : `${Math.round(value.low * 100)}–${say(value.high)}`;
  const basis = counts
    ? h(
        "small",
        { class: "soft basis" },
        `${count(value.n, "pair")}, ${count(value.num_prompts, "prompt")}${value.num_left_out ? `, ${value.num_left_out} left out` : ""}`,
      )
    : null;
  return h(
    "span",
    { class: "measure", title: value.undefined || null },
    h("span", { class: "figure" }, h("b", {}, say(value.value)), ` (${interval})`),
    basis,
  );
}

/** A picture of a measure: its interval as a line, its value as a dot, `mark` as a tick. */
export function whisker(value, { from = 0.4, to = 1, mark = null } = {}) {
  const [width, height] = [140, 22];
  const x = (number) =>
    6 + ((Math.min(to, Math.max(from, number)) - from) / (to - from)) * (width - 12);
  const known = value && value.value !== null && value.value !== undefined;
  return svg(
    "svg",
    { class: "whisker", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" },
    svg("line", { class: "axis", x1: x(from), x2: x(to), y1: 11, y2: 11 }),
    mark === null ? null : svg("line", { class: "mark", x1: x(mark), x2: x(mark), y1: 3, y2: 19 }),
    known && value.low !== null
      ? svg("line", { class: "interval", x1: x(value.low), x2: x(value.high), y1: 11, y2: 11 })
      : null,
    known ? svg("circle", { class: "dot", cx: x(value.value), cy: 11, r: 4.5 }) : null,
  );
}

/** A server-made plot with its description; a folded table below has the numbers. */
export function plot(source, alt, numbers = null) {
  return h(
    "figure",
    { class: "plot" },
    h("img", { src: source, alt, loading: "lazy" }),
    numbers ? h("details", {}, h("summary", {}, "The numbers"), numbers) : null,
  );
}

/** One number with its name. */
export const tile = (number, name, go = null) =>
  h(
    go ? "a" : "div",
    { class: "tile", href: go },
    h("b", {}, String(number ?? "–")),
    h("span", {}, name),
  );

/** Alarms, each with the sentence that explains it. */
export function alarmList(alarms, clear) {
  if (!alarms.length) return h("p", { class: "soft" }, "No alarms.");
  return h(
    "ul",
    { class: "alarms" },
    alarms.map((alarm) =>
      h(
        "li",
        {},
        h("span", { class: "badge warn" }, plain(alarm.kind)),
        h(
          "span",
          { class: "grow" },
          h("a", { href: `/owner/labelers/${alarm.account_id}` }, alarm.name),
          ` ${alarm.text} `,
          h("span", { class: "soft small" }, "since ", when(alarm.since)),
        ),
        alarm.id && clear ? actButton("Clear", () => clear(alarm), { small: true }) : null,
      ),
    ),
  );
}

/** Tiers of responses as one line: "B > A = C". */
export const tierLine = (tiers, letters) =>
  tiers?.length
    ? tiers.map((tier) => tier.map((id) => letters[id] ?? id).join(" = ")).join(" > ")
    : "–";

/** A text with a button that copies it. */
export function copyable(text, name) {
  const field = h("input", {
    readonly: true,
    value: text,
    "aria-label": name,
    on: { focus: (event) => event.target.select() },
  });
  field.readOnly = true;
  const button = h(
    "button",
    {
      type: "button",
      class: "quiet",
      on: {
        click: async () => {
          field.select();
          try {
            await navigator.clipboard.writeText(text);
            toast("Copied.");
          } catch {
            document.execCommand?.("copy");
          }
        },
      },
    },
    "Copy",
  );
  return h("div", { class: "copy" }, field, button);
}

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
