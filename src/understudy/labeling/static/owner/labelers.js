// Labelers: invite, see how they do, grade candidates' demonstrations, the team in totals.
import { h, put } from "../lib/dom.js";
import { conversation } from "../lib/fold.js";
import { get, post } from "../lib/net.js";
import {
  actButton,
  copyable,
  count,
  field,
  measure,
  plain,
  section,
  select,
  show,
  table,
  when,
} from "./parts.js";

const ROLES = [
  ["", "candidate: decided after screening"],
  ["training", "training"],
  ["held_out", "held-out"],
  ["researcher", "researcher"],
];
const GRADES = [1, 2, 3, 4, 5, 6, 7];

async function draw({ labelers }) {
  const [grading, team] = await Promise.all([get("/api/owner/grading"), get("/api/owner/team")]);
  return [
    h("h1", {}, "Labelers"),
    invitePanel(),
    grading.left ? gradePanel(grading) : null,
    section(
      "Everybody",
      table(
        "Labelers",
        [
          "Name",
          "Role",
          "Stage",
          ["Done", true],
          ["Skipped", true],
          ["Median time", true],
          "Agreement",
          "Gold",
          ["Weight", true],
          "Last seen",
        ],
        labelers.map(row),
        { empty: "Everybody on the project appears here: invite somebody above." },
      ),
    ),
    teamPanel(team),
  ];
}

const row = (labeler) => [
  h("a", { href: `/owner/labelers/${labeler.id}` }, labeler.name ?? "not yet named"),
  h(
    "span",
    {},
    labeler.role ? plain(labeler.role) : labeler.owner ? "" : "candidate",
    labeler.owner ? " owner" : "",
    labeler.group ? h("small", { class: "soft basis" }, labeler.group) : null,
  ),
  h(
    "span",
    {},
    labeler.disabled
      ? h("span", { class: "badge bad" }, "disabled")
      : h(
          "span",
          { class: labeler.stage === "waiting" ? "badge warn" : "badge plain" },
          labeler.stage,
        ),
    labeler.alarms ? h("span", { class: "badge warn" }, count(labeler.alarms, "alarm")) : null,
  ),
  labeler.done,
  labeler.skipped,
  labeler.median_seconds ? `${Math.round(labeler.median_seconds)} s` : "–",
  measure(labeler.agreement),
  measure(labeler.gold),
  labeler.weight?.toFixed(2) ?? "–",
  when(labeler.last_at),
];

function invitePanel() {
  const name = h("input", { type: "text", id: "invited", maxlength: 60, required: true });
  const role = select("role", ROLES);
  const screen = h("input", { type: "checkbox", id: "screen", checked: true });
  const group = h("input", { type: "text", id: "group", maxlength: 60 });
  const link = h("div", { role: "status" });
  const invite = actButton(
    "Make an invitation",
    async () => {
      const made = await post("/api/owner/labelers", {
        name: name.value.trim(),
        role: role.value || null,
        screen: screen.checked,
        group: group.value.trim() || null,
      });
      put(
        link,
        h(
          "p",
          {},
          "Send this link to one person; it is shown only once and works once, until ",
          when(made.expires_at),
          ".",
        ),
        copyable(location.origin + made.link, "Invitation link"),
      );
    },
    { main: true },
  );
  return h(
    "details",
    { class: "card invite" },
    h("summary", {}, "Invite somebody"),
    h(
      "div",
      { class: "form-row" },
      field("Name", name, "they may change it"),
      field("Role", role),
      field("Group", group, "optional"),
      h("label", { class: "check" }, screen, h("span", {}, "With practice and screening")),
      invite,
    ),
    link,
  );
}

/** Grade candidates' demonstrations one after the other, without names. */
function gradePanel(first) {
  const box = h("section", { class: "card grade", "aria-label": "Grade demonstrations" });
  const draw = ({ next, left }) => {
    if (!next) return put(box, h("h2", {}, "All demonstrations are graded."));
    const grade = async (value) =>
      draw(
        await post(`/api/owner/grading/${encodeURIComponent(next.assignment_id)}`, {
          grade: value,
        }),
      );
    return put(
      box,
      h("h2", {}, `${count(left, "demonstration")} to grade`),
      h(
        "div",
        { class: "halves" },
        h(
          "div",
          {},
          h("p", { class: "speaker" }, "Prompt"),
          conversation(next.prompt.turns, { fold: true }),
        ),
        h(
          "div",
          {},
          h("p", { class: "speaker" }, "The candidate's response"),
          h("div", { class: "prose", dir: "auto", translate: "no" }, next.text),
          next.expected
            ? h(
                "details",
                {},
                h("summary", {}, "The researcher's response"),
                h("div", { class: "prose", dir: "auto", translate: "no" }, next.expected),
              )
            : null,
        ),
      ),
      h(
        "div",
        { class: "segments", role: "group", "aria-label": "Grade from 1 to 7" },
        GRADES.map((value) => actButton(String(value), () => grade(value))),
      ),
    );
  };
  draw(first);
  return box;
}

function teamPanel(team) {
  const cell = (number) => number ?? `fewer than ${team.minimum}`;
  const said =
    team.answered === null
      ? `Fewer than ${team.minimum} of ${team.of} have described themselves`
      : `${team.answered} of ${team.of} have described themselves`;
  return section(
    "The team",
    h(
      "p",
      { class: "soft" },
      `${said}: shown only as totals, without counts below ${team.minimum}.`,
    ),
    h(
      "details",
      {},
      h("summary", {}, "Totals"),
      h(
        "div",
        { class: "team" },
        ...team.fields.map((one) =>
          h(
            "div",
            {},
            h("h3", {}, one.question ?? plain(one.name)),
            table(
              one.question ?? plain(one.name),
              ["Answer", ["People", true]],
              one.cells.map((line) => [line.option, cell(line.count)]),
            ),
          ),
        ),
        h(
          "div",
          {},
          h("h3", {}, "Topics they can judge"),
          table(
            "Topics",
            ["Topic", ["People", true]],
            team.topics.map((line) => [line.name ?? plain(line.topic), cell(line.count)]),
          ),
        ),
      ),
    ),
  );
}

show("/api/owner/labelers", draw);
