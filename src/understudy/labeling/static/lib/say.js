// Announcements to screen readers, and toasts.
import { h } from "./dom.js";

const LEFT = "understudy:said";

let region = null;
let toasts = null;

/** Announce `text` to a screen reader, politely; repeats are announced again. */
export function say(text) {
  if (!region) {
    region = h("div", { class: "unseen", role: "status", "aria-live": "polite", id: "announcer" });
    document.body.append(region);
  }
  region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}

/**
 * Show `text` at the foot of the page; with `action` ({label, run}) it has a button and stays longer.
 * Hovering or focusing keeps it open. Returns a function that removes it.
 */
export function toast(text, { action = null, kind = "plain", seconds = action ? 12 : 6 } = {}) {
  if (!toasts) {
    toasts = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
    document.body.append(toasts);
  }
  const button =
    action &&
    h(
      "button",
      {
        class: "link",
        type: "button",
        on: {
          click: () => {
            away();
            action.run();
          },
        },
      },
      action.label,
    );
  const close = h(
    "button",
    { class: "quiet icon", type: "button", "aria-label": "Dismiss", on: { click: () => away() } },
    "×",
  );
  const box = h("div", { class: `toast ${kind}` }, h("span", {}, text), button, close);
  let timer = null;
  const away = () => {
    clearTimeout(timer);
    box.remove();
  };
  const start = () => {
    clearTimeout(timer);
    timer = setTimeout(away, seconds * 1000);
  };
  box.addEventListener("pointerenter", () => clearTimeout(timer));
  box.addEventListener("pointerleave", start);
  box.addEventListener("focusin", () => clearTimeout(timer));
  box.addEventListener("focusout", start);
  toasts.replaceChildren(box);
  start();
  return away;
}

/** Go to `path` and show `text` there, since a toast on this page would be lost. */
export function leave(path, text) {
  try {
    sessionStorage.setItem(LEFT, text);
  } catch {
    // Storage is off: the text is lost, but the next page shows the result.
  }
  location.assign(path);
}

/** Show the text that the previous page left, once. */
function arrive() {
  try {
    const text = sessionStorage.getItem(LEFT);
    if (text === null) return;
    sessionStorage.removeItem(LEFT);
    toast(text);
  } catch {
    // Storage is off.
  }
}

arrive();
