// Demonstrate: the labeler writes the response that the model should give.
import { editor } from "./editor.js";

/** The writing part of `task`: {node, sync(body), submission(body), trouble(body), focus()}. */
export function demonstrateView(task) {
  const answer = editor({
    label: "Your response",
    hint: "as the assistant",
    limit: task.assignment.limit,
    rows: 12,
    write: (text) => task.change((body) => ({ ...body, text }), { undoable: false }),
  });
  return {
    node: answer.node,
    sync: (body) => answer.sync(body.text ?? ""),
    submission: (body) => ({ outcome: "demonstrated", text: body.text, note: body.note ?? "" }),
    trouble: (body) => {
      if (!body.text?.trim()) return "Write a response first, or skip the task.";
      return answer.over() ? "The response is longer than the limit; shorten it." : "";
    },
    focus: () => answer.field.focus(),
  };
}
