// The labeler's own finished tasks, each of which can be opened and changed.
import { $, h, put } from "../lib/dom.js";
import { kept } from "../lib/keep.js";
import { get } from "../lib/net.js";
import { KINDS, STAGES } from "../work/frame.js";

const OUTCOMES = {
  ranked: "ranked",
  cannot_rank: "cannot be ranked",
  unsure: "unsure",
  demonstrated: "written",
  written: "written",
};
const list = $("#history");
const more = $("#more");
let before = null;

async function load() {
  try {
    const reply = await get(`/api/history${before ? `?before=${encodeURIComponent(before)}` : ""}`);
    list.append(...reply.done.map(row));
    before = reply.before;
    more.hidden = !before;
    $("#loading").hidden = true;
    $("#none").hidden = list.children.length > 0;
  } catch (error) {
    $("#loading").hidden = true;
    $("#none").hidden = false;
    $("#none").textContent = error.message;
  }
}

function row({ assignment, kind, stage, submitted_at, excerpt, outcome }) {
  const at = new Date(submitted_at);
  return h(
    "li",
    {},
    h(
      "a",
      { href: `/work/${assignment}` },
      h("span", { class: "excerpt", dir: "auto", translate: "no" }, excerpt || "(no text)"),
      STAGES[stage] && h("span", { class: "badge" }, STAGES[stage]),
      kept(`edit:${assignment}`) && h("span", { class: "badge warn" }, "changed, not sent"),
      h(
        "span",
        { class: "soft small" },
        `${KINDS[kind] ?? kind} · ${OUTCOMES[outcome] ?? outcome} · `,
        h("time", { datetime: submitted_at }, at.toLocaleString()),
      ),
    ),
  );
}

more.addEventListener("click", load);
put(list);
load();
