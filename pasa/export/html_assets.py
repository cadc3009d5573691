"""Style and script of the HTML export. Colours: evaluation.report_figures.theme."""

STYLE = """
* { box-sizing: border-box; }
html { color-scheme: light dark; background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; margin: 0 auto;
  max-width: 860px; padding: 24px 16px 64px; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 8px; }
h2 { font-size: 1.25rem; margin: 40px 0 8px; padding-top: 12px; border-top: 1px solid var(--rule); }
h3 { font-size: 1.05rem; line-height: 1.35; margin: 0; }
p { margin: 6px 0; }
a { color: var(--c0); }
a:focus-visible, summary:focus-visible, input:focus-visible, select:focus-visible, .scroll:focus-visible {
  outline: 3px solid var(--c1); outline-offset: 2px; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0; margin: 8px 0; }
nav a, .links a { display: inline-block; padding: 4px 0; }
.links a { margin-right: 14px; }
#filters { display: flex; flex-wrap: wrap; gap: 10px 14px; align-items: end; margin: 12px 0; }
#filters[hidden] { display: none; }
#filters label { display: flex; flex-direction: column; font-size: 0.85rem; color: var(--faint); flex: 1 1 7rem; }
#filters label:first-child { flex: 1 1 100%; }
#filters .tick { flex-direction: row; align-items: center; gap: 6px; flex: 1 1 100%; }
#filters input, #filters select { font: inherit; color: var(--ink); background: var(--paper); min-height: 40px;
  border: 1px solid var(--faint); border-radius: 6px; padding: 4px 8px; width: 100%; }
#filters .tick input { width: 20px; min-height: 20px; }
#shown { flex: 1 1 100%; font-size: 0.9rem; color: var(--faint); }
#list { list-style: none; padding: 0; margin: 0; }
#list > li { padding: 14px 0; border-bottom: 1px solid var(--rule); scroll-margin-top: 12px; }
#list > li:target { outline: 2px solid var(--c0); outline-offset: 4px; }
.facts, .way { font-size: 0.9rem; color: var(--faint); }
meter { width: 5rem; height: 0.8rem; vertical-align: middle; }
summary { cursor: pointer; color: var(--faint); padding: 4px 0; }
.scroll { overflow-x: auto; }
figure { margin: 20px 0; max-width: 548px; }
.figure { display: block; width: 100%; height: auto; }
dl { display: grid; grid-template-columns: minmax(6rem, 1fr) 2fr; gap: 4px 16px; }
dt { color: var(--faint); }
dd { margin: 0; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { text-align: left; vertical-align: top; padding: 4px 16px 4px 0; border-bottom: 1px solid var(--rule); }
tbody th { font-weight: 400; }
.estimate { border-left: 4px solid var(--c0); padding-left: 12px; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } nav, #filters { display: none; }
  #list > li { break-inside: avoid; } .scroll { overflow: visible; } }
"""

# Filters and sorting of the list. It makes nothing of any text but to compare it.
SCRIPT = """
"use strict";
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const list = document.getElementById("list");
  const shown = document.getElementById("shown");
  const items = Array.from(list.children, (node) => ({
    node,
    text: node.textContent.toLowerCase(),
    title: node.querySelector("h3").lastChild.textContent,
    rank: Number(node.dataset.rank),
    score: Number(node.dataset.score),
    date: node.dataset.date,
    year: node.dataset.date ? Number(node.dataset.date.slice(0, 4)) : null,
    depth: node.dataset.depth,
    way: node.dataset.way,
    selected: node.dataset.selected === "yes",
  }));
  const orders = {
    score: (a, b) => a.rank - b.rank,
    newest: (a, b) => b.date.localeCompare(a.date) || a.rank - b.rank,
    oldest: (a, b) => (a.date || "9999").localeCompare(b.date || "9999") || a.rank - b.rank,
    title: (a, b) => a.title.localeCompare(b.title) || a.rank - b.rank,
  };
  const number = (name) => (form.elements[name].value === "" ? null : Number(form.elements[name].value));
  let sorted = "score";
  const apply = () => {
    const words = form.elements.words.value.toLowerCase().split(/\\s+/).filter(Boolean);
    const [score, from, to] = [number("score"), number("from"), number("to")];
    const [way, depth] = [form.elements.way.value, form.elements.depth.value];
    const onlySelected = form.elements.selected.checked;
    let count = 0;
    for (const item of items) {
      const keep = (!onlySelected || item.selected) && (score === null || item.score >= score) &&
        (from === null || (item.year !== null && item.year >= from)) &&
        (to === null || (item.year !== null && item.year <= to)) &&
        (!way || item.way === way) && (!depth || item.depth === depth) &&
        words.every((word) => item.text.includes(word));
      item.node.hidden = !keep;
      count += keep;
    }
    if (form.elements.sort.value !== sorted) {
      sorted = form.elements.sort.value;
      list.append(...[...items].sort(orders[sorted]).map((item) => item.node));
    }
    shown.textContent = `${count} of ${items.length} papers shown`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  // A dot of the picture leads to its paper even where a filter hides it.
  const reveal = () => {
    const item = items.find((one) => "#" + one.node.id === location.hash);
    if (item && item.node.hidden) { item.node.hidden = false; item.node.scrollIntoView(); }
  };
  window.addEventListener("hashchange", reveal);
  form.hidden = false;
  apply();
  reveal();
})();
"""
