// The runs that the server keeps.

import { get } from "./api.js";
import { $, announce, duration, el, plural, when } from "./dom.js";

const TYPING_MS = 250;
export const STATES = {
  queued: "waiting", running: "searching", done: "done", stopped: "stopped", failed: "failed", interrupted: "interrupted",
};

/** A run as a list shows it. */
export function runItem(run) {
  const facts = [when(run.created)];
  if (run.found) facts.push(plural(run.found, "paper"), `${run.selected} selected`);
  if (run.started && run.ended) facts.push(duration(run.ended - run.started));
  return el("li", {},
    el("a", { href: `/runs/${run.id}`, "data-link": true, class: "run-link", text: run.question }),
    el("p", { class: "muted" },
      el("span", { class: `chip ${run.state}`, text: STATES[run.state] }), ` ${facts.join(" · ")}`));
}

let asked = 0;

async function list(before) {
  const mine = ++asked;
  const words = encodeURIComponent($("h-words").value.trim());
  const older = before ? `&before=${before}` : "";
  const { runs } = await get(`/api/runs?words=${words}${$("h-mine").checked ? "&mine=1" : ""}${older}`);
  if (mine !== asked) return; // a later question was faster
  const items = runs.map(runItem);
  if (before) $("history-list").append(...items);
  else $("history-list").replaceChildren(...items);
  $("history-empty").hidden = $("history-list").childElementCount > 0;
  $("history-more").hidden = runs.length < 50;
  $("history-more").onclick = () => list(runs.at(-1).created);
  announce(plural($("history-list").childElementCount, "search", "searches"));
}

export function prepareHistory(showError) {
  let typing = 0;
  const again = () => list().catch((error) => showError(error.message));
  $("history-form").addEventListener("submit", (event) => event.preventDefault());
  $("history-form").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(again, TYPING_MS);
  });
}

export const showHistory = () => list();
