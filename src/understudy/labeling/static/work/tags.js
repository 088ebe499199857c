// Questions about the prompt itself: use case, and yes, no or unanswered for each tag.
import { $$, h, newId } from "../lib/dom.js";

/** The panel of `task`, which stores the answers. */
export const tagsOf = (task) =>
  tagsPanel(task.assignment.questions, (tags) => task.change((body) => ({ ...body, tags })));

/** The panel: {node, sync(tags)}. `change(tags)` gets the new answers, unanswered ones left out. */
function tagsPanel(questions, change) {
  let tags = {};
  const answer = (name, value) => {
    const { [name]: _, ...rest } = tags;
    change(value === null ? rest : { ...rest, [name]: value });
  };
  const select = h(
    "select",
    {
      id: newId("use-case"),
      on: { change: (event) => answer("use_case", event.target.value || null) },
    },
    h("option", { value: "" }, "not answered"),
    questions.use_cases.map(({ name, title }) => h("option", { value: name }, title)),
  );
  const rows = questions.tags.map(({ name, question }) => tagRow(name, question, answer));
  const restNo = h(
    "button",
    {
      class: "link",
      type: "button",
      on: {
        click: () => {
          const rest = questions.tags
            .filter((tag) => !(tag.name in tags))
            .map((tag) => [tag.name, false]);
          change({ ...tags, ...Object.fromEntries(rest) });
        },
      },
    },
    "No to the rest",
  );
  const count = h("span", { class: "soft" });
  const node = h(
    "details",
    { class: "tags card" },
    h("summary", {}, h("span", {}, "About the prompt "), count),
    h("div", { class: "field" }, h("label", { for: select.id }, "Use case"), select),
    rows.map((row) => row.node),
    restNo,
  );

  function sync(next) {
    tags = next ?? {};
    select.value = tags.use_case ?? "";
    for (const row of rows) row.sync(tags[row.name]);
    const answered =
      questions.tags.filter((tag) => tag.name in tags).length + (tags.use_case ? 1 : 0);
    count.textContent = `${answered} of ${questions.tags.length + 1} answered`;
  }
  return { node, sync };
}

function tagRow(name, question, answer) {
  const group = newId("tag");
  const option = (value, label) =>
    h(
      "label",
      {},
      h("input", {
        type: "radio",
        class: "unseen",
        name: group,
        value: String(value),
        on: {
          change: () => answer(name, value),
          click: (event) => {
            if (event.target.dataset.was === "yes") {
              event.target.checked = false;
              answer(name, null);
            }
          },
        },
      }),
      h("span", {}, label),
    );
  const node = h(
    "fieldset",
    { class: "tag" },
    h("legend", {}, question),
    h("div", { class: "segments" }, option(true, "Yes"), option(false, "No")),
  );
  const sync = (value) =>
    $$("input", node).forEach((input) => {
      input.checked = input.value === String(value);
      input.dataset.was = input.checked ? "yes" : "no";
    });
  return { name, node, sync };
}
