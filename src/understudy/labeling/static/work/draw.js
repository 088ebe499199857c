// A task on the page: its steps, panels, buttons and keys.
import { $, h, put } from "../lib/dom.js";
import { foldable, numWords } from "../lib/fold.js";
import { useKeys } from "../lib/keys.js";
import { say } from "../lib/say.js";
import { askNoRanking } from "./ask.js";
import { demonstrateView } from "./demonstrate.js";
import { button, linkButton, desk, promptCard, taskHead } from "./frame.js";
import { promptsView } from "./prompts.js";
import { rankView } from "./rank.js";
import { completeRating, rateForm, ratingOf } from "./rate.js";
import { tagsPanel } from "./tags.js";
import { tiersOf, unplaced } from "./tiers.js";

const RANK = "rank";

/** Letters for the answers in the order they are shown: {a1: "A", …}. */
export const lettersOf = (assignment) =>
  Object.fromEntries(
    (assignment.answers ?? []).map(({ id }, index) => [id, String.fromCharCode(65 + index)]),
  );

/** Draw `task`; returns {sync, showStep, missing, submission, tell, pause, stop}. */
export function drawTask(task, page) {
  return task.assignment.kind === "rank" ? drawRanking(task, page) : drawWriting(task, page);
}

const generalKeys = (task, page) => [
  {
    key: "u",
    does: "undo",
    run: () => {
      say(task.undo() ? "Undone" : "Nothing to undo");
    },
  },
  {
    key: "Control+z",
    hidden: true,
    does: "",
    run: (event) => !event.target.matches("textarea, input") && task.undo(),
  },
  {
    key: "y",
    does: "redo",
    run: () => {
      say(task.redo() ? "Done again" : "Nothing to redo");
    },
  },
  { key: "x", does: "skip the task", run: () => page.skip() },
];

/** The line where the page says what is missing. */
function foot(...buttons) {
  const trouble = h("p", { class: "trouble", role: "alert" });
  return {
    node: h("div", { class: "foot" }, trouble, h("div", { class: "buttons" }, buttons)),
    tell: (text) => {
      trouble.textContent = text;
    },
  };
}

