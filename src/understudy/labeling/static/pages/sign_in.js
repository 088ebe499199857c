// Sign in, and go where the account belongs or where one came from.
import { $ } from "../lib/dom.js";
import { post } from "../lib/net.js";
import { onSubmit, revealPasswords } from "./form.js";

const then = new URLSearchParams(location.search).get("then");
/** Only a path of ours: one slash, then no other slash or backslash. */
const back = then && /^\/(?![/\\])/.test(then) ? then : null;

onSubmit($("#sign-in"), async ({ name, password }) => {
  const reply = await post("/api/sign-in", { name, password });
  const active = reply.account?.stage === "active" || reply.account?.owner;
  return { ...reply, go: back && active ? back : reply.go };
});
revealPasswords();
