// The difference between two texts by words, and as nodes.
import { h } from "../lib/dom.js";

const MAX_CELLS = 4_000_000;

/** Words with the space after them: joined they are the text again. */
export function words(text) {
  return text.match(/\s*\S+|\s+$/g) ?? [];
}

/**
 * The texts cut into runs: [{kind: "same" | "left" | "right", text}], by a longest common
 * subsequence of words after the common start and end are set aside. Texts too long for that
 * (more than 2000 x 2000 different words) are called different between start and end.
 */
export function difference(left, right) {
  const [a, b] = [words(left), words(right)];
  let start = 0;
  while (start < a.length && start < b.length && same(a[start], b[start])) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && same(a.at(-1 - end), b.at(-1 - end)))
    end += 1;
  const middle = common(a.slice(start, a.length - end), b.slice(start, b.length - end));
  return runs([
    ...a.slice(0, start).map((text) => ({ kind: "same", text })),
    ...middle,
    ...a.slice(a.length - end).map((text) => ({ kind: "same", text })),
  ]);
}

const same = (one, other) => one.trim() === other.trim();

function common(a, b) {
  const out = [];
  const push = (kind, texts) => texts.forEach((text) => out.push({ kind, text }));
  if (a.length * b.length > MAX_CELLS) {
    push("left", a);
    push("right", b);
    return out;
  }
  const length = table(a, b);
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    if (same(a[i], b[j])) {
      push("same", [a[i]]);
      i += 1;
      j += 1;
    } else if (length[i + 1][j] >= length[i][j + 1]) {
      push("left", [a[i]]);
      i += 1;
    } else {
      push("right", [b[j]]);
      j += 1;
    }
  }
  push("left", a.slice(i));
  push("right", b.slice(j));
  return out;
}

/** length[i][j]: words in common of a from i on and b from j on. */
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
  for (const { kind, text } of parts) {
    if (out.at(-1)?.kind === kind) out.at(-1).text += text;
    else out.push({ kind, text });
  }
  return out;
}

/** One side of a difference as nodes: what only it has is marked. */
export function side(parts, which) {
  const mark = which === "left" ? "del" : "ins";
  return parts
    .filter(({ kind }) => kind === "same" || kind === which)
    .flatMap(({ kind, text }) =>
      kind === "same" ? [text] : [text.match(/^\s*/)[0], h(mark, {}, text.trimStart())],
    );
}
