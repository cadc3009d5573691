// One run: watched live, or read when it has ended.

import { get, getConfig, post, remove } from "./api.js";
import { fillIn } from "./ask.js";
import { $, announce, plural, tellIn, when } from "./dom.js";
import { STATES } from "./history.js";
import { Results } from "./results.js";
import { Telling } from "./telling.js";
import { Tree } from "./tree.js";

const HIDDEN_MS = 60000; // after which a page that nobody sees lets its connection go
const RETRY_MS = 3000;
const WIDE = window.matchMedia("(min-width: 64rem)");
const TABS = ["results", "crawl", "log", "about"];

const ENDED_EARLY = {
  seconds: "ended by its time limit", papers_scored: "ended by its limit of papers scored",
  model_calls: "ended by its limit of model calls", saturated: "ended as nothing new came",
};

let run = null; // as the server shows it
let stream = null;
let last = 0; // number of the last event heard
let counts = {};
let clock = 0;
let retry = 0;
let hiding = 0;
let tab = "results";

const tree = new Tree($("tree"), (key) => results.papers.get(key), (key) => {
  if (!WIDE.matches) choose("results");
  results.reveal(key);
});
const results = new Results((key) => tree.describe(key));
const telling = new Telling();
const isOver = () => !["queued", "running"].includes(run.state);

export async function showRun(id) {
  const shown = await get(`/api/runs/${id}`);
  run = shown;
  last = 0;
  counts = { found: 0, searches: 0, read: 0 };
  tree.clear();
  telling.begin(run, shown.record?.settings?.expand_layers ?? run.asked.expand_layers ?? 2);
  results.begin(run, !isOver());
  $("run-title").textContent = run.question;
  document.title = `${run.question} · PaSa`;
  tellState();
  telling.about(run, run.record, run.stats);
  choose(WIDE.matches && tab === "results" ? "crawl" : tab);
  if (isOver()) await loadPapers(id);
  listen();
  clock = setInterval(tellCounts, 1000);
}

/** Lets go of the run that is shown. */
export function leaveRun() {
  stop();
  clearInterval(clock);
  run = null;
}

function stop() {
  stream?.close();
  stream = null;
  clearTimeout(retry);
}

async function loadPapers(id) {
  const { papers } = await get(`/api/runs/${id}/papers`);
  if (run?.id !== id) return;
  results.setAll(papers);
  tree.redraw();
  tellCounts();
}

// -- the stream of events

function listen() {
  stop();
  const id = run.id;
  stream = new EventSource(`/api/runs/${id}/events?after=${last}`);
  stream.onopen = () => tellIn($("run-error"), run?.error);
  stream.onmessage = (message) => {
    last = Number(message.lastEventId) || last;
    hear(JSON.parse(message.data));
  };
  stream.addEventListener("place", (message) => {
    run.position = JSON.parse(message.data).place;
    tellState();
  });
  stream.onerror = () => {
    if (!run || run.id !== id) return stop();
    if (isOver()) return stop();
    tellIn($("run-error"), "The connection was lost; trying again …");
    if (stream.readyState === EventSource.CLOSED) {
      stop();
      retry = setTimeout(() => refresh(id), RETRY_MS);
    }
  };
}

/** After a lost connection: the run may have ended meanwhile, or the server have been started anew. */
async function refresh(id) {
  try {
    const shown = await get(`/api/runs/${id}`);
    if (run?.id !== id) return;
    if (["queued", "running"].includes(shown.state)) {
      run = shown;
      listen();
    } else {
      await finish();
    }
  } catch {
    if (run?.id === id) retry = setTimeout(() => refresh(id), RETRY_MS);
  }
}

function hear(event) {
  telling.hear(event);
  switch (event.type) {
    case "started":
      if (!isOver()) Object.assign(run, { state: "running", started: event.at, position: 0 });
      tellState();
      break;
    case "made_of":
      telling.layers = event.settings.expand_layers;
      telling.steps();
      run.record ??= event;
      if (!isOver()) telling.about(run, event, null);
      tellState();
      break;
    case "layer":
      telling.setLayer(event.layer, false);
      if (!isOver()) announce(event.layer ? `Following citations of ${plural(event.papers, "paper")}` : "Searching");
      break;
    case "layer_done":
      telling.setLayer(event.layer, true);
      break;
    case "actions":
      if (event.layer) counts.read += 1;
      else counts.searches += event.arguments.length;
      tree.actions(event);
      break;
    case "found":
      counts.found += event.count;
      tree.found(event);
      break;
    case "paper":
      if (!isOver()) results.add(event);
      tree.scored(event.key);
      break;
    case "branch":
      tree.branch(event);
      if (!isOver()) results.renderSoon();
      break;
    case "end":
      stop();
      tree.end();
      if (!isOver()) finish();
      break;
  }
  if (!isOver()) tellCounts();
}

