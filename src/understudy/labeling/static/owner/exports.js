// Exports: written in the background, with a hash and a link.
import { $, h, put } from "../lib/dom.js";
import { get, post } from "../lib/net.js";
import { actButton, copyable, field, plain, select, show, table, when } from "./parts.js";

const POLL_MS = 1000;
const LOOKS = { done: "good", failed: "bad", running: "warn", waiting: "plain" };

const draw = ({ jobs, kinds }) => [
  h("h1", {}, "Exports"),
  h(
    "p",
    { class: "soft" },
    "Frozen files for the trainers. An export runs in the background; one for training never contains a held-out labeler's labels.",
  ),
  newExport(kinds),
  h("div", { id: "jobs" }, jobTable(jobs)),
];

function newExport(kinds) {
  const kind = select(
    "kind",
    kinds.map((name) => [name, plain(name)]),
  );
  const purpose = select("purpose", [
    ["training", "training"],
    ["evaluation", "evaluation"],
  ]);
  const split = select("split", [
    ["", "all allowed"],
    ["train", "train"],
    ["valid", "valid"],
    ["test", "test"],
  ]);
  const rubric = h("input", { type: "text", id: "rubric", maxlength: 40 });
  const begin = actButton(
    "Export",
    async () => {
      await ask({
        kind: kind.value,
        purpose: purpose.value,
        split: split.value || null,
        rubric: rubric.value.trim() || null,
      });
    },
    { main: true },
  );
  return h(
    "div",
    { class: "card form-row" },
    field("What", kind),
    field("For", purpose),
    field("Split", split),
    field("Rubric", rubric, "all if empty"),
    begin,
  );
}

/** Start an export and show its progress. */
async function ask(request) {
  await post("/api/owner/exports", request);
  await poll();
}

function jobTable(jobs) {
  return table(
    "Exports",
    ["What", "State", "Rows", "File", "By", "When"],
    jobs.map((job) => [
      h(
        "span",
        {},
        plain(job.request.kind),
        h(
          "small",
          { class: "soft basis" },
          [job.request.purpose, job.request.split, job.request.rubric].filter(Boolean).join(", "),
        ),
      ),
      h("span", { class: `badge ${LOOKS[job.state]}`, role: "status" }, job.state),
      job.state === "running"
        ? h("progress", { value: job.progress, max: job.total || 1, "aria-label": "rows written" })
        : job.progress,
      file(job),
      job.by,
      when(job.finished_at ?? job.created_at),
    ]),
    { empty: "Exports appear here with their hash and a link: make a choice and press Export." },
  );
}

function file(job) {
  if (job.error)
    return h(
      "div",
      {},
      h("p", { class: "trouble" }, job.error),
      actButton("Try again", () => ask(job.request), { small: true }),
    );
  if (!job.link) return "–";
  return h(
    "div",
    {},
    h("a", { href: job.link, download: "" }, "Download"),
    ` ${size(job.bytes)}`,
    copyable(job.sha256, "sha256"),
  );
}

const size = (bytes) =>
  bytes > 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.ceil((bytes ?? 0) / 1e3)} kB`;

/** Poll each second while something runs. */
async function poll() {
  const { jobs } = await get("/api/owner/exports");
  put($("#jobs"), jobTable(jobs));
  if (jobs.some(({ state }) => ["waiting", "running"].includes(state)))
    setTimeout(() => poll().catch(() => {}), POLL_MS);
}

await show("/api/owner/exports", draw);
poll().catch(() => {});
