// The work page: fetch a task, draw it, save it, send it, fetch the next.
import { $, h, put, uuid } from "../lib/dom.js";
import { showKeys, useKeys } from "../lib/keys.js";
import { get, post, Unreached } from "../lib/net.js";
import { dispatch, dispatchAll, lay, waiting } from "../lib/outbox.js";
import { leave, say, toast } from "../lib/say.js";
import { askOverThePage } from "../lib/session.js";
import { askReplace, askSkip } from "./ask.js";
import { kindLinks, showDay } from "./day.js";
import { feedbackCard } from "./feedback.js";
import { drawTask } from "./draw.js";
import { lettersOf } from "./frame.js";
import { openTask } from "./task.js";

const UI = "1";
const RETRY_MS = 5000;
const stage = $("#stage");
const kind = new URLSearchParams(location.search).get("kind");
const page = { task: null, drawn: null, kind, turn: 0 };

boot();

async function boot() {
  askOverThePage(document.documentElement.dataset.name);
  $("#help").addEventListener("click", showKeys);
  addEventListener("popstate", () => open(location.pathname));
  addEventListener("pagehide", () => page.task?.draft.flush({ keepalive: true }));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) page.task?.draft.flush({ keepalive: true });
  });
  addEventListener("online", () => page.task?.draft.flush());
  const sent = await dispatchAll();
  if (sent)
    toast(
      sent === 1
        ? "An answer kept in this browser has been sent."
        : `${sent} answers kept in this browser have been sent.`,
    );
  await open(location.pathname);
}

/**
 * Open the address: one assignment, or the next one. If the person navigates before the reply arrives
 * (by undoing a skip while the next task loads, say), they stay where they are.
 */
async function open(path) {
  const turn = ++page.turn;
  const id = path.split("/")[2];
  if (id && page.task?.assignment.id === id) return page.drawn?.showStep(history.state?.step);
  try {
    const reply = id
      ? await get(`/api/assignments/${encodeURIComponent(id)}`)
      : await post("/api/next", { kind: page.kind });
    if (turn !== page.turn) return;
    if (reply.assignment) await begin(reply.assignment, !id);
    else await nothing(reply.nothing);
  } catch (error) {
    if (turn === page.turn) trouble(error, () => open(path));
  }
}

/** Discard the unsent change and show the answer as it was sent. */
async function dropEdit(task) {
  task.forgetEdit();
  close();
  await open(`/work/${task.assignment.id}`);
}

async function next() {
  close();
  history.pushState({}, "", page.kind ? `/work?kind=${page.kind}` : "/work");
  await open("/work");
}

/** End the task. What it showed stays until `show`, but nobody can type into it any more. */
function close() {
  page.drawn?.stop();
  page.task?.stop();
  Object.assign(page, { task: null, drawn: null });
  stage.inert = true;
}

function show(...nodes) {
  put(stage, ...nodes);
  stage.inert = false;
}

async function begin(assignment, fromQueue) {
  close();
  if (fromQueue) history.replaceState({}, "", `/work/${assignment.id}`);
  const task = openTask(assignment, {
    draw: (body) => page.drawn?.sync(body),
    saved: showSaved,
    taken: () => taken(assignment.id),
    submittedElsewhere: () => elsewhere(assignment.id),
    lease: showLease,
  });
  Object.assign(page, { task });
  page.drawn = drawTask(task, { put: show, submit, skip });
  task.begin();
  showSaved(
    task.unsent ? "changed" : task.finished ? "sent" : task.draft.dirty() ? "saving" : "saved",
    "",
  );
  if (task.unsent)
    toast("Your change to this answer has not been sent yet; this browser kept it.", {
      action: { label: "Discard the change", run: () => dropEdit(task) },
    });
  showLease(assignment.state);
  stage.setAttribute("aria-busy", "false");
  await showDay(assignment.kind);
  const left = waiting(assignment.id);
  if (left) await deliver(left);
}

/** Check the answers and send them, or show what is missing. */
async function submit(outcome = null, note = null) {
  const { task, drawn } = page;
  const missing = outcome ? "" : drawn.missing();
  if (missing) return;
  await task.draft.flush();
  const body = task.body();
  const submission = {
    id: uuid(),
    seconds: Math.round(task.seconds()),
    ui: UI,
    revises: task.finished ? task.assignment.submitted.id : null,
    begun: task.finished ? (body.begun ?? task.assignment.rubric_now) : null,
    tags: body.tags ?? {},
    ...drawn.submission(body),
    ...(outcome ? { outcome, note } : {}),
  };
  await deliver(lay(task.assignment.id, "submit", submission));
}

async function skip() {
  const { task } = page;
  if (task.finished)
    return void toast(
      "This task is finished, so you cannot skip it; you can still change your answer.",
    );
  const answer = await askSkip(task.assignment.questions.skip_reasons);
  if (answer) await deliver(lay(task.assignment.id, "skip", { id: uuid(), ...answer }));
}

/** Send until acknowledged; while the server is unreachable the page says so and retries. */
async function deliver(entry) {
  const { task } = page;
  stage.setAttribute("aria-busy", "true");
  try {
    const reply = await dispatch(entry);
    task.draft.done();
    task.forgetEdit();
    await sent(entry, reply);
  } catch (error) {
    if (error instanceof Unreached || error.status === 429) wait(entry, error);
    else await refused(entry, error);
  } finally {
    stage.setAttribute("aria-busy", "false");
  }
}

