// Write a prompt: plain, few-shot (an instruction with examples) or user-based (for a use case; A.2).
import { h, newId, put } from "../lib/dom.js";
import { editor } from "./editor.js";

const STYLES = {
  plain: ["Plain", "Any task that you can think of; vary the tasks."],
  few_shot: [
    "Few-shot",
    "An instruction, and several pairs of a query and a response that follows it.",
  ],
  user_based: ["User-based", "A prompt that fits the given use case."],
};
const [MIN_EXAMPLES, MAX_EXAMPLES] = [2, 8];
const BLANK = { query: "", response: "" };

/** The writing part of `task`: {node, sync(body), submission(body), trouble(body), focus()}. */
export function promptsView(task) {
  const { brief, limit } = task.assignment;
  const set = (part, options = { undoable: false }) =>
    task.change((body) => ({ ...body, ...part }), options);
  const styleOf = (body) => body.style ?? brief?.style ?? "plain";
  const styles = brief?.style ? null : chooser((style) => set({ style }, { undoable: true }));
  const prompt = editor({
    label: "Prompt",
    limit,
    rows: 6,
    write: (text) => set({ prompt: text }),
  });
  const response = editor({
    label: "Response",
    hint: "optional",
    limit,
    rows: 6,
    write: (text) => set({ response: text }),
  });
  const examples = examplesPanel((list, undoable) => set({ examples: list }, { undoable }));
  const node = h(
    "div",
    { class: "judge" },
    brief?.style ? h("p", { class: "soft" }, STYLES[brief.style][1]) : null,
    styles?.node,
    prompt.node,
    examples.node,
    response.node,
  );

  return {
    node,
    sync(body) {
      const few = styleOf(body) === "few_shot";
      styles?.sync(styleOf(body));
      prompt.node.querySelector("label").firstChild.textContent = few ? "Instruction" : "Prompt";
      prompt.sync(body.prompt ?? "");
      response.sync(body.response ?? "");
      [examples.node.hidden, response.node.hidden] = [!few, few];
      examples.sync(body.examples ?? [BLANK, BLANK]);
    },
    submission(body) {
      const few = styleOf(body) === "few_shot";
      return {
        outcome: "written",
        style: styleOf(body),
        prompt: body.prompt,
        response: few ? null : body.response?.trim() || null,
        ...(few ? { examples: body.examples } : {}),
        note: body.note ?? "",
      };
    },
    trouble(body) {
      if (!body.prompt?.trim()) return "Write a prompt first, or skip the task.";
      const blank = (body.examples ?? [BLANK]).some(
        ({ query, response: text }) => !query.trim() || !text.trim(),
      );
      if (styleOf(body) === "few_shot" && blank)
        return "Each example needs a query and a response.";
      return prompt.over() || response.over()
        ? "The text is longer than the limit; shorten it."
        : "";
    },
    focus: () => prompt.field.focus(),
  };
}

function chooser(choose) {
  const name = newId("style");
  const node = h(
    "fieldset",
    { class: "styles" },
    h("legend", {}, "Kind of prompt"),
    h(
      "div",
      { class: "segments" },
      Object.entries(STYLES).map(([value, [label]]) =>
        h(
          "label",
          {},
          h("input", {
            type: "radio",
            class: "unseen",
            name,
            value,
            on: { change: () => choose(value) },
          }),
          h("span", {}, label),
        ),
      ),
    ),
  );
  return {
    node,
    sync: (style) => {
      node.querySelector(`input[value="${style}"]`).checked = true;
    },
  };
}

function examplesPanel(change) {
  let list = [];
  const box = h("div", { class: "examples" });
  const more = h(
    "button",
    { type: "button", class: "link", on: { click: () => change([...list, BLANK], true) } },
    "Add an example",
  );
  const node = h("div", {}, box, more);

  const write = (index, part) => {
    list = list.map((example, place) => (place === index ? { ...example, ...part } : example));
    change(list, false);
  };
  const row = (example, index) => {
    const [query, response] = ["query", "response"].map((part) =>
      h("textarea", {
        rows: 2,
        dir: "auto",
        value: example[part],
        "aria-label": `${part === "query" ? "Query" : "Response"} of example ${index + 1}`,
        placeholder: part === "query" ? "Query" : "Response",
        on: { input: (event) => write(index, { [part]: event.target.value }) },
      }),
    );
    const drop = h(
      "button",
      {
        type: "button",
        class: "link small",
        "aria-label": `Remove example ${index + 1}`,
        hidden: list.length <= MIN_EXAMPLES,
        on: {
          click: () =>
            change(
              list.filter((_, place) => place !== index),
              true,
            ),
        },
      },
      "Remove",
    );
    return h(
      "div",
      { class: "example" },
      h("span", { class: "soft small" }, `Example ${index + 1}`),
      query,
      response,
      drop,
    );
  };
  const shown = () => [...box.querySelectorAll("textarea")].map((field) => field.value);

  function sync(next) {
    list = next;
    const wanted = list.flatMap(({ query, response }) => [query, response]);
    if (JSON.stringify(shown()) !== JSON.stringify(wanted)) put(box, list.map(row));
    more.hidden = list.length >= MAX_EXAMPLES;
  }
  return { node, sync };
}
