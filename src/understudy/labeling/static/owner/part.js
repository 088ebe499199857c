// The owner's pages that the server renders: it escapes every text, and this script puts the HTML in
// place and acts on its attributes:
// data-post   a button or form; sends its data-body or its fields as JSON, then reloads the page except
//             elements with data-keep or, with data-into, shows the reply there
// data-get    a button; shows the reply to a GET in the element that data-into names
// data-load   an element; fetches its own content
// data-poll   an element; is fetched again until the server leaves the attribute out
import { $, $$ } from "../lib/dom.js";
import { conversation } from "../lib/fold.js";
import { request } from "../lib/net.js";
import { toast } from "../lib/say.js";
import { askOverThePage } from "../lib/session.js";

const POLL_MS = 1000;
const page = $("#page");
const path = (page.dataset.part ?? `/api${location.pathname}`) + location.search;
askOverThePage(document.documentElement.dataset.name);

async function load() {
  page.setAttribute("aria-busy", "true");
  try {
    const html = await request("GET", path, undefined, { part: true, pending: wait });
    const kept = $$("[data-keep]", page);
    show(page, html);
    for (const old of kept) $(`#${old.id}`, page).replaceWith(old);
  } catch (error) {
    page.replaceChildren(...document.importNode($("#failed").content, true).childNodes);
    $(".trouble", page).textContent = error.message;
  }
  page.setAttribute("aria-busy", "false");
}

/** Say that the numbers take a while. */
function wait() {
  if ($$(".pending", page).length) return;
  page.replaceChildren(...document.importNode($("#pending").content, true).childNodes);
}

/** Put the server's HTML into `place`. It is parsed as a separate document, so no script in it runs. */
function show(place, html) {
  place.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
  for (const time of $$("time", place)) {
    const format = { dateStyle: "medium", timeStyle: "short" };
    time.textContent = new Date(time.dateTime).toLocaleString([], format);
  }
  for (const field of $$("[data-link]", place)) field.value = location.origin + field.value;
  for (const node of $$("[data-conversation]", place)) {
    node.replaceChildren(conversation(JSON.parse(node.dataset.conversation), { fold: true }));
  }
  for (const node of $$("[data-load]", place)) fetchInto(node, node.dataset.load).catch(complain);
  if ($$("[data-poll]", place).length) setTimeout(() => poll().catch(() => {}), POLL_MS);
}

async function fetchInto(place, from) {
  show(place, await request("GET", from, undefined, { part: true }));
}

/** Redraw only the elements that are polled. */
async function poll() {
  const html = await request("GET", path, undefined, { part: true });
  const { body } = new DOMParser().parseFromString(html, "text/html");
  for (const old of $$("[data-poll]", page)) {
    const fresh = $(`#${old.id}`, body);
    old.toggleAttribute("data-poll", fresh.hasAttribute("data-poll"));
    show(old, fresh.innerHTML);
  }
  if ($$("[data-poll]", page).length) setTimeout(() => poll().catch(() => {}), POLL_MS);
}

/** A form's fields as JSON. With data-null, empty text is null; data-json marks values that are JSON. */
function bodyOf(form) {
  const fields = [...form.elements].filter((field) => field.name);
  return Object.fromEntries(fields.map((field) => [field.name, valueIn(field)]));
}

function valueIn(field) {
  if (field.type === "checkbox") return field.checked;
  if ("percent" in field.dataset) return Number(field.value) / 100;
  if ("json" in field.dataset) return JSON.parse(field.value);
  const text = field.value.trim();
  return text === "" && "null" in field.dataset ? null : text;
}

async function send(node, body, button) {
  button.disabled = true;
  try {
    const { post, into, said } = node.dataset;
    const reply = await request("POST", post, body, { part: Boolean(into) });
    if (into) show($(into), reply);
    else await load();
    const words = said ?? reply.said?.join(". ");
    if (words) toast(words);
  } catch (error) {
    complain(error);
  }
  button.disabled = false;
}

const complain = (error) => toast(error.message, { kind: "problem" });

page.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.post) return;
  event.preventDefault();
  send(form, bodyOf(form), event.submitter);
});

page.addEventListener("click", async ({ target }) => {
  const button = target.closest("button");
  if (!button) return;
  const { post, body, get, into, open, close, copy, again } = button.dataset;
  if (post) await send(button, JSON.parse(body), button);
  else if (get) await fetchInto($(into), get).catch(complain);
  else if (open !== undefined) button.nextElementSibling.showModal();
  else if (close !== undefined) button.closest("dialog").close();
  else if (copy !== undefined) await copyText(button.previousElementSibling);
  else if (again !== undefined) await load();
});

async function copyText(field) {
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    toast("Copied.");
  } catch {
    document.execCommand?.("copy");
  }
}

load();
