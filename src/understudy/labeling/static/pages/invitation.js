// An invitation or a reset: the one-time token is in the URL's fragment, which reaches no server log.
import { $, put, h } from "../lib/dom.js";
import { post } from "../lib/net.js";
import { onSubmit, revealPasswords } from "./form.js";

const token = decodeURIComponent(location.hash.slice(1));
const form = $("#invitation");
addEventListener("hashchange", () => location.reload());

try {
  const { kind, name, expires_at } = await post("/api/invitation/check", { token });
  if (kind === "reset") $("h1").textContent = "A new password";
  if (name) form.elements.name.value = name;
  form.elements.name.readOnly = kind === "reset";
  $("#expires").textContent =
    `The link works once, until ${new Date(expires_at).toLocaleString()}.`;
  form.hidden = false;
  form.elements[name ? "password" : "name"].focus();
} catch (error) {
  put(
    $("#lead"),
    error.message,
    " ",
    h("span", {}, "Ask the person who invited you for a new link."),
  );
}

onSubmit(form, ({ name, password, again }) => {
  if (password !== again) throw new Error("The two passwords differ.");
  return post("/api/invitation", { token, name, password });
});
revealPasswords();
