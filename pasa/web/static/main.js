// Which view an address shows, the colours, and the token.

import { prepareAsk, showRecent } from "./ask.js";
import { post, whenTokenIsNeeded } from "./api.js";
import { $, tellIn } from "./dom.js";
import { prepareHistory, showHistory } from "./history.js";
import { leaveRun, prepareRun, showRun } from "./run.js";

const TITLE = "PaSa paper search";

const showError = (text) => tellIn($("notice"), text);

/** Shows another address of this page without loading it anew. */
export function go(path) {
  history.pushState(null, "", path);
  route(true);
}

let shown = 0;

/** Shows what the address asks for; `moved`: by a click here, so that the focus goes to the new heading. */
async function route(moved) {
  const mine = ++shown;
  leaveRun();
  showError("");
  const run = /^\/runs\/([\w-]+)$/.exec(location.pathname);
  const view = run ? "run" : location.pathname === "/history" ? "history" : "ask";
  for (const name of ["ask", "run", "history", "lost"]) $(`${name}-view`).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    const current = link.getAttribute("href") === location.pathname;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = view === "history" ? `History · ${TITLE}` : TITLE;
  if (moved) window.scrollTo(0, 0);
  try {
    if (view === "run") await showRun(run[1]);
    else if (view === "history") await showHistory();
    else await showRecent();
  } catch (error) {
    if (mine === shown) {
      if (view === "run") showLost(error.message);
      else showError(error.message);
    }
  }
  if (mine !== shown) return;
  if (view === "ask") $("question").focus({ preventScroll: true });
  else if (moved) document.querySelector("main > section:not([hidden]) h1").focus({ preventScroll: true });
}

function showLost(why) {
  $("run-view").hidden = true;
  $("lost-view").hidden = false;
  $("lost-why").textContent = `${why}.`.replace(/\.\.$/, ".");
  document.title = `Not found · ${TITLE}`;
}

function followLinks() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-link]");
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(link.getAttribute("href"));
  });
  window.addEventListener("popstate", () => route(true));
}

const THEMES = { auto: "as the system has them", light: "light", dark: "dark" };

function prepareTheme() {
  const button = $("theme");
  const tell = () => {
    const label = `Colours: ${THEMES[document.documentElement.dataset.theme || "auto"]}`;
    button.setAttribute("aria-label", label);
    button.title = label;
  };
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    const next = names[(names.indexOf(document.documentElement.dataset.theme || "auto") + 1) % names.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("pasa-theme", next);
    } catch {
      // No storage: the choice holds for this page.
    }
    tell();
  });
  tell();
}

/** The token's dialog; resolves when the server took the token. */
let opening = null;

function askForToken() {
  opening ??= new Promise((resolve) => {
    const dialog = $("login");
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    $("login-form").onsubmit = async (event) => {
      event.preventDefault();
      try {
        await post("/login", { token: $("token").value });
        $("token").value = "";
        tellIn($("login-error"), "");
        dialog.close();
        opening = null;
        resolve();
      } catch (error) {
        tellIn($("login-error"), error.message);
        $("token").select();
      }
    };
    dialog.showModal();
  });
  return opening;
}

async function start() {
  prepareTheme();
  whenTokenIsNeeded(askForToken);
  followLinks();
  prepareHistory(showError);
  try {
    await prepareAsk(go);
    await prepareRun(go, showError);
  } catch (error) {
    showError(error.message);
  }
  await route(false);
  document.documentElement.dataset.ready = "yes";
}

start();
