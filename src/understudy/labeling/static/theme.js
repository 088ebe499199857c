// Applies the chosen appearance before the first paint. Not a module, since modules run later.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("understudy:theme");
  } catch {
    /* storage is off */
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
