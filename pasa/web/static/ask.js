// The form: a question and its settings.

import { get, getConfig, post } from "./api.js";
import { $, el, plural, tellIn } from "./dom.js";
import { runItem } from "./history.js";

const NUMBERS = ["search_queries", "search_papers", "expand_papers", "select_threshold", "max_seconds"];
const BUDGETS = ["stop_when_saturated", "max_papers_scored", "max_model_calls"];
const RECENT = 5;
const EXAMPLES = [
  "Which papers build benchmarks or agents for navigating real websites?",
  "Which works train language models with reinforcement learning to use a search engine or other tools?",
  "Which studies decide when to retrieve in retrieval-augmented language models?",
  "Which papers study UCB for non-stationary reinforcement learning?",
];

let config = null;

/** Fills the form once; `go(path)` shows another view. */
export async function prepareAsk(go) {
  config = await getConfig();
  for (const engine of config.engines) $("engines").append(engineChoice(engine));
  const layers = $("expand_layers");
  for (let n = 0; n <= config.limits.expand_layers; n++) {
    layers.append(el("option", { value: n, text: n === 0 ? "none, search only" : plural(n, "layer") }));
  }
  for (const name of [...NUMBERS, ...BUDGETS]) {
    if (config.limits[name] !== undefined) $(name).max = config.limits[name];
  }
  showUsual();
  if (config.usual_engine.includes("demo")) showExamples();
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    submit(go);
  });
  $("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("ask").requestSubmit();
    }
  });
  $("ask").addEventListener("input", tellSettings);
  tellSettings();
}

function engineChoice(engine) {
  const id = `engine-${engine.name}`;
  const box = el("input", {
    type: "checkbox", id, name: "engine", value: engine.name,
    checked: config.usual_engine.includes(engine.name), disabled: Boolean(engine.reason),
    onchange: showUsual,
  });
  const reason = engine.reason ? el("span", { class: "hint", text: ` (${engine.reason})` }) : null;
  return el("div", { class: "check" }, box, el("label", { for: id }, engine.label, reason));
}

const chosenEngines = () => [...document.querySelectorAll("#engines input:checked")].map((box) => box.value);

/** What a run on the chosen engine has where a field is left empty. */
function showUsual() {
  const engine = config.engines.find((one) => one.name === chosenEngines()[0]) || config.engines[0];
  for (const name of NUMBERS) {
    const usual = engine.usual[name] ?? config.limits[name];
    $(name).placeholder = usual === undefined || usual === null ? "" : `${usual}`;
  }
  if (!$("expand_layers").dataset.touched) $("expand_layers").value = engine.usual.expand_layers;
  $("expand_layers").onchange = () => ($("expand_layers").dataset.touched = "yes");
}

function tellSettings() {
  const engines = config.engines.filter((one) => chosenEngines().includes(one.name)).map((one) => one.label);
  const layers = Number($("expand_layers").value);
  const parts = [engines.join(" + ") || "no engine", layers ? plural(layers, "citation layer") : "no citations"];
  if ($("end_date").value) parts.push(`until ${$("end_date").value}`);
  const changed = [...NUMBERS, ...BUDGETS, "seeds"].filter((name) => $(name).value.trim()).length;
  if (changed) parts.push(`${changed} more`);
  $("settings-now").textContent = parts.join(" · ");
}

/** The request as the API takes it; what was left empty is left out. */
function request() {
  const asked = { question: $("question").value, engine: chosenEngines().join(",") };
  if ($("end_date").value) asked.end_date = $("end_date").value;
  const seeds = $("seeds").value.split("\n").map((line) => line.trim()).filter(Boolean);
  if (seeds.length) asked.seeds = seeds;
  for (const name of ["expand_layers", ...NUMBERS, ...BUDGETS]) {
    if ($(name).value !== "") asked[name] = Number($(name).value);
  }
  return asked;
}

async function submit(go) {
  const fail = (text, field) => {
    tellIn($("ask-error"), text);
    field.setAttribute("aria-invalid", "true");
    field.focus();
  };
  for (const field of $("ask").elements) field.removeAttribute("aria-invalid");
  tellIn($("ask-error"), "");
  if (!$("question").value.trim()) return fail("Write a question first.", $("question"));
  if (!chosenEngines().length) {
    $("settings").open = true;
    return fail("Choose at least one place to search.", document.querySelector("#engines input:enabled"));
  }
  const button = $("ask").querySelector("button[type=submit]");
  button.disabled = true;
  try {
    const run = await post("/api/runs", request());
    go(`/runs/${run.id}`);
    $("question").value = "";
  } catch (error) {
    const wrong = [...NUMBERS, ...BUDGETS].find((name) => error.message.toLowerCase().startsWith(name));
    if (wrong) $("settings").open = true;
    fail(wrong ? inWords(error.message, wrong) : error.message, wrong ? $(wrong) : $("question"));
  } finally {
    button.disabled = false;
  }
}

/** A message that begins with a setting's name, with the field's label in its place. */
const inWords = (message, name) => `“${$(name).labels[0].textContent.trim()}”${message.slice(name.length)}`;

/** Puts an earlier request into the form, to be changed and asked again. */
export function fillIn(asked) {
  $("question").value = asked.question;
  const engines = asked.engine.split(",");
  for (const box of document.querySelectorAll("#engines input:enabled")) box.checked = engines.includes(box.value);
  $("end_date").value = asked.end_date || "";
  $("seeds").value = (asked.seeds || []).join("\n");
  for (const name of [...NUMBERS, ...BUDGETS]) $(name).value = asked[name] ?? "";
  if (asked.expand_layers !== undefined) {
    $("expand_layers").value = asked.expand_layers;
    $("expand_layers").dataset.touched = "yes";
  }
  showUsual();
  tellSettings();
}

function showExamples() {
  for (const question of EXAMPLES) {
    const use = () => {
      $("question").value = question;
      $("question").focus();
    };
    $("example-list").append(el("li", {}, el("button", { type: "button", onclick: use, text: question })));
  }
  $("examples").hidden = false;
}

/** Lists what this browser asked last. */
export async function showRecent() {
  const { runs } = await get("/api/runs?mine=1");
  $("recent-list").replaceChildren(...runs.slice(0, RECENT).map(runItem));
  $("recent").hidden = !runs.length;
}
