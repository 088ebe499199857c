// The chosen appearance, before the first paint. Not a module: it must run at once.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("understudy:theme");
  } catch {
    /* storage is off */
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
