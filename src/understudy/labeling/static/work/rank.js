// All responses together: put into tiers by dragging, number keys or arrow keys; ties share a tier.
import { h, put } from "../lib/dom.js";
import { say } from "../lib/say.js";
import { responseCard } from "./card.js";
import { comparing } from "./compare.js";
import { ladder } from "./ladder.js";
import { insert, nudge, place, tiedWith, tieWithAbove, unplaced } from "./tiers.js";

const START_CHARACTERS = 60;

/** The ranking of `task`: {cards, panel, sync(body), keys, goTo(id)}. */
export function rankView(task, letters) {
  const { answers: responses } = task.assignment;
  const ids = responses.map(({ id }) => id);
  const places = () => task.body().places ?? {};
  let current = ids[0];

  const move = (after) => {
    task.change((body) => ({ ...body, places: after(body.places ?? {}) }));
    say(whereIs(places(), current, letters));
  };
  const look = (id) => {
    current = id;
    for (const other of ids) cards[other].mark(other === id);
    rungs.sync(places(), current);
  };
  const goTo = (id) => {
    look(id);
    cards[id].node.focus({ preventScroll: true });
    cards[id].node.scrollIntoView({ block: "nearest" });
  };
  const settle = (id, after) => {
    look(id);
    move(after);
  };
  const act = {
    look,
    pick: goTo,
    compare: (id) => compare(id),
    place: (id, tier) => settle(id, (now) => place(now, id, tier)),
    insert: (id, gap) => settle(id, (now) => insert(now, id, gap, ids.length)),
  };
  const rungs = ladder({ ids, letters, act, starts: startsOf(responses) });
  const cards = cardsOf(responses, letters, act, rungs);
  const compare = comparing(responses, letters, cards);

  const step = (by) => goTo(ids[(ids.indexOf(current) + by + ids.length) % ids.length]);
  const keys = rankKeys(ids, letters, {
    step,
    goTo,
    place: (tier) => act.place(current, tier),
    nudge: (by) => move((now) => nudge(now, current, by, ids.length)),
    tie: () => move((now) => tieWithAbove(now, current)),
    compare: () => compare(current),
    fold: () => cards[current].fold.toggle?.(),
  });
  const sync = (body) => {
    for (const id of ids) cards[id].sync(body);
    rungs.sync(body.places ?? {}, current);
  };
  const list = put(
    h("div", { class: "answers" }),
    ids.map((id) => cards[id].node),
  );
  return { cards: list, panel: rungs.node, sync, keys, goTo };
}

/** The first words of each response. */
const startsOf = (responses) =>
  Object.fromEntries(responses.map(({ id, text }) => [id, text.slice(0, START_CHARACTERS)]));

/** A card for each response; its letter can be dragged. */
function cardsOf(responses, letters, act, rungs) {
  const cards = responses.map((response) => [response.id, responseCard(response, letters, act)]);
  for (const [id, card] of cards) rungs.grip(card.handle, id);
  return Object.fromEntries(cards);
}

/** "Response B in tier 2, tied with D. 1 left to place." */
function whereIs(places, id, letters) {
  const left = unplaced(places, Object.keys(letters)).length;
  const ties = tiedWith(places, id).map((other) => letters[other]);
  const where = places[id]
    ? `in tier ${places[id]}${ties.length ? `, tied with ${ties.join(" and ")}` : ""}`
    : "taken out";
  return `Response ${letters[id]} ${where}. ${left ? `${left} left to place.` : "All are placed."}`;
}

/** The keys of the ranking; `act` says what they do to the current response. */
function rankKeys(ids, letters, act) {
  const [up, down] = [() => act.nudge(-1), () => act.nudge(1)];
  const last = letters[ids.at(-1)].toLowerCase();
  return [
    ...many(
      { shown: ["1", String(ids.length)], does: TIER_KEYS },
      ids.map((_, index) => [String(index + 1), () => act.place(index + 1)]),
    ),
    ...many(
      { shown: ["a", last], does: "go to that response" },
      ids.map((id) => [letters[id].toLowerCase(), () => act.goTo(id)]),
    ),
    {
      key: "ArrowRight",
      shown: ["ArrowLeft", "ArrowRight"],
      does: "previous, next response",
      run: () => act.step(1),
    },
    unlisted("ArrowLeft", () => act.step(-1)),
    { key: "ArrowUp", shown: ["ArrowUp", "ArrowDown"], does: "one tier better, worse", run: up },
    unlisted("ArrowDown", down),
    { key: "=", does: "tie with the next better response", run: act.tie },
    { key: "0", does: "take out of the ranking", run: () => act.place(0) },
    { key: "v", does: "compare this response with another: press on each", run: act.compare },
    { key: "z", does: "fold or unfold this response", run: act.fold },
  ];
}

const TIER_KEYS = "put this response into that tier (responses in one tier are tied)";
const unlisted = (key, run) => ({ key, hidden: true, does: "", run });

/** A range of keys; the list shows only the first and the last. */
function many(shown, [[key, run], ...others]) {
  return [{ key, range: true, ...shown, run }, ...others.map(([k, r]) => unlisted(k, r))];
}
