// One assignment in the browser: its state, undo, autosave, the clock and the lease.
import { openDraft } from "../lib/draft.js";
import { forget, keep, kept } from "../lib/keep.js";
import { post } from "../lib/net.js";
import { claim } from "../lib/tabs.js";
import { askDraft } from "./ask.js";
import { workClock } from "./clock.js";
import { placesOf } from "./tiers.js";

const MAX_UNDO = 200;
const HEARTBEAT_MS = 60_000;

/**
 * Open `assignment`. Calls `view` on changes: draw(body), saved(state, detail), taken() when another
 * tab takes over, submittedElsewhere(), lease(state).
 */
export function openTask(assignment, view) {
  const finished = assignment.state === "done";
  const edit = `edit:${assignment.id}`;
  const unsent = finished && assignment.changeable ? unsentEdit(assignment) : null;
  const draft = openDraft({
    id: assignment.id,
    server:
      assignment.draft ??
      (finished ? { version: 0, body: unsent ?? bodyOf(assignment.submitted.body) } : null),
    show: finished ? () => {} : view.saved,
    choose: askDraft,
    onReplaced: (body) => {
      past.push(now);
      now = body;
      view.draw(now);
    },
    onSubmitted: view.submittedElsewhere,
  });
  let now = draft.body() ?? {};
  let [past, future] = [[], []];
  const clock = workClock(now.seconds ?? 0);
  const tab = claim(assignment.id, view.taken);

  function change(make, { undoable = true } = {}) {
    const next = make(now);
    if (JSON.stringify(next) === JSON.stringify(now)) return;
    if (undoable) {
      past = [...past, now].slice(-MAX_UNDO);
      future = [];
    }
    become(next);
  }

  function become(next) {
    now = { ...next, seconds: clock.seconds() };
    if (finished) {
      now.begun ??= assignment.rubric_now; // the instructions under which this change was begun
      keep(edit, { of: assignment.submitted.id, body: now });
      view.saved("changed", "");
    } else draft.change(now);
    view.draw(now);
  }

  /** Undo or redo a choice; typed text and the current step stay. */
  function goBack(from, to) {
    if (!from.length) return false;
    to.push(now);
    become(withTexts(from.pop(), now));
    return true;
  }

  const beat = setInterval(async () => {
    if (finished || !clock.active()) return;
    try {
      view.lease((await post(`/api/assignments/${assignment.id}/heartbeat`)).state);
    } catch {
      /* the next heartbeat tells */
    }
  }, HEARTBEAT_MS);

  return {
    assignment,
    change,
    draft,
    tab,
    finished,
    unsent: unsent !== null,
    /** Drop the stored change, once it is sent or discarded. */
    forgetEdit: () => forget(edit),
    body: () => now,
    seconds: () => clock.seconds(),
    undo: () => goBack(past, future),
    redo: () => goBack(future, past),
    /** Remember the current step; this does not change the answer. */
    setStep: (step) => {
      if (finished) now = { ...now, step };
      else change((body) => ({ ...body, step }), { undoable: false });
    },
    begin: () => {
      if (!finished) draft.begin();
    },
    stop: () => {
      draft.close();
      clock.stop();
      clearInterval(beat);
      tab.stop();
    },
  };
}

/** An unsent change of this answer; null if it was sent or changed elsewhere. */
export function unsentEdit(assignment) {
  const found = kept(`edit:${assignment.id}`);
  return found?.of === assignment.submitted?.id ? (found?.body ?? null) : null;
}

const TYPED = ["step", "note", "text", "prompt", "response", "examples"];

/** `body` with the typed parts of `now`: text fields have their own undo. */
function withTexts(body, now) {
  const typed = Object.fromEntries(
    TYPED.filter((name) => name in now).map((name) => [name, now[name]]),
  );
  const ids = Object.keys({ ...body.ratings, ...now.ratings });
  const ratings = Object.fromEntries(
    ids.map((id) => [id, { ...body.ratings?.[id], note: now.ratings?.[id]?.note ?? "" }]),
  );
  return { ...body, ...typed, ...(ids.length ? { ratings } : {}) };
}

/** A submission in the form that the views draw. */
function bodyOf(submission) {
  const { tiers, ratings, text, prompt, response, style, examples, tags, note, seconds } =
    submission;
  return {
    ratings: ratings ?? {},
    places: placesOf(tiers ?? []),
    text,
    prompt,
    response: response ?? "",
    style,
    examples,
    tags: tags ?? {},
    note,
    seconds: seconds ?? 0,
    step: "rank",
  };
}
