// Makes elements without parsing HTML: every text, whoever wrote it, becomes a text node.

const AS_PROPERTY = new Set([
  "checked",
  "disabled",
  "value",
  "hidden",
  "open",
  "selected",
  "indeterminate",
]);
const REFUSED = /^(on|style$|srcdoc$|innerHTML$|outerHTML$)/i;
const SVG = "http://www.w3.org/2000/svg";
const MATH = "http://www.w3.org/1998/Math/MathML";

/**
 * An element. `attributes`: `on` holds listeners, `data` data-* values, `class` a class list; null
 * and false leave an attribute out. Children are nodes, strings, numbers or lists of them; null is
 * left out. Markup and inline handlers are refused.
 */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element, under the same rules. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Nodes from the server's tree of texts and [tag, attributes, children]; refuses active elements. */
export function fromTree(tree, inMath = false) {
  return tree.map((node) => {
    if (typeof node === "string") return node;
    const [tag, attributes, children] = node;
    if (/^(script|style|iframe|object|embed|form|a|img|base|link|meta)$/i.test(tag))
      throw new Error(`${tag} is not allowed in a text`);
    const math = inMath || tag === "math";
    const made = math ? document.createElementNS(MATH, tag) : document.createElement(tag);
    return fill(made, attributes, fromTree(children, math));
  });
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) set(node, name, value);
  node.append(
    ...children
      .flat(Infinity)
      .filter((child) => child !== null && child !== undefined && child !== false),
  );
  return node;
}

function set(node, name, value) {
  if (name === "on") {
    for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
  } else if (REFUSED.test(name)) {
    throw new Error(`the attribute ${name} is not allowed`);
  } else if (name === "data") {
    for (const [key, datum] of Object.entries(value)) node.dataset[key] = datum;
  } else if (AS_PROPERTY.has(name)) {
    node[name] = value;
  } else if (value !== null && value !== undefined && value !== false) {
    node.setAttribute(name, value === true ? "" : String(value));
  }
}

/** The element for a selector; throws if there is none. */
export function $(selector, root = document) {
  const found = root.querySelector(selector);
  if (!found) throw new Error(`no element ${selector} on this page`);
  return found;
}

/** All elements for a selector, as an array. */
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Replace the children of `node`. */
export function put(node, ...children) {
  node.replaceChildren(
    ...children
      .flat(Infinity)
      .filter((child) => child !== null && child !== undefined && child !== false),
  );
  return node;
}

/** A new id for label/description pairs. */
export const newId = (() => {
  let count = 0;
  return (stem = "id") => `${stem}-${++count}`;
})();

/** A random UUID, also where the page is not a secure context. */
export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join("-");
}
