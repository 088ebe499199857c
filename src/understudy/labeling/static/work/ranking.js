// A task of rating and ranking: a step for each response alone, then one for all of them.
import { $, h } from "../lib/dom.js";
import { foldable, inWords } from "../lib/fold.js";
import { useKeys } from "../lib/keys.js";
import { askNoRanking } from "./ask.js";
import {
  button,
  desk,
  foot,
  generalKeys,
  lettersOf,
  linkButton,
  pauseDesk,
  promptCard,
  taskHead,
} from "./frame.js";
import { rankView } from "./rank.js";
import { completeRating, rateForm, ratingOf } from "./rate.js";
import { makeStepper, RANK } from "./stepper.js";
import { tagsOf } from "./tags.js";
import { tiersOf, unplaced } from "./tiers.js";

/** Draw the task; returns what `drawTask` does. */
export function drawRanking(task, page) {
  const view = viewOf(task, page);
  const { ids, steps } = view;
  const begun = task.body().step;
  const firstOpen = ids.find((id) => !ratingOf(task.body(), id).likert) ?? RANK;
  go(view, steps.includes(begun) ? begun : firstOpen, { push: false });
  return {
    sync: (body) => sync(view, body),
    missing: () => missing(view),
    submission: (body) => submission(view, body),
    tell: (text) => view.bottom.tell(text),
    stop: () => view.keys?.(),
    pause: pauseDesk,
    showStep: (to) => show(view, steps.includes(to) ? to : steps[0]),
  };
}

/** What all steps share; `step`, `form`, `bottom` and `keys` belong to the current step. */
function viewOf(task, page) {
  const { assignment } = task;
  const letters = lettersOf(assignment);
  const ids = assignment.answers.map(({ id }) => id);
  const steps = [...ids, RANK];
  const view = {
    task,
    page,
    assignment,
    letters,
    ids,
    steps,
    stepper: makeStepper(steps, letters, (step) => go(view, step)),
    ranking: rankView(task, letters),
    tags: tagsOf(task),
    order: h("p", { class: "order-line small", "aria-label": "The order so far" }),
    step: null,
    form: null,
    bottom: null,
    keys: null,
  };
  return view;
}

function go(view, to, { push = true } = {}) {
  if (to === view.step) return;
  if (push && view.step) history.pushState({ step: to }, "", location.href);
  show(view, to);
  if (push) view.task.setStep(to);
}

/** The next step (1) or the one before (-1). */
function goOn(view, by) {
  const to = view.steps[view.steps.indexOf(view.step) + by];
  if (to) go(view, to);
}

function show(view, to) {
  view.keys?.();
  view.step = to;
  if (to === RANK) showRanking(view);
  else showResponse(view, to);
  sync(view, view.task.body());
  scrollTo({ top: 0 });
  $("#stage h2.step-title").focus({ preventScroll: true });
}

function showResponse(view, id) {
  const { task, page, assignment, letters, tags, stepper } = view;
  const [on, back] = [() => goOn(view, 1), () => goOn(view, -1)];
  view.form = rateForm(task, id, letters[id]);
  view.bottom = responseFoot(view, id, on, back);
  page.put(
    taskHead(assignment, stepper.node),
    desk(
      [promptCard(assignment, { fold: true }), responseAlone(view, id), tags.node],
      [h("div", { class: "card" }, view.form.node), view.bottom.node],
      "rating",
    ),
  );
  view.keys = useKeys("This response", [
    ...view.form.keys,
    { key: "Enter", does: "next response", run: on },
    { key: "ArrowRight", hidden: true, does: "", run: on },
    { key: "ArrowLeft", does: "back", run: back },
    { key: "Control+Enter", hidden: true, does: "", run: on },
    ...generalKeys(task, page),
  ]);
}

function responseAlone({ assignment, letters, ids }, id) {
  const { text, tree } = assignment.answers.find((response) => response.id === id);
  const place = `${ids.indexOf(id) + 1} of ${ids.length} · ${inWords(text)}`;
  return h(
    "article",
    { class: "card answer alone" },
    h(
      "header",
      {},
      h("b", { class: "letter" }, letters[id]),
      h("h2", { class: "step-title", tabindex: -1 }, `Response ${letters[id]}`),
      h("span", { class: "soft small" }, place),
    ),
    foldable(text, { folded: false, tree }).node,
  );
}

