// The papers of a run: filtered, sorted, ticked, shown a screenful at a time, and exported.

import { download } from "./api.js";
import { $, announce, el, plural, tellIn } from "./dom.js";
import { paperItem, yearOf } from "./paper.js";

const SHOWN_AT_FIRST = 40;
const RENDER_MS = 200;
const WAYS = {
  search: "a search", citation: "a citation", cited_by: "citing a found paper", seed: "being a seed paper",
  unfiled: "search ended too early to say",
};

const SORTS = {
  score: (a, b) => (a.rank ?? Infinity) - (b.rank ?? Infinity) || b.score - a.score,
  new: (a, b) => (yearOf(b) || 0) - (yearOf(a) || 0) || (b.date || "").localeCompare(a.date || "") || b.score - a.score,
  old: (a, b) => (yearOf(a) || 9999) - (yearOf(b) || 9999) || (a.date || "").localeCompare(b.date || "") || b.score - a.score,
  title: (a, b) => a.title.localeCompare(b.title),
  found: (a, b) => a.order - b.order,
};

// Filter -> its name in the address, so that a filtered view can be shared.
const IN_ADDRESS = {
  "f-words": "words", "f-sort": "sort", "f-score": "score", "f-from": "from", "f-to": "to", "f-way": "way",
  "f-source": "source", "f-depth": "depth", "f-selected": "selected",
};
const USUAL = { "f-sort": "score", "f-score": "0" };

export class Results {
  /** `describe(key)`: {path, way, depth} of a paper that the run has not ranked yet. */
  constructor(describe) {
    this.describe = describe;
    this.papers = new Map();
    this.items = new Map(); // key -> {paper, element}
    this.ticked = new Set();
    this.limit = SHOWN_AT_FIRST;
    this.timer = 0;
    this.run = null;
    this.isLive = false;
  }

  begin(run, isLive) {
    this.run = run;
    this.isLive = isLive;
    for (const part of [this.papers, this.items, this.ticked]) part.clear();
    this.limit = SHOWN_AT_FIRST;
    this.which = ""; // what is exported: as chosen, or "" for the agent's selection
    this.words = wordsOf(run.question);
    readAddress();
    this.render();
  }

  /** Takes a paper that was scored while the page watches. */
  add(paper) {
    const known = this.papers.get(paper.key);
    this.papers.set(paper.key, { ...known, ...paper, order: known?.order ?? this.papers.size });
    this.renderSoon();
  }

  /** Takes the whole list, in place of what was told live. */
  setAll(papers, isLive = false) {
    const order = new Map([...this.papers.values()].map((paper) => [paper.key, paper.order]));
    this.papers = new Map(papers.map((paper, at) => [paper.key, { ...paper, order: order.get(paper.key) ?? at }]));
    this.isLive = isLive;
    this.render();
  }

  get selected() {
    return [...this.papers.values()].filter((paper) => paper.selected).length;
  }

  renderSoon() {
    this.timer ||= setTimeout(() => this.render(), RENDER_MS);
  }

  render() {
    clearTimeout(this.timer);
    this.timer = 0;
    const all = [...this.papers.values()].map((paper) => (paper.path ? paper : { ...paper, ...this.describe(paper.key) }));
    fillChoices("f-source", "any", all.map((paper) => paper.source));
    fillChoices("f-way", "any way", all.map((paper) => paper.way), (way) => WAYS[way] || way);
    fillChoices("f-depth", "any", all.map((paper) => paper.depth), depthName);
    const passes = filterNow();
    this.shown = all.filter(passes).sort(SORTS[$("f-sort").value] || SORTS.score);
    for (const key of this.ticked) if (!this.papers.has(key)) this.ticked.delete(key);
    this.place(this.shown.slice(0, this.limit));
    this.tell(all.length);
  }

  /** Puts the items in order, keeping elements that have not changed and the focus where it is. */
  place(papers) {
    const list = $("results");
    const focused = list.contains(document.activeElement) ? document.activeElement : null;
    papers.forEach((paper, at) => {
      const element = this.itemOf(paper, at + 1);
      if (list.children[at] !== element) list.insertBefore(element, list.children[at] || null);
    });
    while (list.childElementCount > papers.length) list.lastElementChild.remove();
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
  }

