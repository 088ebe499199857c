// All answers together: into tiers by dragging, by the tier's number, or by the arrows; ties share a tier.
import { $$, h, newId, put } from "../lib/dom.js";
import { foldable, numWords } from "../lib/fold.js";
import { keyCap, openDialog } from "../lib/keys.js";
import { say } from "../lib/say.js";
import { difference, side } from "./difference.js";
import { ladder } from "./ladder.js";
import { ratingOf } from "./rate.js";
import { insert, nudge, place, tiedWith, tieWithAbove, unplaced } from "./tiers.js";

const START_CHARACTERS = 60;

/** The ranking of `task`: {cards, panel, sync(body), keys, goTo(id)}. */
export function rankView(task, letters) {
  const { answers } = task.assignment;
  const ids = answers.map(({ id }) => id);
  const numTiers = ids.length;
  let current = ids[0];
  let comparing = [];

  const move = (after) => {
    task.change((body) => ({ ...body, places: after(body.places ?? {}) }));
    say(whereIs(task.body().places ?? {}, current));
  };
  const act = {
    place: (id, tier) => {
      pick(id, false);
      move((places) => place(places, id, tier));
    },
    insert: (id, gap) => {
      pick(id, false);
      move((places) => insert(places, id, gap, numTiers));
    },
    pick: (id) => pick(id, true),
  };
  const rungs = ladder({
    ids,
    letters,
    act,
    starts: Object.fromEntries(
      answers.map(({ id, text }) => [id, text.slice(0, START_CHARACTERS)]),
    ),
  });
  const cards = Object.fromEntries(answers.map((answer) => [answer.id, card(answer)]));

  function whereIs(places, id) {
    const left = unplaced(places, ids).length;
    const ties = tiedWith(places, id).map((other) => letters[other]);
    const where = places[id]
      ? `in tier ${places[id]}${ties.length ? `, tied with ${ties.join(" and ")}` : ""}`
      : "taken out";
    return `Answer ${letters[id]} ${where}. ${left ? `${left} left to place.` : "All are placed."}`;
  }

  function pick(id, focus) {
    current = id;
    for (const other of ids) cards[other].node.classList.toggle("current", other === id);
    rungs.sync(task.body().places ?? {}, current);
    if (!focus) return;
    cards[id].node.focus({ preventScroll: true });
    cards[id].node.scrollIntoView({ block: "nearest" });
  }

  function card({ id, text }) {
    const letter = letters[id];
    const name = newId("place");
    const fold = foldable(text);
    const handle = h("b", { class: "letter handle", title: "Drag into a tier" }, letter);
    rungs.grip(handle, id);
    const radios = h(
      "div",
      { class: "segments places", role: "radiogroup", "aria-label": `Tier of answer ${letter}` },
      ids.map((_, index) =>
        h(
          "label",
          {},
          h("input", {
            type: "radio",
            class: "unseen",
            name,
            value: String(index + 1),
            "aria-label": `Tier ${index + 1}`,
            on: { change: () => act.place(id, index + 1) },
          }),
          h("span", {}, String(index + 1)),
        ),
      ),
    );
    const out = h(
      "button",
      {
        class: "link small",
        type: "button",
        "aria-label": `Take answer ${letter} out of the ranking`,
        on: { click: () => act.place(id, 0) },
      },
      "Take out",
    );
    const compare = h(
      "button",
      {
        class: "link small",
        type: "button",
        "aria-pressed": "false",
        "aria-label": `Compare answer ${letter}`,
        on: { click: () => toggleCompare(id) },
      },
      "Compare",
    );
    const recap = h("span", { class: "recap soft small" });
    const place = h("span", { class: "where small" });
    const node = h(
      "article",
      {
        class: "card answer",
        tabindex: 0,
        "aria-labelledby": `${name}-title`,
        data: { answer: id },
        on: { focusin: () => pick(id, false), pointerdown: () => pick(id, false) },
      },
      h(
        "header",
        {},
        handle,
        h("h3", { id: `${name}-title`, class: "unseen" }, `Answer ${letter}`),
        recap,
        place,
      ),
      fold.node,
      h(
        "footer",
        {},
        h(
          "div",
          { class: "tier-pick" },
          h("span", { class: "soft small", "aria-hidden": "true" }, "Tier"),
          radios,
        ),
        h("span", { class: "acts" }, out, compare),
      ),
    );
    return { node, radios, out, compare, recap, place, fold };
  }

  function toggleCompare(id) {
    comparing = comparing.includes(id)
      ? comparing.filter((other) => other !== id)
      : [...comparing, id];
    if (comparing.length === 2) {
      showDifference(
        comparing.map((chosen) => answers.find((answer) => answer.id === chosen)),
        letters,
      );
      comparing = [];
    } else if (comparing.length) {
      say(`Answer ${letters[id]} chosen; choose another to compare it with.`);
    }
    for (const other of ids) {
      cards[other].compare.setAttribute("aria-pressed", String(comparing.includes(other)));
      cards[other].compare.textContent =
        comparing.length && !comparing.includes(other)
          ? `Compare with ${letters[comparing[0]]}`
          : "Compare";
    }
  }

  function sync(body) {
    const places = body.places ?? {};
    for (const id of ids) {
      const { node, radios, out, recap, place: label } = cards[id];
      const rating = ratingOf(body, id);
      const numFlags = Object.values(rating.flags).filter(Boolean).length;
      const ties = tiedWith(places, id).map((other) => letters[other]);
      $$("input", radios).forEach((input) => {
        input.checked = Number(input.value) === (places[id] || 0);
      });
      out.hidden = !places[id];
      const flags = numFlags ? `${numFlags} ${numFlags === 1 ? "flag" : "flags"}` : "";
      recap.textContent = [rating.likert ? `${rating.likert} of 7` : "", flags]
        .filter(Boolean)
        .join(" · ");
      label.textContent = ties.length ? `tied with ${ties.join(", ")}` : "";
      node.classList.toggle("placed", Boolean(places[id]));
    }
    rungs.sync(places, current);
  }

  const step = (by) => pick(ids[(ids.indexOf(current) + by + ids.length) % ids.length], true);
  const keys = [
    {
      key: "1",
      shown: ["1", String(numTiers)],
      range: true,
      does: "put the marked answer into that tier (two in one tier are tied)",
      run: () => act.place(current, 1),
    },
    ...ids
      .slice(1)
      .map((_, index) => ({
        key: String(index + 2),
        hidden: true,
        does: "",
        run: () => act.place(current, index + 2),
      })),
    {
      key: "a",
      shown: ["a", letters[ids.at(-1)].toLowerCase()],
      range: true,
      does: "go to that answer",
      run: () => pick(ids[0], true),
    },
    ...ids
      .slice(1)
      .map((id) => ({
        key: letters[id].toLowerCase(),
        hidden: true,
        does: "",
        run: () => pick(id, true),
      })),
    {
      key: "ArrowRight",
      shown: ["ArrowLeft", "ArrowRight"],
      does: "previous, next answer",
      run: () => step(1),
    },
    { key: "ArrowLeft", hidden: true, does: "", run: () => step(-1) },
    {
      key: "ArrowUp",
      shown: ["ArrowUp", "ArrowDown"],
      does: "one tier better, worse",
      run: () => move((places) => nudge(places, current, -1, numTiers)),
    },
    {
      key: "ArrowDown",
      hidden: true,
      does: "",
      run: () => move((places) => nudge(places, current, 1, numTiers)),
    },
    {
      key: "=",
      does: "tie with the next better one",
      run: () => move((places) => tieWithAbove(places, current)),
    },
    { key: "0", does: "take out of the ranking", run: () => act.place(current, 0) },
    {
      key: "v",
      does: "compare: mark this answer, then another one",
      run: () => toggleCompare(current),
    },
    {
      key: "z",
      does: "fold or unfold the marked answer",
      run: () => cards[current].fold.toggle?.(),
    },
  ];
  const list = put(
    h("div", { class: "answers" }),
    ids.map((id) => cards[id].node),
  );
  return { cards: list, panel: rungs.node, sync, keys, goTo: (id) => pick(id, true) };
}

/** Two answers side by side, their differences marked by words. */
function showDifference([left, right], letters) {
  const parts = difference(left.text, right.text);
  const column = (answer, which) =>
    h(
      "section",
      { "aria-label": `Answer ${letters[answer.id]}` },
      h(
        "h3",
        {},
        h("b", { class: "letter" }, letters[answer.id]),
        h("span", { class: "soft small" }, ` ${numWords(answer.text)} words`),
      ),
      h("div", { class: "prose", dir: "auto" }, side(parts, which)),
    );
  openDialog(
    h(
      "dialog",
      { class: "difference", "aria-labelledby": "difference-title" },
      h(
        "form",
        { method: "dialog" },
        h(
          "header",
          {},
          h(
            "h2",
            { id: "difference-title" },
            `Answers ${letters[left.id]} and ${letters[right.id]}`,
          ),
          keyCap("Escape"),
          h("button", { class: "quiet icon", "aria-label": "Close" }, "×"),
        ),
        h(
          "div",
          { class: "columns", tabindex: 0, role: "group", "aria-label": "Both answers" },
          column(left, "left"),
          column(right, "right"),
        ),
      ),
    ),
  );
}