function responseFoot({ page, ids }, id, on, back) {
  const place = ids.indexOf(id);
  const next = place === ids.length - 1 ? "Rank all" : "Next";
  return foot(
    button("Skip", () => page.skip(), { key: "x" }),
    place ? button("Back", back, { key: "ArrowLeft" }) : null,
    button(next, on, { key: "Enter", main: true, id: "next" }),
  );
}

function showRanking(view) {
  const { task, page, assignment, ranking, tags, stepper } = view;
  view.form = null;
  view.bottom = rankingFoot(view);
  view.bottom.node.prepend(view.order);
  const title = h("h2", { class: "step-title unseen", tabindex: -1 }, "All responses");
  const rungs = h(
    "div",
    { class: "card ladder-card" },
    h("h2", {}, "Best on top; ties share a tier"),
    ranking.panel,
  );
  page.put(
    taskHead(assignment, stepper.node),
    desk(
      [promptCard(assignment, { fold: true }), title, ranking.cards, tags.node],
      [rungs, view.bottom.node],
      "ranking",
    ),
  );
  view.keys = useKeys("Ranking", [
    ...ranking.keys,
    { key: "Enter", does: "send", run: () => page.submit() },
    { key: "Control+Enter", hidden: true, does: "", run: () => page.submit() },
    ...generalKeys(task, page),
  ]);
}

function rankingFoot(view) {
  const { task, page } = view;
  const without = (outcome) => async () => {
    const note = await askNoRanking(outcome, task.body().note ?? "");
    if (note !== null) page.submit(outcome, note);
  };
  const send = { key: "Enter", main: true, id: "submit" };
  return foot(
    button("Back", () => goOn(view, -1)),
    linkButton("Unsure", without("unsure")),
    linkButton("Cannot rank", without("cannot_rank")),
    button(task.finished ? "Send the change" : "Send", () => page.submit(), send),
  );
}

function sync(view, body) {
  const { ids, letters, step } = view;
  const places = body.places ?? {};
  const isDone = (id) =>
    id === RANK ? !unplaced(places, ids).length : Boolean(ratingOf(body, id).likert);
  view.form?.sync(body);
  view.tags.sync(body.tags);
  view.ranking.sync(body);
  view.order.textContent = orderText(places, ids, letters);
  view.stepper.sync(step, isDone);
  view.bottom.tell("");
}

/** Go to the first missing answer and say so; returns an empty string if none is missing. */
function missing(view) {
  const { task, ids, letters } = view;
  const body = task.body();
  const unrated = ids.find((id) => !ratingOf(body, id).likert);
  if (unrated) {
    go(view, unrated);
    view.bottom.tell(`Response ${letters[unrated]} has no rating yet.`);
    return "unrated";
  }
  const [id] = unplaced(body.places ?? {}, ids);
  if (!id) return "";
  go(view, RANK);
  view.ranking.goTo(id);
  view.bottom.tell(`Response ${letters[id]} has no tier yet.`);
  return "unplaced";
}

function submission({ assignment, ids }, body) {
  const rated = ids.filter((id) => ratingOf(body, id).likert);
  const complete = (id) => completeRating(ratingOf(body, id), assignment.questions.flags);
  return {
    outcome: "ranked",
    ratings: Object.fromEntries(rated.map((id) => [id, complete(id)])),
    tiers: tiersOf(body.places ?? {}, ids),
    note: body.note ?? "",
  };
}

/** "B > A = C · D left" */
function orderText(places, ids, letters) {
  const named = (some) => some.map((id) => letters[id]);
  const tiers = tiersOf(places, ids)
    .map((tier) => named(tier).join(" = "))
    .join(" > ");
  const left = named(unplaced(places, ids)).join(", ");
  return [tiers, left && `${left} left`].filter(Boolean).join(" · ");
}
