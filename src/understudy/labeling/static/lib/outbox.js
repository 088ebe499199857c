// @ts-check
// Outgoing answers, kept in the browser until the server has acknowledged them.
import { forget, keep, kept, keptNames } from "./keep.js";
import { post, Unreached } from "./net.js";

/** @typedef {{assignment: string, action: "submit" | "skip", body: any, at: string}} Entry */

const STEM = "outbox:";

/**
 * Keep an answer to send; `body` contains the id that this browser generated.
 *
 * @param {string} assignment
 * @param {Entry["action"]} action
 * @param {any} body
 * @returns {Entry}
 */
export function lay(assignment, action, body) {
  const entry = { assignment, action, body, at: new Date().toISOString() };
  keep(STEM + assignment, entry);
  return entry;
}

/** The waiting entry of one assignment, or null. */
export const waiting = (assignment) => kept(STEM + assignment);

/** The number of waiting answers. */
export const numWaiting = () => keptNames(STEM).length;

/**
 * Send an entry. It stays in the outbox if the server was not reached (throws Unreached) and leaves it
 * once the server has replied, whatever the reply (throws Refused for a refusal).
 *
 * @param {Entry} entry
 */
export async function dispatch(entry) {
  try {
    const reply = await post(`/api/assignments/${entry.assignment}/${entry.action}`, entry.body);
    forget(STEM + entry.assignment);
    forget(`draft:${entry.assignment}`);
    forget(`edit:${entry.assignment}`);
    return reply;
  } catch (error) {
    if (!(error instanceof Unreached) && error.status !== 429 && error.status !== 401)
      forget(STEM + entry.assignment);
    throw error;
  }
}

/** Send all waiting entries; returns how many were sent. Refused ones keep their draft. */
export async function dispatchAll() {
  let sent = 0;
  for (const name of keptNames(STEM)) {
    try {
      await dispatch(kept(name));
      sent += 1;
    } catch (error) {
      if (error instanceof Unreached) break;
    }
  }
  return sent;
}
