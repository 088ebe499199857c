// The account's own page: appearance, topics, the optional self-description, the password.
import { $, $$, h, newId, put } from "../lib/dom.js";
import { keep } from "../lib/keep.js";
import { singleKeysOn } from "../lib/keys.js";
import { get, post } from "../lib/net.js";
import { onSubmit, revealPasswords } from "./form.js";

const NOT_SAID = "not answered";

appearance();
revealPasswords($("#password-form"));
onSubmit($("#password-form"), async ({ old, new: fresh }) => {
  const reply = await post("/api/password", { old, new: fresh });
  $("#password-form").reset();
  kept($("#password-form"), "Changed. All your other sessions have ended.");
  return reply;
});
load();

async function load() {
  try {
    const me = await get("/api/me");
    $("#private").textContent = me.private;
    put($("#topics .fields"), me.topics.map(topicRow));
    put($("#self .fields"), me.self_description.fields.map(fieldRow));
    $("#forget").hidden = !me.self_description.updated_at;
  } catch (error) {
    for (const alert of $$('#topics [role="alert"], #self [role="alert"]'))
      alert.textContent = error.message;
  }
}

onSubmit($("#topics"), async (values) => {
  const said = { yes: true, no: false };
  const topics = $$("#topics fieldset").map((row) => [
    row.dataset.topic,
    said[values[row.dataset.group]] ?? null,
  ]);
  await post("/api/me/topics", { values: Object.fromEntries(topics) });
  kept($("#topics"), "Saved.");
});

onSubmit($("#self"), async () => {
  const values = $$("#self fieldset").map((row) => [row.dataset.field, chosen(row)]);
  await post("/api/me/self-description", { values: Object.fromEntries(values) });
  $("#forget").hidden = false;
  kept($("#self"), "Saved.");
});

$("#forget").addEventListener("click", async () => {
  await post("/api/me/self-description/delete");
  await load();
  kept($("#self"), "Deleted.");
});

function chosen(row) {
  const values = $$("input:checked", row)
    .map((input) => input.value)
    .filter(Boolean);
  if (row.dataset.kind === "several") return values.length ? values : null;
  return values[0] ?? null;
}

const kept = (form, text) => {
  $(".saved", form).textContent = text;
};

function topicRow({ topic, question, value }) {
  const group = newId("topic");
  const options = [
    ["yes", "Yes", true],
    ["no", "No", false],
    ["", NOT_SAID, null],
  ];
  return h(
    "fieldset",
    { class: "tag", data: { topic, group } },
    h("legend", {}, question),
    h(
      "div",
      { class: "segments" },
      options.map(([name, text, meaning]) =>
        h(
          "label",
          {},
          h("input", {
            type: "radio",
            class: "unseen",
            name: group,
            value: name,
            checked: meaning === (value ?? null),
          }),
          h("span", {}, text),
        ),
      ),
    ),
  );
}

function fieldRow({ name, question, kind, options, value }) {
  const group = newId("field");
  const said = new Set([value ?? []].flat());
  const rows = kind === "several" ? options : ["", ...options];
  return h(
    "fieldset",
    { class: "choices", data: { field: name, kind } },
    h("legend", {}, question),
    h(
      "div",
      { class: "choice-grid" },
      rows.map((option) =>
        h(
          "label",
          { class: "check" },
          h("input", {
            type: kind === "several" ? "checkbox" : "radio",
            name: group,
            value: option,
            checked: option ? said.has(option) : said.size === 0,
          }),
          h("span", {}, option || NOT_SAID),
        ),
      ),
    ),
  );
}

function appearance() {
  let theme = "";
  try {
    theme = localStorage.getItem("understudy:theme") ?? "";
  } catch {
    /* storage is off */
  }
  for (const input of $$("#theme input")) {
    input.checked = input.value === theme;
    input.addEventListener("change", () => {
      document.documentElement.dataset.theme = input.value;
      try {
        localStorage.setItem("understudy:theme", input.value);
      } catch {
        /* storage is off */
      }
    });
  }
  const keys = $("#single-keys");
  keys.checked = singleKeysOn();
  keys.addEventListener("change", () => keep("keys", keys.checked ? "on" : "off"));
}
