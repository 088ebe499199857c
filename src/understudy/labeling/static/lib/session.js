// When a session ends during work: ask for the password in place and continue.
import { h } from "./dom.js";
import { openDialog } from "./keys.js";
import { onSignedOut, request, useToken } from "./net.js";

let asking = null;

/** Ask in a dialog, only once even if several requests failed. Resolves after signing in again. */
export function askOverThePage(name) {
  onSignedOut(() => {
    asking ??= ask(name).finally(() => {
      asking = null;
    });
    return asking;
  });
}

function ask(name) {
  return new Promise((resolve) => {
    const trouble = h("p", { class: "trouble", role: "alert" });
    const field = h("input", {
      type: "password",
      autocomplete: "current-password",
      required: true,
      id: "again-password",
    });
    const button = h("button", { class: "primary", type: "submit" }, "Sign in and continue");
    const form = h(
      "form",
      {},
      h("h2", { id: "again-title" }, "Signed out"),
      h(
        "p",
        {},
        "Your session has ended. Nothing is lost: your work is kept in this browser, and you can continue once you sign in.",
      ),
      h("label", { for: "again-password" }, `Password of ${name}`),
      field,
      trouble,
      button,
    );
    const dialog = h("dialog", { "aria-labelledby": "again-title", class: "again" }, form);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      trouble.textContent = await signIn(name, field.value);
      button.disabled = false;
      if (trouble.textContent) return field.select();
      dialog.close();
      resolve();
    });
    openDialog(dialog);
    field.focus();
  });
}

/** Sign in; returns an empty string on success, else the error message. */
async function signIn(name, password) {
  try {
    const session = await request("GET", "/api/session", undefined, { again: false });
    useToken(session.csrf_token);
    const reply = await request("POST", "/api/sign-in", { name, password });
    useToken(reply.csrf_token);
    return "";
  } catch (error) {
    return error.message;
  }
}
