// The ladder: K tiers, the best on top, with a chip per response that is dragged by mouse or touch.
import { $$, h, put } from "../lib/dom.js";
import { tiedWith, unplaced } from "./tiers.js";

const MOVE_PX = 5;
const EDGE_PX = 70;
const SCROLL_PX = 14;

/**
 * The ladder for `ids` with `letters` and `starts` (first words). Calls `act.place(id, tier)`,
 * `act.insert(id, gap)` and `act.pick(id)` as the person drags and clicks. Returns {node,
 * sync(places, current), grip(element, id)}: `grip` makes an element elsewhere draggable too.
 */
export function ladder({ ids, letters, starts, act }) {
  const chips = Object.fromEntries(
    ids.map((id) => [id, chip(letters[id], starts[id], () => act.pick(id))]),
  );
  const rows = ids.map((_, index) => row(index + 1, ids.length));
  const pool = h("div", { class: "pool", data: { tier: 0 } });
  const poolName = h("p", { class: "soft small" });
  const poolBox = h("div", { class: "pool-box" }, poolName, pool);
  const node = h(
    "div",
    { class: "ladder" },
    poolBox,
    h(
      "ol",
      { class: "tiers", "aria-label": "Ranking, best first" },
      rows.map((r) => r.node),
    ),
  );
  const grip = (element, id) => makeDraggable(element, id, letters[id], node, act);
  for (const id of ids) grip(chips[id], id);

  function sync(places, current) {
    put(
      pool,
      unplaced(places, ids).map((id) => chips[id]),
    );
    poolName.textContent = unplaced(places, ids).length ? "Not placed yet" : "All are placed";
    for (const [index, { slot }] of rows.entries()) {
      const here = ids.filter((id) => places[id] === index + 1);
      put(
        slot,
        here.map((id) => chips[id]),
      );
    }
    for (const id of ids) {
      chips[id].classList.toggle("current", id === current);
      const ties = tiedWith(places, id).map((other) => letters[other]);
      const where = places[id]
        ? `tier ${places[id]}${ties.length ? `, tied with ${ties.join(" and ")}` : ""}`
        : "not placed";
      chips[id].setAttribute("aria-label", `Response ${letters[id]}, ${where}. Go to it.`);
    }
  }
  return { node, sync, grip };
}

function chip(letter, start, pick) {
  return h(
    "button",
    { class: "chip", type: "button", on: { click: pick } },
    h("b", { class: "letter" }, letter),
    h("span", { class: "start" }, start),
  );
}

function row(tier, numTiers) {
  const slot = h("div", { class: "slot" });
  const word = tier === 1 ? "best" : tier === numTiers ? "worst" : "";
  const node = h(
    "li",
    { class: "tier", data: { tier } },
    h("span", { class: "number" }, String(tier), word && h("small", {}, word)),
    slot,
  );
  return { node, slot };
}

/** Where a drop at (x, y) would go: {tier} or {gap}, with the row to highlight; null outside. */
function target(node, x, y) {
  const row = document.elementFromPoint(x, y)?.closest("[data-tier]");
  if (!row || !node.contains(row)) return null;
  const tier = Number(row.dataset.tier);
  if (!tier || !row.querySelector(".chip:not(.lifted)")) return { row, tier };
  const box = row.getBoundingClientRect();
  const part = (y - box.top) / box.height;
  if (part < 0.25) return { row, gap: tier - 1, edge: "before" };
  if (part > 0.75) return { row, gap: tier, edge: "after" };
  return { row, tier, tie: true };
}

function makeDraggable(element, id, letter, node, act) {
  element.classList.add("grip");
  element.addEventListener("pointerdown", (down) => {
    if (down.button !== 0) return;
    let ghost = null;
    let over = null;

    const show = (found) => {
      for (const row of $$("[data-drop]", node)) delete row.dataset.drop;
      over = found;
      if (over) over.row.dataset.drop = over.edge ?? (over.tie ? "tie" : "into");
    };
    const lift = () => {
      ghost = h("div", { class: "ghost" }, letter);
      document.body.append(ghost);
      document.body.classList.add("dragging");
      document.body.classList.toggle("from-card", !node.contains(element));
      element.classList.add("lifted");
      element.setPointerCapture(down.pointerId);
    };
    const move = (event) => {
      const far = Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) > MOVE_PX;
      if (!ghost && !far) return;
      event.preventDefault();
      if (!ghost) lift();
      ghost.style.transform = `translate(${event.clientX}px, ${event.clientY}px)`;
      show(target(node, event.clientX, event.clientY));
      scrollNearEdge(event.clientY);
    };
    const end = (event) => {
      stop();
      if (ghost && event.type === "pointerup" && over) {
        if (over.gap === undefined) act.place(id, over.tier);
        else act.insert(id, over.gap);
      }
      show(null);
      if (!ghost) return;
      ghost.remove();
      document.body.classList.remove("dragging", "from-card");
      element.classList.remove("lifted");
      element.addEventListener("click", swallow, { capture: true, once: true });
      setTimeout(() => element.removeEventListener("click", swallow, { capture: true }), 0);
    };
    const cancel = (event) => {
      if (event.key === "Escape") end(event);
    };
    const stop = () => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", end);
      removeEventListener("pointercancel", end);
      removeEventListener("keydown", cancel);
    };
    addEventListener("pointermove", move, { passive: false });
    addEventListener("pointerup", end);
    addEventListener("pointercancel", end);
    addEventListener("keydown", cancel);
  });
}

function swallow(event) {
  event.stopPropagation();
  event.preventDefault();
}

function scrollNearEdge(y) {
  if (y < EDGE_PX) scrollBy(0, -SCROLL_PX);
  else if (y > innerHeight - EDGE_PX) scrollBy(0, SCROLL_PX);
}
