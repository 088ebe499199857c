// The overview: waiting work, the pace, and measures of trust.
import { h } from "../lib/dom.js";
import { post } from "../lib/net.js";
import { paceText } from "./pace.js";
import { alarmList, measure, plot, section, show, tile, whisker } from "./parts.js";

const draw = ({ project, counts, pace, agreement, alarms, todo }) => [
  h("h1", {}, project),
  todo.length
    ? h(
        "ul",
        { class: "todo" },
        todo.map(({ text, go }) => h("li", {}, h("a", { href: go }, text))),
      )
    : null,
  h(
    "div",
    { class: "tiles" },
    tile(counts.labels, "labels"),
    tile(counts.items_open, "items open", "/owner/queue"),
    tile(counts.items_done, "items done", "/owner/queue"),
    tile(counts.labelers_active, "labelers at work", "/owner/labelers"),
    tile(counts.labelers_waiting, "wait for a decision", "/owner/labelers"),
    tile(counts.disagreements_open, "disagreements", "/owner/disagreements"),
  ),
  h(
    "div",
    { class: "halves" },
    section("Pace", h("p", {}, paceText(pace)), plot(pace.plot, pace.alt)),
    section(
      "Agreement",
      h(
        "dl",
        { class: "facts" },
        ["training", "held_out"].map((role) =>
          h(
            "div",
            {},
            h("dt", {}, role === "training" ? "Training labelers" : "Held-out labelers"),
            h("dd", {}, whisker(agreement[role]), measure(agreement[role])),
          ),
        ),
      ),
      h(
        "p",
        { class: "soft small" },
        "Of the pairs of responses on which two labelers both have a preference, the share on which they prefer the same one.",
      ),
      h("a", { href: "/owner/agreement" }, "Details"),
    ),
  ),
  section("Alarms", alarmList(alarms, clear)),
];

async function clear(alarm) {
  await post(`/api/owner/alarms/${alarm.id}/clear`, { note: "" });
  await load();
}

const load = () => show("/api/owner/home", draw);
load();
