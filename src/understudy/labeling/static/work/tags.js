// Questions about the prompt itself: use case, and yes, no or unanswered for each tag.
import { $$, h, newId } from "../lib/dom.js";

/** The panel of `task`; the task stores the answers. */
export const tagsOf = (task) =>
  tagsPanel(task.assignment.questions, (tags) => task.change((body) => ({ ...body, tags })));

/** The panel: {node, sync(tags)}. `change(tags)` gets the new answers, unanswered ones left out. */
function tagsPanel(questions, change) {
  let tags = {};
  const answer = (name, value) => {
    const { [name]: _, ...rest } = tags;
    change(value === null ? rest : { ...rest, [name]: value });
  };
  const useCases = questions.use_cases.map(({ name, title }) => [name, title]);
  const groups = questions.groups.map((name) => [name, name]);
  const choices = [
    choice("use_case", "Use case", useCases, answer),
    ...(groups.length
      ? [choice("group", "Group that the prompt concerns most", groups, answer)]
      : []),
  ];
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
    choices.map((one) => one.node),
    rows.map((row) => row.node),
    restNo,
  );

  function sync(next) {
    tags = next ?? {};
    const asked = [...choices, ...rows];
    for (const one of asked) one.sync(tags[one.name]);
    const answered = asked.filter((one) => one.name in tags).length;
    count.textContent = `${answered} of ${asked.length} answered`;
  }
  return { node, sync };
}

/** A question with several answers, [value, title] each. */
function choice(name, title, options, answer) {
  const select = h(
    "select",
    { id: newId(name), on: { change: (event) => answer(name, event.target.value || null) } },
    h("option", { value: "" }, "not answered"),
    options.map(([value, text]) => h("option", { value }, text)),
  );
  const node = h("div", { class: "field" }, h("label", { for: select.id }, title), select);
  const sync = (value) => {
    select.value = value ?? "";
  };
  return { name, node, sync };
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
