// What the browser keeps: small JSON values per account, in localStorage, or in memory where it is off.

const memory = new Map();
const prefix = () => `understudy:${document.documentElement.dataset.account || "nobody"}:`;

/** Keep `value` under `name`; false when only this page's memory could hold it. */
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

/** What is kept under `name`, or null. */
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

/** The names kept that start with `stem`. */
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
