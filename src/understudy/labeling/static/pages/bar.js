// The bar of every page: the menu on small screens, signing out.
import { $, $$ } from "../lib/dom.js";
import { post, useToken } from "../lib/net.js";
import { numWaiting } from "../lib/outbox.js";

const toggle = document.querySelector("#menu-toggle");
toggle?.addEventListener("click", () => {
  const open = toggle.getAttribute("aria-expanded") !== "true";
  toggle.setAttribute("aria-expanded", String(open));
  $("#menu").classList.toggle("open", open);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || toggle?.getAttribute("aria-expanded") !== "true") return;
  toggle.click();
  toggle.focus();
});

for (const button of $$("[data-sign-out]")) {
  button.addEventListener("click", async () => {
    const waiting = numWaiting();
    if (
      waiting &&
      !confirm(
        waiting === 1
          ? "An answer in this browser has not been sent yet. It will be sent when you sign in here again. Sign out?"
          : `${waiting} answers in this browser have not been sent yet. They will be sent when you sign in here again. Sign out?`,
      )
    )
      return;
    try {
      const reply = await post("/api/sign-out");
      useToken(reply.csrf_token);
      location.assign(reply.go ?? "/sign-in");
    } catch (error) {
      button.textContent = error.message;
    }
  });
}