  itemOf(paper, place) {
    const known = this.items.get(paper.key);
    const mark = JSON.stringify([paper.score, paper.rank, paper.selected, paper.way, paper.path, paper.abstract?.length]);
    if (known?.mark === mark) {
      known.item.number.textContent = paper.rank ?? place;
      known.item.box.checked = this.ticked.has(paper.key);
      return known.item.element;
    }
    const item = paperItem(paper, {
      run: this.run, place, words: this.words, ticked: this.ticked.has(paper.key), open: known?.item.isOpen() || false,
      onTick: (isTicked) => this.tick([paper.key], isTicked),
    });
    this.items.set(paper.key, { mark, item });
    if (known?.item.element.contains(document.activeElement)) queueMicrotask(() => item.focus());
    known?.item.element.replaceWith(item.element);
    return item.element;
  }

  tell(all) {
    const shown = this.shown.length;
    const part = shown === all ? plural(all, "paper") : `${shown} of ${plural(all, "paper")}`;
    $("shown-count").textContent = `${part} · ${this.selected} selected by the agent`;
    $("more").hidden = shown <= this.limit;
    $("more").textContent = `Show more (${shown - this.limit} left)`;
    const on = Object.keys(IN_ADDRESS).filter((id) => !["f-words", "f-sort"].includes(id) && isOn(id)).length;
    $("filters-on").textContent = on ? ` (${on} on)` : "";
    tellIn($("nothing"), shown ? "" : this.whyNothing(all));
    this.tellExport();
  }

  whyNothing(all) {
    if (all) return "No paper passes these filters.";
    return this.isLive ? "Papers appear here as they are found." : "No paper was found. Try other words, or another engine.";
  }

  // -- ticking and export

  tick(keys, isTicked) {
    const before = this.ticked.size;
    for (const key of keys) isTicked ? this.ticked.add(key) : this.ticked.delete(key);
    if (!before !== !this.ticked.size) this.which = this.ticked.size ? "ticked" : "";
    this.tellExport();
  }

  tickShown(isTicked) {
    this.tick(this.shown.map((paper) => paper.key), isTicked);
    this.render();
    announce(`${plural(this.ticked.size, "paper")} ticked`, true);
  }

  tellExport() {
    const counts = { selected: this.selected, shown: this.shown.length, ticked: this.ticked.size };
    const names = { selected: "the agent's selection", shown: "all shown", ticked: "ticked" };
    const which = $("export-which");
    if (!which.options.length) {
      for (const name of Object.keys(names)) which.append(el("option", { value: name }));
    }
    for (const option of which.options) {
      option.textContent = `${names[option.value]} (${counts[option.value]})`;
      option.disabled = !counts[option.value];
    }
    const wanted = counts[this.which] ? this.which : counts.selected ? "selected" : "shown";
    if (which.value !== wanted) which.value = wanted;
    $("tick-all").checked = counts.ticked > 0 && this.shown.every((paper) => this.ticked.has(paper.key));
    $("export-box").hidden = !this.papers.size;
  }

  async export(showError) {
    const which = $("export-which").value;
    const chosen = which === "ticked" ? [...this.ticked] : this.shown.map((paper) => paper.key);
    const keys = which === "selected" ? [...this.papers.values()].filter((one) => one.selected).map((one) => one.key) : chosen;
    try {
      await download(`/api/runs/${this.run.id}/export`, { format: $("export-format").value, keys });
      announce(`${plural(keys.length, "paper")} exported`, true);
    } catch (error) {
      showError(error.message);
    }
  }

  /** Brings a paper into view and gives it the focus; clears filters that hide it. */
  reveal(key) {
    let at = this.shown.findIndex((paper) => paper.key === key);
    if (at < 0) {
      clearFilters();
      this.render();
      at = this.shown.findIndex((paper) => paper.key === key);
    }
    if (at < 0) return;
    this.limit = Math.max(this.limit, at + 1);
    this.render();
    this.items.get(key).item.focus();
  }

