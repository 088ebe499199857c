// Sign in, and go to the account's page or back to the page that asked for it.
import { $ } from "../lib/dom.js";
import { post } from "../lib/net.js";
import { onSubmit, revealPasswords } from "./form.js";

const then = new URLSearchParams(location.search).get("then");
/** Only a path on this server: one slash, then no other slash or backslash. */
const back = then && /^\/(?![/\\])/.test(then) ? then : null;

onSubmit($("#sign-in"), async ({ name, password }) => {
  const reply = await post("/api/sign-in", { name, password });
  const active = reply.account?.stage === "active" || reply.account?.owner;
  return { ...reply, go: back && active ? back : reply.go };
});
revealPasswords();
