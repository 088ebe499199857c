// A response's card in the ranking: its text, its tier as radio buttons, removal, comparison.
import { $$, h, newId } from "../lib/dom.js";
import { foldable } from "../lib/fold.js";
import { ratingOf } from "./rate.js";
import { tiedWith } from "./tiers.js";

/**
 * The card of a response: {node, handle, fold, mark(on), offer(chosen, letter), sync(body)}. What the
 * person does goes to `act.place(id, tier)`, `act.look(id)` and `act.compare(id)`.
 */
export function responseCard({ id, text, tree }, letters, act) {
  const letter = letters[id];
  const title = newId("response");
  const fold = foldable(text, { tree });
  const handle = h("b", { class: "letter handle", title: "Drag into a tier" }, letter);
  const radios = tierRadios(letter, Object.keys(letters).length, (tier) => act.place(id, tier));
  const out = link("Take out", `Take response ${letter} out of the ranking`, () =>
    act.place(id, 0),
  );
  const compare = link("Compare", `Compare response ${letter}`, () => act.compare(id));
  compare.setAttribute("aria-pressed", "false");
  const recap = h("span", { class: "recap soft small" });
  const where = h("span", { class: "where small" });
  const look = () => act.look(id);
  const name = h("h3", { id: title, class: "unseen" }, `Response ${letter}`);
  const node = h(
    "article",
    {
      class: "card answer",
      tabindex: 0,
      "aria-labelledby": title,
      data: { answer: id },
      on: { focusin: look, pointerdown: look },
    },
    h("header", {}, handle, name, recap, where),
    fold.node,
    h("footer", {}, tierPick(radios), h("span", { class: "acts" }, out, compare)),
  );

  function sync(body) {
    const places = body.places ?? {};
    const ties = tiedWith(places, id).map((other) => letters[other]);
    $$("input", radios).forEach((input) => {
      input.checked = Number(input.value) === (places[id] || 0);
    });
    out.hidden = !places[id];
    recap.textContent = recapOf(ratingOf(body, id));
    where.textContent = ties.length ? `tied with ${ties.join(", ")}` : "";
    node.classList.toggle("placed", Boolean(places[id]));
  }
  return {
    node,
    handle,
    fold,
    sync,
    mark: (on) => node.classList.toggle("current", on),
    /** Update the Compare button: `chosen` if this card is marked, `other` the marked card's letter. */
    offer: (chosen, other) => {
      compare.setAttribute("aria-pressed", String(chosen));
      compare.textContent = other && !chosen ? `Compare with ${other}` : "Compare";
    },
  };
}

function link(text, label, run) {
  const attributes = { class: "link small", type: "button", "aria-label": label };
  return h("button", { ...attributes, on: { click: run } }, text);
}

const tierPick = (radios) =>
  h(
    "div",
    { class: "tier-pick" },
    h("span", { class: "soft small", "aria-hidden": "true" }, "Tier"),
    radios,
  );

function tierRadios(letter, numTiers, choose) {
  const name = newId("place");
  const radio = (tier) =>
    h("input", {
      type: "radio",
      class: "unseen",
      name,
      value: String(tier),
      "aria-label": `Tier ${tier}`,
      on: { change: () => choose(tier) },
    });
  const tiers = Array.from({ length: numTiers }, (_, index) => index + 1);
  return h(
    "div",
    { class: "segments places", role: "radiogroup", "aria-label": `Tier of response ${letter}` },
    tiers.map((tier) => h("label", {}, radio(tier), h("span", {}, String(tier)))),
  );
}

/** "6 of 7 · 2 flags" */
function recapOf(rating) {
  const numFlags = Object.values(rating.flags).filter(Boolean).length;
  const flags = numFlags ? `${numFlags} ${numFlags === 1 ? "flag" : "flags"}` : "";
  return [rating.likert ? `${rating.likert} of 7` : "", flags].filter(Boolean).join(" · ");
}
