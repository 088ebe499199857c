// The ranking as a value: `places` maps a response's id to its tier, 1 the best; 0 or nothing means
// not placed. With K responses there are K tiers; sending the ranking drops the empty ones.
// All functions are pure and return new objects.

/** Put a response into a tier (0 takes it out). */
export function place(places, id, tier) {
  return { ...places, [id]: tier };
}

/** Move one tier up (-1) or down (+1); a response without a place starts at the top or the bottom. */
export function nudge(places, id, by, numTiers) {
  const tier = places[id] || 0;
  if (!tier) return place(places, id, by < 0 ? 1 : Math.min(numTiers, lastTier(places) + 1));
  return place(places, id, Math.min(numTiers, Math.max(1, tier + by)));
}

/** Put a response into the tier of the next better one, which makes them a tie. */
export function tieWithAbove(places, id) {
  const mine = places[id] || Infinity;
  const better = Object.entries(places).filter(
    ([other, tier]) => other !== id && tier && tier < mine,
  );
  const above = Math.max(0, ...better.map(([, tier]) => tier));
  return above ? place(places, id, above) : places;
}

/**
 * Put a response alone between two tiers, after tier `gap` (0 is above all). Others move towards the
 * nearest empty tier; there always is one, since K - 1 others cannot fill K tiers.
 */
export function insert(places, id, gap, numTiers) {
  const others = { ...places, [id]: 0 };
  const used = new Set(Object.values(others).filter(Boolean));
  if (gap < numTiers && !used.has(gap + 1)) return place(others, id, gap + 1);
  const below = range(gap + 1, numTiers).find((tier) => !used.has(tier));
  if (below !== undefined) {
    return place(shift(others, gap + 1, below - 1, 1), id, gap + 1);
  }
  const above = range(1, gap)
    .reverse()
    .find((tier) => !used.has(tier));
  return place(shift(others, above + 1, gap, -1), id, gap);
}

/** The ranking to send: lists of ids, best first, no empty tier; responses without a place left out. */
export function tiersOf(places, ids) {
  const placed = ids.filter((id) => places[id]);
  const used = [...new Set(placed.map((id) => places[id]))].sort((a, b) => a - b);
  return used.map((tier) => placed.filter((id) => places[id] === tier));
}

/** The places for a ranking in the form in which it is sent. */
export function placesOf(tiers) {
  return Object.fromEntries(tiers.flatMap((tier, index) => tier.map((id) => [id, index + 1])));
}

/** Ids without a place yet. */
export const unplaced = (places, ids) => ids.filter((id) => !places[id]);

/** Ids that share a tier with `id`. */
export function tiedWith(places, id) {
  return Object.keys(places).filter(
    (other) => other !== id && places[id] && places[other] === places[id],
  );
}

const range = (first, last) =>
  Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index);
const lastTier = (places) => Math.max(0, ...Object.values(places));

function shift(places, first, last, by) {
  return Object.fromEntries(
    Object.entries(places).map(([id, tier]) => [
      id,
      tier >= first && tier <= last ? tier + by : tier,
    ]),
  );
}
