// Before the page is drawn: the colours that were chosen, if any. A script of its own, since none may be inline.
"use strict";
try {
  const theme = localStorage.getItem("pasa-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // No storage, no choice.
}
