// @ts-check
// Keyboard shortcuts: one key per action, off while somebody types; `?` lists them all. Letters and
// digits go by their place on the keyboard, so that they work in every layout; the page shows what is
// printed there, as far as the browser or earlier key presses reveal it. With Control, Latin letters go
// by what is printed, as in every other program.
import { h, put } from "./dom.js";
import { keep, kept } from "./keep.js";
import { say } from "./say.js";

/**
 * @typedef {object} Key
 * @property {string} key
 * @property {string} does
 * @property {(event: KeyboardEvent) => unknown} run false leaves the key to the browser
 * @property {boolean} [hidden]
 * @property {string[]} [shown]
 * @property {boolean} [range]
 */

/** @type {{title: string, keys: Key[]}[]} tables of keys, newest last */
const tables = [];
const NAMES = {
  ArrowUp: "↑",
  ArrowDown: "↓",
  ArrowLeft: "←",
  ArrowRight: "→",
  " ": "Space",
  Escape: "Esc",
  "Control+Enter": "Ctrl + Enter",
  Backspace: "⌫",
};
const TYPES_TEXT = new Set(["text", "search", "email", "password", "number", "url", "tel", "date"]);

/**
 * Listen to a table of keys until the returned function is called. `key` is a KeyboardEvent key; a
 * letter (in lower case) or digit means its place on a US keyboard. "Control+" before it means that
 * Control must be held, and "Control+Shift+" Shift too. `shown` are the keys to list instead, with a
 * dash between them if `range`. `run(event)` may return false to leave the key to the browser.
 *
 * @param {string} title
 * @param {Key[]} keys
 */
export function useKeys(title, keys) {
  const table = { title, keys };
  tables.push(table);
  return () => {
    if (tables.includes(table)) tables.splice(tables.indexOf(table), 1);
  };
}

export const singleKeysOn = () => kept("keys") !== "off";

/** Whether keys are text for the focused control. */
export function typesText(target) {
  if (target.matches?.("textarea, select, [contenteditable]")) return true;
  return target.matches?.("input") && TYPES_TEXT.has(target.type);
}

/** Whether the focused control needs the key itself. */
function ownedByControl(target, key) {
  if (
    (key === "Enter" || key === " ") &&
    target.closest?.("button, a[href], summary, input, label")
  )
    return true;
  return key.startsWith("Arrow") && target.matches?.('input[type="radio"], input[type="range"]');
}

/** What is printed on each key in this person's layout: {a: "q"} on a French keyboard. */
const printed = new Map();

/** The key of a US keyboard at the place of a letter or digit; null for other places. */
function placeOf({ code = "", key }) {
  const found = /^(?:Key([A-Z])|Digit(\d)|Numpad(\d))$/.exec(code);
  if (!found || (found[3] && !/^\d$/.test(key))) return null; // the number pad may move the cursor instead
  return (found[1] ?? found[2] ?? found[3]).toLowerCase();
}

const isSymbol = (key) => key.length === 1 && !/[\p{L}\p{N}]/u.test(key);

function keyOf(event) {
  const place = placeOf(event);
  const known = tables.some((table) => table.keys.some(({ key }) => key === event.key));
  const literal = isSymbol(event.key) && (event.key === "?" || known);
  const typed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const key = literal ? event.key : (place ?? typed);
  if (!event.ctrlKey && !event.metaKey) return key;
  const chord = /^[a-z]$/.test(typed) ? typed : key;
  return `Control+${event.shiftKey && chord.length === 1 ? "Shift+" : ""}${chord}`;
}

/** Remember what is printed on a letter's key, and show it wherever the key is shown. */
function learn(place, letter) {
  if (!/^[a-z]$/.test(place) || letter.length !== 1 || !/\p{L}/u.test(letter)) return;
  const shown = letter.toLocaleUpperCase();
  if ((printed.get(place) ?? place.toUpperCase()) === shown) return;
  printed.set(place, shown);
  for (const cap of document.querySelectorAll(`kbd[data-key="${place}"]`)) cap.textContent = shown;
}

const { keyboard } = /** @type {any} */ (navigator); // Chromium only
keyboard
  ?.getLayoutMap?.()
  .then((map) => {
    for (const [code, letter] of map) {
      const place = placeOf({ code, key: letter });
      if (place) learn(place, letter);
    }
  })
  .catch(() => {});

document.addEventListener("keydown", (event) => {
  if (
    event.defaultPrevented ||
    event.isComposing ||
    event.altKey ||
    document.querySelector("dialog[open]")
  )
    return;
  const key = keyOf(event);
  if (placeOf(event) && !event.ctrlKey && !event.metaKey) learn(placeOf(event), event.key);
  const chord = key.startsWith("Control+");
  if (!chord && (typesText(event.target) || ownedByControl(event.target, key))) return;
  if (!chord && key.length === 1 && key !== "?" && !singleKeysOn()) return;
  if (key === "?") {
    event.preventDefault();
    showKeys();
    return;
  }
  for (const table of [...tables].reverse()) {
    const entry = table.keys.find((candidate) => candidate.key === key);
    if (entry && entry.run(event) !== false) return event.preventDefault();
  }
});

const nameOf = (key) =>
  NAMES[key] ?? printed.get(key) ?? (key.length === 1 ? key.toUpperCase() : key);

/** A small picture of a key; hidden from screen readers, which use aria-keyshortcuts. */
export const keyCap = (key) => h("kbd", { "aria-hidden": "true", data: { key } }, nameOf(key));

/** The dialog with all keys that currently work. */
export function showKeys() {
  const groups = tables
    .filter((table) => table.keys.some((entry) => !entry.hidden))
    .map((table) =>
      h(
        "section",
        {},
        h("h3", {}, table.title),
        h(
          "dl",
          { class: "keys" },
          table.keys
            .filter((entry) => !entry.hidden)
            .map((entry) =>
              h(
                "div",
                {},
                h(
                  "dt",
                  {},
                  (entry.shown ?? [entry.key]).map((key, index) => [
                    index && entry.range ? "–" : null,
                    h("kbd", { data: { key } }, nameOf(key)),
                  ]),
                ),
                h("dd", {}, entry.does),
              ),
            ),
        ),
      ),
    );
  const toggle = h("input", {
    type: "checkbox",
    checked: singleKeysOn(),
    on: {
      change: (event) => {
        keep("keys", event.target.checked ? "on" : "off");
        say(event.target.checked ? "Single-key shortcuts are on" : "Single-key shortcuts are off");
      },
    },
  });
  const dialog = h(
    "dialog",
    { class: "keys-dialog", "aria-labelledby": "keys-title" },
    h(
      "form",
      { method: "dialog" },
      h(
        "header",
        {},
        h("h2", { id: "keys-title" }, "Keys"),
        h("button", { class: "quiet icon", "aria-label": "Close" }, "×"),
      ),
      put(h("div", { class: "keys-groups" }), ...groups),
      h(
        "label",
        { class: "check" },
        toggle,
        h("span", {}, "Single-key shortcuts (turn off if they conflict with other software)"),
      ),
    ),
  );
  openDialog(dialog);
}

/** Show a dialog, remove it from the page when it closes, and restore the focus. */
export function openDialog(dialog) {
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    dialog.remove();
    before?.focus?.({ preventScroll: true });
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.showModal();
  return dialog;
}
