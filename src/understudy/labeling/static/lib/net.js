// @ts-check
// Requests to the server: JSON both ways, the CSRF token, and errors that say what to do next.

const TIMEOUT_S = 20;

/** The server refused the request: `status`, `code`, `message` for people, `body` for the program. */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   * @param {any} body
   * @param {number | null} retryAfter seconds
   */
  constructor(status, code, message, body, retryAfter) {
    super(message);
    this.name = "Refused";
    this.status = status;
    this.code = code;
    this.body = body;
    this.retryAfter = retryAfter;
  }
}

/** The server was unreachable or could not store anything: try again later. */
export class Unreached extends Error {
  constructor(message) {
    super(message);
    this.name = "Unreached";
  }
}

const meta = () =>
  /** @type {HTMLMetaElement} */ (document.querySelector('meta[name="csrf-token"]'));

/** Use a new CSRF token, such as sign-in returns. */
export function useToken(token) {
  if (token) meta().content = token;
}

export const get = (path, options = {}) => request("GET", path, undefined, options);
export const post = (path, body = {}, options = {}) => request("POST", path, body, options);
export const put = (path, body = {}, options = {}) => request("PUT", path, body, options);

/**
 * Asks for the password when the session has ended; session.js sets it on pages that keep work.
 *
 * @type {(() => Promise<void>) | null}
 */
let askAgain = null;
export const onSignedOut = (ask) => {
  askAgain = ask;
};

/**
 * The JSON reply. A stale CSRF token is renewed once. If the session has ended, asks for the password
 * in place (where a page has set that up) and continues. `keepalive` lets the request outlive the page.
 * While the server is still computing the reply, calls `pending()` and polls. With `part`, routes that
 * have a template reply with HTML.
 *
 * @param {"GET" | "POST" | "PUT"} method
 * @param {string} path
 * @param {any} body
 * @param {{keepalive?: boolean, again?: boolean, pending?: () => void, part?: boolean}} options
 * @returns {Promise<any>}
 */
export async function request(
  method,
  path,
  body = undefined,
  { keepalive = false, again = true, pending = () => {}, part = false } = {},
) {
  const response = await send(method, path, body, keepalive, part);
  const reply = await parse(response);
  if (response.status === 202 && reply?.pending) {
    pending();
    return request(method, path, body, { keepalive, again, pending, part });
  }
  if (response.ok) return reply;
  const {
    code = "internal",
    message = "The server sent a reply that this page does not understand.",
  } = reply?.error ?? {};
  if (code === "csrf" && again) {
    useToken((await request("GET", "/api/session", undefined, { again: false })).csrf_token);
    return request(method, path, body, { keepalive, again: false, part });
  }
  if (code === "signed_out" && askAgain && again && !keepalive) {
    await askAgain();
    return request(method, path, body, { keepalive, pending, part });
  }
  if (code === "gate" && reply.error.go && reply.error.go !== location.pathname)
    location.assign(reply.error.go);
  if (response.status >= 500) throw new Unreached(message);
  throw new Refused(
    response.status,
    code,
    message,
    reply,
    Number(response.headers.get("Retry-After")) || null,
  );
}

async function send(method, path, body, keepalive, part) {
  const headers = { Accept: part ? "text/html, application/json" : "application/json" };
  if (method !== "GET")
    Object.assign(headers, { "Content-Type": "application/json", "X-CSRF-Token": meta().content });
  try {
    return await fetch(path, {
      method,
      headers,
      keepalive,
      body: method === "GET" ? undefined : JSON.stringify(body ?? {}),
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
      signal: /** @type {any} */ (AbortSignal).timeout(TIMEOUT_S * 1000),
    });
  } catch {
    throw new Unreached(
      navigator.onLine === false ? "You are offline." : "The server cannot be reached.",
    );
  }
}

async function parse(response) {
  try {
    const isPart = response.headers.get("Content-Type")?.startsWith("text/html");
    return await (isPart ? response.text() : response.json());
  } catch {
    return null;
  }
}
