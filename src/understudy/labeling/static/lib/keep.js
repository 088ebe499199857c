// @ts-check
// Small JSON values per account, in localStorage, or in memory where that is off.

const memory = new Map();
const prefix = () => `understudy:${document.documentElement.dataset.account || "nobody"}:`;

/** Store `value` under `name`; false if only this page's memory holds it. */
export function keep(name, value) {
  const text = JSON.stringify(value);
  memory.set(prefix() + name, text);
  try {
    localStorage.setItem(prefix() + name, text);
    return true;
  } catch {
    return false;
  }
}

/** The value stored under `name`, or null. */
export function kept(name) {
  try {
    return JSON.parse(
      localStorage.getItem(prefix() + name) ?? memory.get(prefix() + name) ?? "null",
    );
  } catch {
    return null;
  }
}

/** Forget `name`. */
export function forget(name) {
  memory.delete(prefix() + name);
  try {
    localStorage.removeItem(prefix() + name);
  } catch {
    /* storage is off */
  }
}

/** The stored names that start with `stem`. */
export function keptNames(stem) {
  const start = prefix() + stem;
  const names = new Set(memory.keys());
  try {
    for (let index = 0; index < localStorage.length; index += 1) names.add(localStorage.key(index));
  } catch {
    /* storage is off */
  }
  return [...names]
    .filter((name) => name.startsWith(start))
    .map((name) => name.slice(prefix().length))
    .sort();
}
