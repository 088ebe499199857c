// Instructions as a page: plain text with blank lines, "# headings" and "- lists"; never HTML.
import { h } from "./dom.js";

/** Nodes for a plain text. Lines that start with # are headings; with - or *, list items. */
export function prose(text) {
  return text
    .trim()
    .split(/\n\s*\n/)
    .flatMap(block);
}

function block(text) {
  const lines = text.split("\n");
  const heading = /^(#{1,4})\s+(.*)$/.exec(lines[0]);
  if (heading) {
    const rest = lines.slice(1).join("\n").trim();
    return [h(heading[1].length < 3 ? "h2" : "h3", {}, heading[2]), ...(rest ? block(rest) : [])];
  }
  const first = lines.findIndex((line) => /^\s*[-*]\s+/.test(line));
  if (first < 0) return [h("p", {}, inline(lines.join(" ")))];
  const lead = first > 0 ? [h("p", {}, inline(lines.slice(0, first).join(" ")))] : [];
  return [
    ...lead,
    h(
      "ul",
      {},
      items(lines.slice(first)).map((item) => h("li", {}, inline(item))),
    ),
  ];
}

/** Items of a list; a line without a dash continues the item before it. */
function items(lines) {
  const out = [];
  for (const line of lines) {
    const start = /^\s*[-*]\s+(.*)$/.exec(line);
    if (start) out.push(start[1]);
    else out[out.length - 1] += ` ${line.trim()}`;
  }
  return out;
}

/** Bold for **text** and for a first word or two with a full stop ("Helpful. …"), and `code`. */
function inline(text) {
  const lead = /^[A-Z]\w+(?: \w+)?\.(?= )/.exec(text)?.[0];
  return lead ? [h("b", {}, lead), ...marked(text.slice(lead.length))] : marked(text);
}

function marked(text) {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).map((part) => {
    if (part.startsWith("**") && part.length > 4) return h("b", {}, part.slice(2, -2));
    if (part.startsWith("`") && part.length > 2) return h("code", {}, part.slice(1, -1));
    return part;
  });
}