function drawWriting(task, page) {
  const { assignment } = task;
  const view = assignment.kind === "demonstrate" ? demonstrateView(task) : promptsView(task);
  const tags = assignment.prompt
    ? tagsPanel(assignment.questions, (next) => task.change((body) => ({ ...body, tags: next })))
    : null;
  const bottom = foot(
    button("Skip: the task is unclear", () => page.skip()),
    button(task.finished ? "Send the change" : "Send", () => page.submit(), {
      key: "Control+Enter",
      main: true,
      id: "submit",
    }),
  );
  page.put(
    taskHead(assignment),
    desk(
      [promptCard(assignment), tags?.node],
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
  sync(task.body());
  view.focus();
  return {
    sync,
    showStep() {},
    tell: bottom.tell,
    submission: view.submission,
    stop: keys,
    missing: () => {
      const text = view.trouble(task.body());
      bottom.tell(text);
      if (text) view.focus();
      return text;
    },
    pause: (on) => pauseDesk(on),
  };
}

const pauseDesk = (on) => {
  $("#stage").inert = on;
};

function drawRanking(task, page) {
  const { assignment } = task;
  const letters = lettersOf(assignment);
  const ids = assignment.answers.map(({ id }) => id);
  const steps = [...ids, RANK];
  const stepper = makeStepper(steps, letters, (step) => go(step));
  const ranking = rankView(task, letters);
  const tags = tagsPanel(assignment.questions, (next) =>
    task.change((body) => ({ ...body, tags: next })),
  );
  const order = h("p", { class: "order-line small", "aria-label": "The order so far" });
  let [step, form, bottom, keys] = [null, null, null, null];

  const firstOpen = (body) => ids.find((id) => !ratingOf(body, id).likert) ?? RANK;
  const after = (by) => {
    const to = steps[steps.indexOf(step) + by];
    if (to) go(to);
  };

  function go(to, { push = true } = {}) {
    if (to === step) return;
    if (push && step) history.pushState({ step: to }, "", location.href);
    show(to);
    if (push) task.setStep(to);
  }

  function show(to) {
    keys?.();
    step = to;
    if (to === RANK) showRanking();
    else showAnswer(to);
    sync(task.body());
    scrollTo({ top: 0 });
    const title = $("#stage h2.step-title");
    title.focus({ preventScroll: true });
  }

  function showAnswer(id) {
    const answer = assignment.answers.find((candidate) => candidate.id === id);
    form = rateForm(task, id, letters[id]);
    const place = steps.indexOf(id);
    bottom = foot(
      button("Skip", () => page.skip(), { key: "x" }),
      place ? button("Back", () => after(-1), { key: "ArrowLeft" }) : null,
      button(place === ids.length - 1 ? "Rank all" : "Next", () => after(1), {
        key: "Enter",
        main: true,
        id: "next",
      }),
    );
    const card = h(
      "article",
      { class: "card answer alone" },
      h(
        "header",
        {},
        h("b", { class: "letter" }, letters[id]),
        h("h2", { class: "step-title", tabindex: -1 }, `Answer ${letters[id]}`),
        h(
          "span",
          { class: "soft small" },
          `${place + 1} of ${ids.length} · ${numWords(answer.text)} words`,
        ),
      ),
      foldable(answer.text, { folded: false }).node,
    );
    page.put(
      taskHead(assignment, stepper.node),
      desk(
        [promptCard(assignment), card, tags.node],
        [h("div", { class: "card" }, form.node), bottom.node],
        "rating",
      ),
    );
    keys = useKeys("This answer", [
      ...form.keys,
      { key: "Enter", does: "next answer", run: () => after(1) },
      { key: "ArrowRight", hidden: true, does: "", run: () => after(1) },
      { key: "ArrowLeft", does: "back", run: () => after(-1) },
      { key: "Control+Enter", hidden: true, does: "", run: () => after(1) },
      ...generalKeys(task, page),
    ]);
  }

  function showRanking() {
    form = null;
    const without = (outcome) => async () => {
      const note = await askNoRanking(outcome, task.body().note ?? "");
      if (note !== null) page.submit(outcome, note);
    };
    bottom = foot(
      button("Back", () => after(-1)),
      linkButton("Unsure", without("unsure")),
      linkButton("Cannot rank", without("cannot_rank")),
      button(task.finished ? "Send the change" : "Send", () => page.submit(), {
        key: "Enter",
        main: true,
        id: "submit",
      }),
    );
    bottom.node.prepend(order);
    page.put(
      taskHead(assignment, stepper.node),
      desk(
        [
          promptCard(assignment, { fold: true }),
          h("h2", { class: "step-title unseen", tabindex: -1 }, "All answers"),
          ranking.cards,
          tags.node,
        ],
        [
          h(
            "div",
            { class: "card ladder-card" },
            h("h2", {}, "Best on top; ties share a tier"),
            ranking.panel,
          ),
          bottom.node,
        ],
        "ranking",
      ),
    );
    keys = useKeys("Ranking", [
      ...ranking.keys,
      { key: "Enter", does: "send", run: () => page.submit() },
      { key: "Control+Enter", hidden: true, does: "", run: () => page.submit() },
      ...generalKeys(task, page),
    ]);
  }

  function sync(body) {
    form?.sync(body);
    tags.sync(body.tags);
    ranking.sync(body);
    order.textContent = orderText(body.places ?? {}, ids, letters);
    stepper.sync(step, (id) =>
      id === RANK ? !unplaced(body.places ?? {}, ids).length : Boolean(ratingOf(body, id).likert),
    );
    bottom.tell("");
  }

  function missing() {
    const body = task.body();
    const unrated = ids.find((id) => !ratingOf(body, id).likert);
    if (unrated) {
      go(unrated);
      bottom.tell(`Answer ${letters[unrated]} has no quality yet.`);
      return "unrated";
    }
    const [id] = unplaced(body.places ?? {}, ids);
    if (!id) return "";
    go(RANK);
    ranking.goTo(id);
    bottom.tell(`Answer ${letters[id]} has no tier yet.`);
    return "unplaced";
  }

  const submission = (body) => ({
    outcome: "ranked",
    ratings: Object.fromEntries(
      ids
        .filter((id) => ratingOf(body, id).likert)
        .map((id) => [id, completeRating(ratingOf(body, id), assignment.questions.flags)]),
    ),
    tiers: tiersOf(body.places ?? {}, ids),
    note: body.note ?? "",
  });

  go(steps.includes(task.body().step) ? task.body().step : firstOpen(task.body()), { push: false });
  return {
    sync,
    missing,
    submission,
    tell: (text) => bottom.tell(text),
    stop: () => keys?.(),
    pause: pauseDesk,
    showStep: (to) => show(steps.includes(to) ? to : steps[0]),
  };
}

/** "B > A = C · D left" */
function orderText(places, ids, letters) {
  const tiers = tiersOf(places, ids)
    .map((tier) => tier.map((id) => letters[id]).join(" = "))
    .join(" > ");
  const left = unplaced(places, ids)
    .map((id) => letters[id])
    .join(", ");
  return [tiers, left && `${left} left`].filter(Boolean).join(" · ");
}

/** The steps as buttons: A B C D, then Rank. */
function makeStepper(steps, letters, go) {
  const buttons = steps.map((step) =>
    h(
      "button",
      { type: "button", class: "step", on: { click: () => go(step) } },
      h("span", {}, letters[step] ?? "Rank"),
    ),
  );
  const node = h(
    "nav",
    { class: "stepper", "aria-label": "Steps" },
    h(
      "ol",
      {},
      buttons.map((one) => h("li", {}, one)),
    ),
  );
  function sync(current, isDone) {
    steps.forEach((step, index) => {
      const [done, here] = [isDone(step), step === current];
      buttons[index].classList.toggle("done", done);
      buttons[index].toggleAttribute("aria-current", false);
      if (here) buttons[index].setAttribute("aria-current", "step");
      buttons[index].setAttribute(
        "aria-label",
        `${step === RANK ? "Rank all" : `Rate answer ${letters[step]}`}${done ? ", done" : ""}`,
      );
    });
  }
  return { node, sync };
}
