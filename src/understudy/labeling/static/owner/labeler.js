// One labeler: screening and the decision, the work over time, alarms, the account.
import { h, put } from "../lib/dom.js";
import { post } from "../lib/net.js";
import { toast } from "../lib/say.js";
import {
  actButton,
  alarmList,
  clip,
  copyable,
  field,
  measure,
  plain,
  plot,
  section,
  select,
  show,
  table,
  when,
} from "./parts.js";

const id = decodeURIComponent(location.pathname.split("/")[3]);
const at = `/api/owner/labelers/${encodeURIComponent(id)}`;
const PROPOSALS = {
  pass: ["good", "The scores suggest: accept"],
  fail: ["bad", "The scores suggest: reject"],
  not_yet: ["plain", "Not finished yet"],
};

const draw = ({ labeler, screening, work, alarms }) => [
  h(
    "div",
    { class: "task-head" },
    h(
      "div",
      {},
      h("h1", {}, labeler.name ?? "Not yet named"),
      h(
        "p",
        { class: "soft" },
        `${plain(labeler.role ?? "candidate")} · ${labeler.stage}${labeler.group ? ` · ${labeler.group}` : ""}`,
        labeler.disabled ? h("span", { class: "badge bad" }, "disabled") : null,
      ),
    ),
    h("a", { href: "/owner/labelers" }, "All labelers"),
  ),
  labeler.role && labeler.stage === "active" ? null : decisionPanel(labeler),
  screening?.criteria?.length && (labeler.screen || !labeler.role)
    ? screeningSection(screening)
    : null,
  work
    ? section(
        "Work",
        plot(
          work.plot,
          work.alt,
          table(
            "Work",
            [
              "Window",
              ["Done", true],
              ["Skipped", true],
              ["Median time", true],
              "Agreement",
              "Gold",
            ],
            work.windows.map((one) => [
              one.label,
              one.done,
              one.skipped,
              one.median_seconds ? `${Math.round(one.median_seconds)} s` : "–",
              measure(one.agreement),
              measure(one.gold),
            ]),
            { empty: "Time windows appear here once this labeler has finished an item." },
          ),
        ),
      )
    : null,
  section(
    "Alarms",
    alarmList(alarms, async (alarm) => {
      await post(`/api/owner/alarms/${alarm.id}/clear`, { note: "" });
      await load();
    }),
  ),
  accountSection(labeler),
];

function screeningSection(screening) {
  const [look, text] = PROPOSALS[screening.proposal] ?? PROPOSALS.not_yet;
  const verdict = {
    true: h("span", { class: "badge good" }, "passes"),
    false: h("span", { class: "badge bad" }, "below"),
    null: "–",
  };
  const score = (one) =>
    one.score === null || one.score === undefined
      ? "–"
      : one.cutoff > 1
        ? one.score.toFixed(1)
        : `${Math.round(one.score * 100)}%`;
  const cutoff = (one) =>
    !one.cutoff ? "–" : one.cutoff > 1 ? String(one.cutoff) : `${Math.round(one.cutoff * 100)}%`;
  return section(
    "Screening",
    h("p", {}, h("span", { class: `badge ${look}` }, text)),
    table(
      "Criteria",
      ["Criterion", ["Score", true], ["Soft cutoff", true], ["Items", true], "Verdict"],
      screening.criteria.map((one) => [
        one.title,
        score(one),
        cutoff(one),
        one.n ?? "–",
        one.score === null || one.score === undefined
          ? h("span", { class: "soft" }, one.text ?? one.why ?? "")
          : verdict[String(one.passes ?? null)],
      ]),
      { empty: "Criteria appear here once there are screening items." },
    ),
    h("h3", {}, "Answers"),
    table(
      "Answers",
      ["Prompt", "Kind", "Scores", "Grade"],
      screening.trials.map((trial) => [
        clip(trial.excerpt),
        plain(trial.kind),
        Object.entries(trial.scores)
          .map(([name, value]) => `${name} ${Math.round(value * 100)}%`)
          .join(", ") || "–",
        trial.needs_grade
          ? h("a", { href: "/owner/labelers" }, "needs a grade")
          : (trial.grade ?? "–"),
      ]),
      { empty: "Answers to screening items appear here as the candidate gives them." },
    ),
  );
}

const ROLES = [
  ["training", "training labeler"],
  ["held_out", "held-out labeler"],
  ["researcher", "researcher"],
];

/** The decision on a candidate; only the invitation's role can be given, if it named one. */
function decisionPanel(labeler) {
  const roles = labeler.role ? ROLES.filter(([name]) => name === labeler.role) : ROLES;
  const role = select("role", [...roles, ["", "rejected"]]);
  const group = h("input", { type: "text", id: "group", maxlength: 60 });
  const reason = h("textarea", { id: "reason", rows: 2 });
  const decide = actButton(
    "Decide",
    async () => {
      await post(`${at}/decide`, {
        role: role.value || null,
        group: group.value.trim() || null,
        reason: reason.value.trim(),
      });
      toast("Decided.");
      await load();
    },
    { main: true },
  );
  return h(
    "section",
    { class: "card", "aria-label": "Decision" },
    h("h2", {}, "Decide"),
    h(
      "p",
      { class: "soft small" },
      labeler.stage === "waiting"
        ? "Screening is done and waits for your decision. "
        : "You may decide before practice and screening are done. ",
      "A role cannot change later: the labels of a held-out labeler never train a model.",
    ),
    h("div", { class: "form-row" }, field("Role", role), field("Group", group, "optional")),
    field("Reason", reason, "kept in the audit log"),
    h("div", { class: "buttons" }, decide),
  );
}

function accountSection(labeler) {
  const link = h("div", { role: "status" });
  const reset = actButton("New password link", async () => {
    const made = await post(`${at}/reset`);
    put(
      link,
      h("p", {}, "Shown only once; works once, until ", when(made.expires_at), "."),
      copyable(location.origin + made.link, "Password link"),
    );
  });
  const toggle = actButton(
    labeler.disabled ? "Enable" : "Disable",
    async () => {
      await post(`${at}/${labeler.disabled ? "enable" : "disable"}`);
      await load();
    },
    { danger: !labeler.disabled },
  );
  return section(
    "Account",
    h(
      "p",
      { class: "soft" },
      "Since ",
      when(labeler.created_at),
      labeler.decided_by ? `, decided by ${labeler.decided_by}` : "",
    ),
    h("div", { class: "row" }, reset, toggle),
    link,
  );
}

const load = () => show(at, draw);
load();
