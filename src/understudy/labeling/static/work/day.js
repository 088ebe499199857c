// The day's progress in the bar: tasks done, the pace, tasks left.
import { $, h, put } from "../lib/dom.js";
import { get } from "../lib/net.js";
import { KINDS } from "./frame.js";

/** "2 min 10 s" */
export function duration(seconds) {
  const [minutes, rest] = [Math.floor(seconds / 60), Math.round(seconds % 60)];
  return minutes ? `${minutes} min${rest && minutes < 10 ? ` ${rest} s` : ""}` : `${rest} s`;
}

/** The start of the labeler's local day. */
function midnight() {
  const start = new Date();
  start.setHours(0, 0, 0, 0);
  return start;
}

/** Fetch the day's progress and show it; what is shown stays if that fails. */
export async function showDay(kind) {
  let day = null;
  try {
    day = await get(`/api/day?since=${encodeURIComponent(midnight().toISOString())}`);
  } catch {
    return null;
  }
  put($("#day"), ...(day.stage === "active" ? active(day, kind) : trial(day)));
  return day;
}

function active(day, kind) {
  const left = Object.values(day.left ?? {}).reduce((sum, number) => sum + number, 0);
  const goal = day.goal_today;
  const pace = day.median_seconds?.[kind];
  const parts = [
    goal ? `${day.done_today} of ${goal} today` : `${day.done_today} done today`,
    goal ? `${Math.max(0, goal - day.done_today)} to go` : `${left} waiting`,
    day.per_hour ? `${day.per_hour.toFixed(day.per_hour < 10 ? 1 : 0)} an hour` : null,
    pace ? `${duration(pace)} each` : null,
  ].filter(Boolean);
  const most = goal || day.done_today + left || 1;
  return [
    h("progress", { value: Math.min(day.done_today, most), max: most, "aria-label": "Done today" }),
    h(
      "span",
      { class: "day-text" },
      parts.map((part, index) => h("span", { class: index > 1 ? "extra" : "" }, part)),
    ),
  ];
}

function trial(day) {
  const { done, of } = day.trials?.[day.stage] ?? { done: 0, of: 0 };
  const name = day.stage === "practice" ? "Practice" : "Screening";
  return of
    ? [
        h("progress", { value: done, max: of, "aria-label": name }),
        h("span", { class: "day-text" }, h("span", {}, `${name}: ${done} of ${of} done`)),
      ]
    : [];
}

/** Links to each kind of work that is waiting. */
export function kindLinks(day, chosen) {
  const kinds = Object.entries(day?.left ?? {}).filter(([, number]) => number > 0);
  const link = (kind, text) =>
    h(
      "a",
      {
        href: kind ? `/work?kind=${kind}` : "/work",
        class: "pill",
        "aria-current": (kind ?? null) === chosen ? "true" : null,
      },
      text,
    );
  return h(
    "nav",
    { class: "pills", "aria-label": "Kind of work" },
    link(null, "Anything"),
    kinds.map(([kind, number]) => link(kind, `${KINDS[kind]} · ${number}`)),
  );
}