async function sent(entry, reply) {
  const { assignment } = page.task;
  let text = reply.late ? "Sent late, but kept." : "Sent.";
  let action = null;
  if (entry.action === "skip") {
    text = "Skipped. Somebody else will get this task.";
    action = { label: "Take it back", run: () => takeBack(assignment.id) };
  } else if (reply.feedback) {
    return showFeedback(assignment, reply, entry.body);
  } else if (assignment.changeable) {
    action = { label: "Change it", run: () => goTo(`/work/${assignment.id}`) };
  }
  if (isElsewhere(reply.go)) return leave(reply.go, text);
  toast(text, { action });
  await next();
}

const isElsewhere = (go) => go && !go.startsWith("/work");

async function goOn(go) {
  if (isElsewhere(go)) return location.assign(go);
  await next();
}

function showFeedback(assignment, reply, submission) {
  close();
  const keys = useKeys("Practice", [{ key: "Enter", does: "go on", run: () => on() }]);
  const on = () => {
    keys();
    goOn(reply.go);
  };
  show(feedbackCard(assignment, reply.feedback, submission, lettersOf(assignment), on));
  $("h1", stage).focus();
}

async function goTo(path) {
  history.pushState({}, "", path);
  await open(path);
}

async function takeBack(id) {
  try {
    await post(`/api/assignments/${id}/unskip`);
    await goTo(`/work/${id}`);
  } catch (error) {
    toast(error.message, { kind: "problem" });
  }
}

/** Keep the answer in this browser and send it when the server is back. */
function wait(entry, error) {
  page.drawn?.pause(true);
  const again = () => {
    over();
    deliver(entry);
  };
  const timer = setTimeout(again, RETRY_MS);
  const over = () => {
    clearTimeout(timer);
    removeEventListener("online", again);
    panel.remove();
  };
  addEventListener("online", again, { once: true });
  const edit = () => {
    over();
    localBack();
  };
  const localBack = () => page.drawn?.pause(false);
  const panel = h(
    "div",
    { class: "notice waiting", role: "status" },
    h(
      "p",
      {},
      h("b", {}, "Your answer is kept in this browser. "),
      `${error.message} It will be sent as soon as possible.`,
    ),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", class: "quiet", on: { click: edit } }, "Back to the task"),
      h("button", { type: "button", class: "primary", on: { click: again } }, "Try now"),
    ),
  );
  put($("#notices"), panel);
  showSaved("kept", error.message);
}

async function refused(entry, error) {
  const { task, drawn } = page;
  if (error.code === "submission_conflict")
    return deliver(lay(entry.assignment, entry.action, { ...entry.body, id: uuid() }));
  if (error.code === "already_submitted" && entry.action === "submit") {
    const standing = error.body.submitted;
    if (await askReplace())
      return deliver(
        lay(entry.assignment, "submit", { ...entry.body, id: uuid(), revises: standing.id }),
      );
    task.draft.done();
    return next();
  }
  task.draft.reopen();
  drawn.tell(error.message);
}

function taken(id) {
  if (page.task?.assignment.id !== id) return;
  close();
  show(
    h(
      "div",
      { class: "narrow empty" },
      h("h1", { tabindex: -1 }, "You are working in another tab"),
      h("p", {}, "This task is now open there, with everything that you entered here."),
      h(
        "button",
        { type: "button", class: "primary", on: { click: () => open(`/work/${id}`) } },
        "Work here instead",
      ),
    ),
  );
  showSaved("none", "");
}

async function elsewhere(id) {
  if (page.task?.assignment.id !== id) return;
  toast("This task was sent from another tab or device.");
  await next();
}

async function nothing(sentence) {
  close();
  showSaved("none", "");
  const day = await showDay(page.kind ?? "rank");
  show(
    h(
      "div",
      { class: "narrow empty" },
      h("h1", { tabindex: -1 }, "Nothing to do right now"),
      h("p", {}, sentence),
      page.kind ? kindLinks(day, page.kind) : null,
      h(
        "button",
        { type: "button", class: "primary", on: { click: () => open("/work") } },
        "Look again",
      ),
    ),
  );
  stage.setAttribute("aria-busy", "false");
  say(sentence);
}

function trouble(error, again) {
  close();
  showSaved("none", "");
  show(
    h(
      "div",
      { class: "narrow empty" },
      h("h1", { tabindex: -1 }, "That did not work"),
      h("p", {}, error.message),
      h("button", { type: "button", class: "primary", on: { click: again } }, "Try again"),
    ),
  );
  stage.setAttribute("aria-busy", "false");
  if (error instanceof Unreached) addEventListener("online", again, { once: true });
}

const SAVED = {
  saved: ["Saved", "saved"],
  saving: ["Saving …", "saving"],
  kept: ["Kept in this browser", "kept"],
  problem: ["Not saved", "problem"],
  sent: ["Sent", "saved"],
  changed: ["Changed, not sent", "saving"],
  none: ["", ""],
};

function showSaved(state, detail) {
  const [text, look] = SAVED[state];
  const box = $("#save-state");
  box.className = `save-state ${look}`;
  box.textContent = text;
  box.title = ["kept", "problem"].includes(state) ? detail : "";
  if (["kept", "problem"].includes(state) && box.dataset.state !== state) say(`${text}. ${detail}`);
  box.dataset.state = state;
}

function showLease(state) {
  if (!["expired", "lost"].includes(state)) return put($("#notices"));
  put(
    $("#notices"),
    h(
      "div",
      { class: "notice", role: "status" },
      h(
        "p",
        {},
        "Your time for this task has run out, and somebody else may get it. You can still finish: what you send is kept.",
      ),
    ),
  );
}