  prepare(formats, showError) {
    const again = () => {
      this.limit = SHOWN_AT_FIRST;
      this.render();
      writeAddress();
      announce($("shown-count").textContent);
    };
    $("filters").addEventListener("input", () => {
      $("f-score-now").textContent = $("f-score").value;
      again();
    });
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    $("f-clear").addEventListener("click", () => {
      clearFilters();
      again();
    });
    $("more").addEventListener("click", () => {
      const next = this.shown[this.limit];
      this.limit += SHOWN_AT_FIRST;
      this.render();
      if (next) this.items.get(next.key).item.focus();
    });
    $("export-which").addEventListener("change", () => (this.which = $("export-which").value));
    const narrow = window.matchMedia("(max-width: 40rem)");
    const openOrClose = () => ($("export-box").open = !narrow.matches);
    narrow.addEventListener("change", openOrClose);
    openOrClose();
    $("tick-all").addEventListener("change", () => this.tickShown($("tick-all").checked));
    for (const format of formats) $("export-format").append(el("option", { value: format.name, text: format.label }));
    $("export-format").value = formats.some((one) => one.name === "bibtex") ? "bibtex" : formats[0].name;
    $("export").addEventListener("submit", (event) => {
      event.preventDefault();
      this.export(showError);
    });
  }
}

const valueOf = (id) => ($(id).type === "checkbox" ? ($(id).checked ? "1" : "") : $(id).value);
const isOn = (id) => valueOf(id) !== (USUAL[id] ?? "");

function filterNow() {
  const words = valueOf("f-words").toLowerCase().split(/\s+/).filter(Boolean);
  const least = Number(valueOf("f-score"));
  const from = Number(valueOf("f-from")) || 0;
  const to = Number(valueOf("f-to")) || Infinity;
  const same = (id, value) => !valueOf(id) || valueOf(id) === String(value);
  const inYears = (year) => (!from && to === Infinity) || (year && year >= from && year <= to);
  return (paper) =>
    paper.score >= least && inYears(yearOf(paper)) && (!valueOf("f-selected") || paper.selected) &&
    same("f-way", paper.way) && same("f-source", paper.source) && same("f-depth", paper.depth) &&
    (!words.length || words.every((word) => textOf(paper).includes(word)));
}

const textOf = (paper) => `${paper.title} ${paper.abstract || ""} ${(paper.authors || []).join(" ")}`.toLowerCase();

const depthName = (depth) => (depth === 0 ? "0, found by searching" : `${depth}, ${plural(depth, "citation")} away`);

/** Offers the values there are; one that was chosen stays, though no paper has it yet. */
function fillChoices(id, none, values, name = String) {
  const select = $(id);
  const wanted = select.dataset.wanted ?? select.value;
  const known = [...new Set(values.filter((value) => value !== undefined && value !== null && value !== "").map(String))].sort();
  const mark = JSON.stringify([known, wanted]);
  if (select.dataset.mark === mark) return;
  select.dataset.mark = mark;
  const offered = wanted && !known.includes(wanted) ? [...known, wanted] : known;
  select.replaceChildren(
    el("option", { value: "", text: none }),
    ...offered.map((value) => el("option", { value, text: name(id === "f-depth" ? Number(value) : value) })));
  select.value = wanted;
  delete select.dataset.wanted;
  select.closest("div").hidden = offered.length < 2 && !wanted;
}

function clearFilters() {
  for (const id of Object.keys(IN_ADDRESS)) {
    if (id === "f-sort") continue;
    if ($(id).type === "checkbox") $(id).checked = false;
    else $(id).value = USUAL[id] ?? "";
  }
  $("f-score-now").textContent = "0";
}

function readAddress() {
  const asked = new URLSearchParams(location.search);
  for (const [id, name] of Object.entries(IN_ADDRESS)) {
    const value = asked.get(name) ?? USUAL[id] ?? "";
    if ($(id).type === "checkbox") $(id).checked = value === "1";
    else if (["f-way", "f-source", "f-depth"].includes(id)) $(id).dataset.wanted = value;
    else $(id).value = value;
  }
  if (!$("f-sort").value) $("f-sort").value = "score";
  $("f-score-now").textContent = $("f-score").value;
}

function writeAddress() {
  const asked = new URLSearchParams();
  for (const [id, name] of Object.entries(IN_ADDRESS)) if (isOn(id)) asked.set(name, valueOf(id));
  const query = asked.size ? `?${asked}` : "";
  history.replaceState(null, "", location.pathname + query);
}

const COMMON = new Set(
  "about and are been build could does done find for from have how into list main make mention other others paper papers please provide show some studies study such that their them there these this those use used uses using what when where which with without work works would you your research recent literature".split(" "));

/** The words of a question that say what it is about, for marking them in abstracts. */
function wordsOf(question) {
  const words = question.toLowerCase().match(/[\p{L}\p{N}-]{3,}/gu) || [];
  return [...new Set(words.filter((word) => !COMMON.has(word)))];
}
