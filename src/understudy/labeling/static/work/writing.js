// A writing task: a demonstration, or prompts.
import { h } from "../lib/dom.js";
import { useKeys } from "../lib/keys.js";
import { demonstrateView } from "./demonstrate.js";
import { button, desk, foot, generalKeys, pauseDesk, promptCard, taskHead } from "./frame.js";
import { promptsView } from "./prompts.js";
import { tagsOf } from "./tags.js";

/** Draw the task; returns what `drawTask` does. */
export function drawWriting(task, page) {
  const { assignment } = task;
  const view = assignment.kind === "demonstrate" ? demonstrateView(task) : promptsView(task);
  const tags = assignment.prompt ? tagsOf(task) : null;
  const bottom = foot(
    button("Skip: the task is unclear", () => page.skip()),
    sendButton(task, page),
  );
  page.put(
    taskHead(assignment),
    desk(
      [promptCard(assignment, { fold: true }), tags?.node],
      [h("div", { class: "card" }, view.node), bottom.node],
      "writing",
    ),
  );
  const keys = useKeys("This task", [
    { key: "Control+Enter", does: "send", run: () => page.submit() },
    ...generalKeys(task, page),
  ]);
  const sync = (body) => {
    view.sync(body);
    tags?.sync(body.tags);
    bottom.tell("");
  };
  const missing = () => {
    const text = view.trouble(task.body());
    bottom.tell(text);
    if (text) view.focus();
    return text;
  };
  sync(task.body());
  view.focus();
  return {
    sync,
    missing,
    submission: view.submission,
    showStep() {},
    tell: bottom.tell,
    pause: pauseDesk,
    stop: keys,
  };
}

const sendButton = (task, page) =>
  button(task.finished ? "Send the change" : "Send", () => page.submit(), {
    key: "Control+Enter",
    main: true,
    id: "submit",
  });
