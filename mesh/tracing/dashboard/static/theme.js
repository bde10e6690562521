// Before anything is drawn: the choice of the last visit, else what the system says.
(() => {
  let kept = null;
  try { kept = localStorage.getItem("mesh-theme"); } catch { /* a browser that keeps nothing */ }
  const dark = kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
