// What was sent and cannot be changed: practice with its feedback, screening, a prompt that was written.
import { h } from "../lib/dom.js";
import { foldable } from "../lib/fold.js";
import { useKeys } from "../lib/keys.js";
import { feedbackCard, tiersShown } from "./feedback.js";
import { button, desk, lettersOf, promptCard, taskHead } from "./frame.js";

/** Draw the finished task to read; returns what `drawTask` does. */
export function drawSent(task, page) {
  const { assignment } = task;
  const { feedback, submitted } = assignment;
  const letters = lettersOf(assignment);
  const on = () => location.assign("/work");
  if (feedback) page.put(feedbackCard(assignment, feedback, submitted.body, letters, on));
  else
    page.put(
      taskHead(assignment),
      desk(
        [promptCard(assignment, { fold: true })],
        [
          h("div", { class: "card" }, h("h2", {}, "What you sent"), parts(assignment, letters)),
          h("div", { class: "buttons" }, button("Continue", on, { key: "Enter", main: true })),
        ],
        "writing",
      ),
    );
  const keys = useKeys("This task", [{ key: "Enter", does: "go on", run: on }]);
  const nothing = () => {};
  return {
    sync: nothing,
    missing: nothing,
    submission: () => submitted.body,
    showStep: nothing,
    tell: nothing,
    pause: nothing,
    stop: keys,
  };
}

function parts(assignment, letters) {
  const { tiers, text, prompt, response, examples = [] } = assignment.submitted.body;
  if (assignment.kind === "rank") return tiersShown(assignment, tiers, letters);
  const named = [
    ["", text],
    [examples.length ? "Instruction" : "Prompt", prompt],
    ...examples.flatMap((one, index) => [
      [`Query ${index + 1}`, one.query],
      [`Response ${index + 1}`, one.response],
    ]),
    ["Response", response],
  ];
  return named
    .filter(([, words]) => words)
    .map(([name, words]) => [name && h("h3", {}, name), foldable(words).node]);
}
