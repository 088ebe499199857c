// Forms that send JSON: one error line, one button that waits.
import { $, h } from "../lib/dom.js";
import { useToken } from "../lib/net.js";

/**
 * On submit of `form`, call `send(values)` with its fields by name. Errors are shown in the form's
 * alert line; if the reply has `go`, the browser goes there.
 */
export function onSubmit(form, send) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = $('button[type="submit"]', form);
    const trouble = $('[role="alert"]', form);
    trouble.textContent = "";
    button.disabled = true;
    try {
      const reply = await send(Object.fromEntries(new FormData(form)));
      useToken(reply?.csrf_token);
      if (reply?.go) return location.assign(reply.go);
    } catch (error) {
      trouble.textContent = error.message;
      const field = form.querySelector('input[type="password"]:last-of-type, input');
      if (error.code === "wrong_password") field?.select();
    }
    button.disabled = false;
  });
}

/** A button beside each password field that shows what is typed. */
export function revealPasswords(root = document) {
  for (const field of root.querySelectorAll('input[type="password"]')) {
    const button = h(
      "button",
      {
        type: "button",
        class: "link small reveal",
        "aria-pressed": "false",
        "aria-controls": field.id,
      },
      "Show",
    );
    button.addEventListener("click", () => {
      const show = field.type === "password";
      field.type = show ? "text" : "password";
      button.setAttribute("aria-pressed", String(show));
      button.textContent = show ? "Hide" : "Show";
    });
    field.after(button);
  }
}
