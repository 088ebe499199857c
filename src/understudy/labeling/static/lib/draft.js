// @ts-check
// Autosave: every change is stored in the browser at once and on the server after a pause.
import { forget, keep, kept } from "./keep.js";
import { put, Refused, Unreached } from "./net.js";

const PAUSE_MS = 700;
const RETRY_MS = [2000, 4000, 8000, 15000, 30000];

/** @typedef {{version: number, body: any, saved_at: string}} Draft as the server has it */
/** @typedef {{version: number, body: any, dirty: boolean, at: string}} Local as this browser has it */

/**
 * The draft of one assignment.
 *
 * `show(state, detail)` gets "kept" while the work is only in this browser. `choose` decides between
 * two drafts. `onReplaced` redraws; `onSubmitted` is called if the assignment turns out to be finished.
 *
 * @param {object} options
 * @param {string} options.id
 * @param {Draft | null} options.server
 * @param {(state: "saved" | "saving" | "kept" | "problem", detail: string) => void} options.show
 * @param {(both: {mine: {body: any, at?: string}, theirs: Draft}) => Promise<"mine" | "theirs">} options.choose
 * @param {(body: any) => void} options.onReplaced
 * @param {() => void} options.onSubmitted
 */
export function openDraft({ id, server, show, choose, onReplaced, onSubmitted }) {
  const name = `draft:${id}`;
  /** @type {Local | null} */
  const local = kept(name);
  let version = server?.version ?? 0;
  let body = local?.dirty ? local.body : (server?.body ?? local?.body ?? null);
  let dirty = Boolean(local?.dirty);
  /** @type {number | undefined} */
  let timer;
  /** @type {Promise<void> | null} */
  let saving = null;
  let [attempt, closed] = [0, false];

  const remember = () => keep(name, { version, body, dirty, at: new Date().toISOString() });

  function change(next) {
    if (closed) return;
    body = next;
    dirty = true;
    const safe = remember();
    show("saving", safe ? "" : "This browser cannot store your work: do not close the page.");
    later(PAUSE_MS);
  }

  function later(pause) {
    clearTimeout(timer);
    timer = setTimeout(flush, pause);
  }

  /** Send unsaved changes; resolves when the server has them or the attempt failed. */
  async function flush({ keepalive = false } = {}) {
    clearTimeout(timer);
    if (saving && !keepalive) await saving;
    if (!dirty || closed) return;
    const sent = body;
    saving = save(sent, keepalive);
    await saving;
    saving = null;
    if (dirty && body !== sent && !closed) later(PAUSE_MS);
  }

  async function save(sent, keepalive) {
    try {
      const reply = await put(
        `/api/assignments/${id}/draft`,
        { version, body: sent },
        { keepalive },
      );
      version = reply.version;
      attempt = 0;
      if (body === sent) dirty = false;
      remember();
      show(dirty ? "saving" : "saved", reply.saved_at);
    } catch (error) {
      await failed(error);
    }
  }

  async function failed(error) {
    if (error instanceof Unreached || error.status === 429) {
      const pause = error.retryAfter
        ? error.retryAfter * 1000
        : RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)];
      attempt += 1;
      show("kept", error.message);
      later(pause);
    } else if (error instanceof Refused && error.code === "draft_stale") {
      await settle(error.body.draft);
    } else if (error instanceof Refused && error.code === "already_submitted") {
      close();
      onSubmitted();
    } else {
      show("problem", error.message);
    }
  }

  /** There are two drafts: the person chooses one, which is saved over the newer version. */
  async function settle(theirs) {
    const mine = { body, at: kept(name)?.at };
    version = theirs.version;
    if (JSON.stringify(theirs.body) === JSON.stringify(body)) {
      dirty = false;
    } else if ((await choose({ mine, theirs })) === "theirs") {
      [body, dirty] = [theirs.body, false];
      onReplaced(body);
    }
    remember();
    if (dirty) later(0);
    else show("saved", theirs.saved_at);
  }

  function close() {
    closed = true;
    clearTimeout(timer);
  }

  async function begin() {
    if (!dirty) return show("saved", server?.saved_at ?? "");
    if (server && local && local.version < server.version) return settle(server);
    show("saving", "");
    later(0);
  }

  return {
    begin,
    change,
    flush,
    close,
    body: () => body,
    dirty: () => dirty,
    /** Forget the draft once the submission is acknowledged. */
    done: () => {
      close();
      forget(name);
    },
    /** Resume after a submission was refused or taken back. */
    reopen: () => {
      closed = false;
    },
  };
}
