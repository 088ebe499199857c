// The queue: open and done items, items set aside, live tasks, the pace.
import { h } from "../lib/dom.js";
import { post } from "../lib/net.js";
import { toast } from "../lib/say.js";
import { paceText } from "./pace.js";
import {
  actButton,
  clip,
  count,
  field,
  plain,
  plot,
  section,
  select,
  show,
  table,
  when,
} from "./parts.js";

const draw = (queue) => [
  h("h1", {}, "Queue and pace"),
  section(
    "Pace",
    h("p", {}, paceText(queue.pace)),
    plot(
      queue.pace.plot,
      queue.pace.alt,
      table(
        "Days",
        ["Day", ["Done", true], ["Skipped", true], ["Labelers", true]],
        queue.pace.days.map((day) => [day.day, day.done, day.skipped, day.labelers]),
        { empty: "Days appear here once somebody has finished an item." },
      ),
    ),
  ),
  section(
    "Items",
    table(
      "Items",
      [
        "Kind",
        "For",
        "Pool",
        "Labels",
        ["Open", true],
        ["Done", true],
        ["Set aside", true],
        ["Live", true],
        ["Skips", true],
      ],
      queue.rows.map((row) => [
        plain(row.kind),
        row.purpose,
        plain(row.pool),
        share(row.labels_done, row.labels_wanted),
        row.open,
        row.done,
        row.set_aside,
        row.live,
        row.skips,
      ]),
      { empty: "Items appear here once the queue is filled: press Fill the queue below." },
    ),
  ),
  filling(queue),
  showing(queue),
  waiting(queue.nobody_left),
  section(
    "Set aside and closed",
    h(
      "p",
      { class: "soft" },
      "Skipped by several people, or closed by you: read them, then send them back or close them.",
    ),
    table(
      "Set aside and closed",
      ["Prompt", "Kind", "Reasons", ""],
      queue.set_aside.map((item) => [
        clip(item.excerpt),
        plain(item.kind),
        reasons(item),
        h(
          "span",
          { class: "row" },
          actButton("Send back", () => change(item, "reopen"), { small: true }),
          item.state === "closed"
            ? h("span", { class: "badge plain" }, "closed")
            : actButton("Close", () => change(item, "close"), { small: true }),
        ),
      ]),
      { empty: "Items that three people have skipped appear here; there are none." },
    ),
  ),
  section(
    "At work now",
    table(
      "At work now",
      ["Who", "Kind", "Since", "Last seen", "Until"],
      queue.live.map((lease) => [
        lease.name,
        plain(lease.kind),
        when(lease.since),
        when(lease.beat_at),
        when(lease.expires_at),
      ]),
      { empty: "People with a task appear here; nobody has one right now." },
    ),
  ),
];

const LATE = {
  together: "ranked together with the earlier ones",
  apart: "ranked apart from them, where there are two or more",
  leave: "left out",
};

/** Adds to the queue: prompts, and responses added after their prompt was queued. */
function filling(queue) {
  const how = select("new-responses", Object.entries(LATE), queue.new_responses);
  const answered = h("input", { type: "checkbox", id: "demonstrate-answered" });
  return section(
    "Fill the queue",
    h(
      "p",
      { class: "soft" },
      "Adds prompts that need a demonstration and prompts with two or more distinct responses, as ",
      h("code", {}, "understudy labels plan"),
      " does. Existing labels stay as they are.",
      queue.late
        ? ` ${count(queue.late, "item")} in the queue ${queue.late === 1 ? "has" : "have"} later responses.`
        : "",
    ),
    h(
      "div",
      { class: "card form-row" },
      field("Later responses are", how),
      h(
        "label",
        { class: "check" },
        answered,
        h("span", {}, "Also demonstrate prompts that came with responses"),
      ),
      actButton(
        "Fill the queue",
        async () => {
          const reply = await post("/api/owner/queue/fill", {
            new_responses: how.value,
            demonstrate_answered: answered.checked,
          });
          toast(reply.said.join(". "));
          await load();
        },
        { main: true },
      ),
    ),
  );
}

/** How labelers see responses. */
function showing({ markdown }) {
  const how = select(
    "shown-as",
    [
      ["plain", "plain text, as the model wrote it"],
      ["markdown", "Markdown, code and formulas"],
    ],
    markdown ? "markdown" : "plain",
  );
  return section(
    "How responses are shown",
    h(
      "p",
      { class: "soft" },
      "With Markdown, P shows the plain text. Nothing is fetched: links and images are shown as text.",
    ),
    h(
      "div",
      { class: "card form-row" },
      field("Labelers see", how),
      actButton("Set", async () => {
        await post("/api/owner/queue/shown", { markdown: how.value === "markdown" });
        toast("Set. Takes effect from the next task.");
      }),
    ),
  );
}

/** Items that need more people than there are, and the two options. */
function waiting(left) {
  const number = Object.values(left).reduce((sum, one) => sum + one, 0);
  if (!number) return null;
  const who = Object.entries(left)
    .map(([purpose, one]) => `${one} for ${purpose}`)
    .join(", ");
  return section(
    "Waiting for more people",
    h(
      "p",
      {},
      `${count(number, "item")} (${who}) ${number === 1 ? "waits" : "wait"} for more people than the team has: everybody who may label ${number === 1 ? "it" : "them"} has had ${number === 1 ? "it" : "them"}. `,
      h("a", { href: "/owner/labelers" }, "Invite somebody"),
      ", or end them: items with a label count as done, and items without one are set aside for you.",
    ),
    actButton("End them", async () => {
      await post("/api/owner/queue/end");
      await load();
    }),
  );
}

function share(done, wanted) {
  return h(
    "span",
    { class: "share" },
    h("progress", { value: done, max: Math.max(1, wanted), "aria-label": "labels done" }),
    ` ${done} of ${wanted}`,
  );
}

const reasons = ({ reasons: all, num_skips: skips }) =>
  skips
    ? `${skips}: ${Object.entries(all)
        .map(([name, number]) => `${name} ${number}`)
        .join(", ")}`
    : "–";

async function change(item, action) {
  await post(`/api/owner/items/${item.item_id}/${action}`);
  await load();
}

const load = () => show("/api/owner/queue", draw);
load();
