// The difference between two texts, word by word, and its nodes.
import { h } from "../lib/dom.js";

const MAX_CELLS = 4_000_000;

/** The words, each with the space before it; joined, they give the text back. */
export function words(text) {
  return text.match(/\s*\S+|\s+$/g) ?? [];
}

/**
 * The two texts as runs, [{kind: "same" | "left" | "right", left, right}]: `left` and `right` are the
 * run's part of each text, "" if it has none; in a "same" run they differ at most in white space.
 * A longest common subsequence aligns the words between the common start and the common end. If these
 * are too many (more than 2000 x 2000), all of them count as different.
 */
export function difference(left, right) {
  const [a, b] = [words(left), words(right)];
  let start = 0;
  while (start < a.length && start < b.length && same(a[start], b[start])) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && same(a.at(-1 - end), b.at(-1 - end)))
    end += 1;
  const [endA, endB] = [a.length - end, b.length - end];
  const both = (one, other) => one.map((word, index) => common(word, other[index]));
  return runs([
    ...both(a.slice(0, start), b.slice(0, start)),
    ...between(a.slice(start, endA), b.slice(start, endB)),
    ...both(a.slice(endA), b.slice(endB)),
  ]);
}

const same = (one, other) => one.trim() === other.trim();
const common = (left, right) => ({ kind: "same", left, right });
const onlyLeft = (left) => ({ kind: "left", left, right: "" });
const onlyRight = (right) => ({ kind: "right", left: "", right });

function between(a, b) {
  if (a.length * b.length > MAX_CELLS) return [...a.map(onlyLeft), ...b.map(onlyRight)];
  const length = table(a, b);
  const out = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    if (same(a[i], b[j])) out.push(common(a[i++], b[j++]));
    else if (length[i + 1][j] >= length[i][j + 1]) out.push(onlyLeft(a[i++]));
    else out.push(onlyRight(b[j++]));
  }
  return [...out, ...a.slice(i).map(onlyLeft), ...b.slice(j).map(onlyRight)];
}

/** length[i][j]: length of a longest common subsequence of a from i on and b from j on. */
function table(a, b) {
  const length = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      length[i][j] = same(a[i], b[j])
        ? length[i + 1][j + 1] + 1
        : Math.max(length[i + 1][j], length[i][j + 1]);
    }
  }
  return length;
}

function runs(parts) {
  const out = [];
  for (const { kind, left, right } of parts) {
    const last = out.at(-1);
    if (last?.kind !== kind) out.push({ kind, left, right });
    else Object.assign(last, { left: last.left + left, right: last.right + right });
  }
  return out;
}

/** One side ("left" or "right") of a difference as nodes; marks the words that only this side has. */
export function side(parts, which) {
  const mark = which === "left" ? "del" : "ins";
  return parts
    .filter(({ kind }) => kind === "same" || kind === which)
    .flatMap(({ kind, [which]: text }) =>
      kind === "same" ? [text] : [text.match(/^\s*/)[0], h(mark, {}, text.trimStart())],
    );
}