/** The run has ended while it was watched: its ranking takes the place of what was told. */
async function finish() {
  const id = run.id;
  stop();
  const shown = await get(`/api/runs/${id}`);
  if (run?.id !== id) return;
  run = telling.run = shown;
  await loadPapers(id);
  tree.end();
  telling.steps();
  telling.about(run, run.record, run.stats);
  tellState();
  announce(run.state === "failed" ? run.error : `The search ended: ${$("shown-count").textContent}`, true);
}

// -- what the page says of it

function tellCounts() {
  if (!run) return;
  const stats = run.stats;
  const began = run.started;
  telling.counts({
    found: stats?.papers_found ?? Math.max(counts.found, results.papers.size),
    scored: stats?.papers_scored ?? results.papers.size,
    selected: results.selected,
    searches: stats?.searches ?? counts.searches,
    read: stats?.papers_expanded ?? counts.read,
    seconds: stats?.seconds ?? (began ? Math.max(0, (run.ended || Date.now() / 1000) - began) : null),
  });
  if (run.state === "running") announce(`${plural(results.papers.size, "paper")} scored, ${results.selected} selected`);
}

function tellState() {
  const chip = $("state");
  chip.className = `chip ${run.state}`;
  chip.textContent = run.state === "queued" && run.position
    ? `waiting, ${run.position === 1 ? "next in line" : `${run.position - 1} before it`}` : STATES[run.state];
  const { crawler, selector } = run.record || {};
  const models = crawler === selector ? crawler : `${crawler} and ${selector}`;
  const made = [run.record?.engine ?? run.asked.engine, models, when(run.created), ENDED_EARLY[run.stats?.budget_reached]];
  tellIn($("missing"), run.missing && `${run.missing[0].toUpperCase()}${run.missing.slice(1)}.`);
  $("made").textContent = made.filter(Boolean).join(" · ");
  const isStop = !isOver() && run.mine;
  if (!isStop && document.activeElement === $("stop")) $("run-title").focus({ preventScroll: true });
  $("stop").hidden = !isStop;
  $("stop").disabled = false;
  $("again").hidden = !isOver();
  $("again").textContent = run.state === "interrupted" || run.state === "failed" ? "Run again" : "Ask again";
  $("delete").hidden = !isOver() || !run.mine;
  tellIn($("run-error"), run.error);
  $("run-error").classList.toggle("bad", run.state === "failed");
}

/** Shows one of the views; on a wide screen the results stay beside it. */
function choose(name) {
  if (WIDE.matches && name === "results") name = "crawl";
  else tab = name;
  for (const one of TABS) {
    const isOn = one === name;
    $(`tab-${one}`).setAttribute("aria-selected", String(isOn));
    $(`tab-${one}`).tabIndex = isOn ? 0 : -1;
    $(`panel-${one}`).classList.toggle("on", isOn);
  }
}

function prepareTabs() {
  for (const name of TABS) $(`tab-${name}`).addEventListener("click", () => choose(name));
  document.querySelector(".tabs").addEventListener("keydown", (event) => {
    const names = TABS.filter((name) => $(`tab-${name}`).offsetParent);
    const at = names.findIndex((name) => $(`tab-${name}`) === document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const name = names[(to + names.length) % names.length];
    choose(name);
    $(`tab-${name}`).focus();
  });
  WIDE.addEventListener("change", () => choose(WIDE.matches ? (tab === "results" ? "crawl" : tab) : tab));
}

export async function prepareRun(go, showError) {
  const config = await getConfig();
  results.prepare(config.formats, showError);
  prepareTabs();
  const tried = (action) => async () => {
    try {
      await action();
    } catch (error) {
      showError(error.message);
    }
  };
  $("stop").addEventListener("click", tried(async () => {
    $("stop").disabled = true;
    announce("Stopping", true);
    await post(`/api/runs/${run.id}/stop`);
  }));
  $("again").addEventListener("click", tried(async () => {
    const asked = run.asked;
    if (["interrupted", "failed"].includes(run.state)) return go(`/runs/${(await post("/api/runs", asked)).id}`);
    go("/");
    fillIn(asked);
  }));
  $("copy-link").addEventListener("click", tried(async () => {
    if (!navigator.clipboard) return window.prompt("The address of this search", location.href); // not over plain HTTP
    await navigator.clipboard.writeText(location.href);
    announce("Link copied", true);
    $("copy-link").textContent = "Copied";
    setTimeout(() => ($("copy-link").textContent = "Copy link"), 2000);
  }));
  $("delete").addEventListener("click", tried(async () => {
    if (!confirm("Delete this search and its results for good?")) return;
    await remove(`/api/runs/${run.id}`);
    go("/history");
  }));
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (!run || isOver()) return;
    if (document.hidden) hiding = setTimeout(stop, HIDDEN_MS);
    else if (!stream) refresh(run.id);
  });
}
