// A task on the page, whatever its kind.
import { drawRanking } from "./ranking.js";
import { drawSent } from "./sent.js";
import { drawWriting } from "./writing.js";

/** Draw `task`; returns {sync, showStep, missing, submission, tell, pause, stop}. */
export function drawTask(task, page) {
  if (task.finished && !task.assignment.changeable) return drawSent(task, page);
  return task.assignment.kind === "rank" ? drawRanking(task, page) : drawWriting(task, page);
}
