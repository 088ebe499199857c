// The steps of a ranking task as buttons: a response each, then all of them.
import { h } from "../lib/dom.js";

/** The step on which all responses are ranked. */
export const RANK = "rank";

/** The buttons: {node, sync(current, isDone)}; `go(step)` is called for a click. */
export function makeStepper(steps, letters, go) {
  const buttons = steps.map((step) =>
    h(
      "button",
      { type: "button", class: "step", on: { click: () => go(step) } },
      h("span", {}, letters[step] ?? "Rank"),
    ),
  );
  const node = h(
    "nav",
    { class: "stepper", "aria-label": "Steps" },
    h(
      "ol",
      {},
      buttons.map((one) => h("li", {}, one)),
    ),
  );
  function sync(current, isDone) {
    steps.forEach((step, index) => {
      const [button, done] = [buttons[index], isDone(step)];
      button.classList.toggle("done", done);
      button.toggleAttribute("aria-current", false);
      if (step === current) button.setAttribute("aria-current", "step");
      const name = step === RANK ? "Rank all" : `Rate response ${letters[step]}`;
      button.setAttribute("aria-label", `${name}${done ? ", done" : ""}`);
    });
  }
  return { node, sync };
}
