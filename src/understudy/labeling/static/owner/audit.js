// The audit log, newest first, and the check that nobody has changed it.
import { h } from "../lib/dom.js";
import { get } from "../lib/net.js";
import { actButton, show, table, when } from "./parts.js";

const query = new URLSearchParams(location.search);
const action = query.get("action") ?? "";

function draw(log) {
  const verdict = h("span", { role: "status" });
  const check = actButton("Check the chain", async () => {
    const { ok, rows, head, problem } = await get("/api/owner/audit/verify");
    verdict.replaceChildren(
      h("span", { class: `badge ${ok ? "good" : "bad"}` }, ok ? `intact: ${rows} rows` : "broken"),
      ok ? h("code", { class: "small" }, head) : problem,
    );
  });
  const filter = h(
    "form",
    { class: "form-row", method: "get" },
    h(
      "div",
      { class: "field" },
      h("label", { for: "action" }, "Only actions that begin with"),
      h("input", { type: "search", id: "action", name: "action", value: action }),
    ),
    h("button", { class: "quiet", type: "submit" }, "Show"),
  );
  const older =
    log.before === null
      ? null
      : h(
          "a",
          {
            class: "quiet",
            href: `?${new URLSearchParams({ ...(action && { action }), before: log.before })}`,
          },
          "Older",
        );
  return [
    h("h1", {}, "Audit log"),
    h(
      "p",
      { class: "soft" },
      "Who did what. Each row contains the hash of the one before, so altering any row is detected.",
    ),
    h("div", { class: "row" }, check, verdict),
    filter,
    table(
      "Audit log",
      [["No.", true], "When", "Who", "Action", "On", "Details"],
      log.rows.map((row) => [
        row.seq,
        when(row.at),
        row.who ?? "the program",
        row.action,
        row.object ?? "–",
        h("code", { class: "small details" }, JSON.stringify(row.body)),
      ]),
      { empty: "No action begins with that; clear the field to see all." },
    ),
    older,
  ];
}

show(`/api/owner/audit?${query}`, draw);
