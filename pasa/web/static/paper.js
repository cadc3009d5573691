// One paper of the list.

import { get } from "./api.js";
import { el, outLink } from "./dom.js";

const AUTHORS_SHOWN = 4;
const SEED = "[Seed] ";
const CITED_BY = "Cited by";
// As the server spells ids; nothing else becomes part of an address.
const ARXIV_ID = /^(\d{4}\.\d{4,5}|[a-z-]+(\.[a-z-]+)?\/\d{7})$/i;

/** The year a paper appeared, of its date or of the month in its arXiv id; undefined where neither says. */
export function yearOf(paper) {
  if (/^\d{4}/.test(paper.date || "")) return Number(paper.date.slice(0, 4));
  const id = /^(?:[a-z-]+(?:\.[a-z-]+)?\/)?(\d\d)\d\d/i.exec(paper.arxiv_id || "");
  if (!id) return undefined;
  return Number(id[1]) >= 91 ? 1900 + Number(id[1]) : 2000 + Number(id[1]);
}

function linksOf(paper) {
  const scholar = `https://scholar.google.com/scholar?q=${encodeURIComponent(`"${paper.title}"`)}`;
  const links = [];
  if (ARXIV_ID.test(paper.arxiv_id || "")) {
    for (const [kind, text] of [["abs", "arXiv"], ["pdf", "PDF"], ["html", "HTML"]]) {
      links.push(outLink(`https://arxiv.org/${kind}/${paper.arxiv_id}`, text, `${text}: ${paper.title}`));
    }
  }
  links.push(outLink(scholar, "Scholar", `Google Scholar: ${paper.title}`));
  return links;
}

/** {element, number, box, focus(), isOpen()} of a paper. `about`: run, place, words, ticked, open, onTick. */
export function paperItem(paper, about) {
  const id = `p-${Math.random().toString(36).slice(2)}`;
  const number = el("span", { class: "place", "aria-hidden": true, text: paper.rank ?? about.place });
  const box = el("input", {
    type: "checkbox", "aria-label": `Tick: ${paper.title}`, onchange: () => about.onTick(box.checked),
  });
  box.checked = about.ticked;
  const title = el("h3", { id, tabindex: "-1" }, titleOf(paper));
  const more = el("details", { class: "abstract" }, el("summary", { text: "Abstract and path" }));
  const body = el("div", {});
  more.append(body);
  more.open = about.open;
  const open = () => {
    if (more.open && !body.childElementCount) fill(body, paper, about);
  };
  more.addEventListener("toggle", open);
  open();
  const element = el("li", { class: paper.selected ? "paper selected" : "paper", "data-key": paper.key },
    el("article", { "aria-labelledby": id },
      el("div", { class: "paper-side" }, number, box),
      el("div", { class: "paper-body" }, title, factsOf(paper), foundOf(paper), more),
      scoreOf(paper)));
  return { element, number, box, isOpen: () => more.open, focus: () => title.focus() };
}

function titleOf(paper) {
  return ARXIV_ID.test(paper.arxiv_id || "")
    ? outLink(`https://arxiv.org/abs/${paper.arxiv_id}`, paper.title)
    : paper.title;
}

function factsOf(paper) {
  const authors = paper.authors || [];
  const names = authors.slice(0, AUTHORS_SHOWN).join(", ") + (authors.length > AUTHORS_SHOWN ? " et al." : "");
  const facts = el("p", { class: "facts" });
  if (names) facts.append(el("span", { text: names }));
  const date = (paper.date || "").slice(0, 7) || yearOf(paper);
  if (date) facts.append(el("span", { class: "date", text: date }));
  facts.append(el("span", { class: "links" }, ...linksOf(paper)));
  return facts;
}

/** Where the last step of a paper's path came from, in a line. */
function foundOf(paper) {
  const path = paper.path || [];
  const last = path.at(-1);
  if (!last || paper.way === "unfiled") return paper.way ? el("p", { class: "found", text: "Scored as the search ended." }) : null;
  if (path.length === 1) {
    const seed = last.startsWith(SEED);
    return el("p", { class: "found" }, seed ? "Seed paper " : "Found by searching ", quoted(seed ? last.slice(SEED.length) : last));
  }
  const from = path.at(-2);
  if (last === CITED_BY) return el("p", { class: "found" }, "Found as it cites ", quoted(from));
  return el("p", { class: "found" }, "Found as it is cited by ", quoted(from), " in ", quoted(last));
}

const quoted = (text) => el("q", { text });

function scoreOf(paper) {
  const bar = el("span", { class: "bar", "aria-hidden": true }, el("span"));
  bar.firstChild.style.inlineSize = `${Math.round(paper.score * 100)}%`;
  const chosen = paper.selected ? "selected" : "not selected";
  return el("div", { class: "score" },
    el("span", { class: "visually-hidden", text: `Score ${paper.score.toFixed(2)}, ${chosen}.` }),
    el("span", { class: "value", "aria-hidden": true, text: paper.score.toFixed(2) }), bar,
    paper.selected ? el("span", { class: "badge", "aria-hidden": true, text: "✓ selected" }) : null);
}

/** Abstract, reason and path; the abstract of a paper told live is asked for now. */
async function fill(body, paper, about) {
  const abstract = el("p", { class: "abstract-text", text: paper.abstract === undefined ? "…" : "" });
  const reason = el("div", {});
  body.append(abstract, reason, pathOf(paper, about.run.question));
  let whole = paper;
  if (paper.abstract === undefined) {
    try {
      whole = await get(`/api/runs/${about.run.id}/papers?key=${encodeURIComponent(paper.key)}`);
    } catch (error) {
      abstract.textContent = error.message;
      return;
    }
  }
  if (whole.abstract) abstract.replaceChildren(...marked(whole.abstract, about.words));
  else abstract.textContent = "No abstract is known.";
  if (whole.evidence) {
    reason.append(el("h4", { text: "What speaks for it" }), el("p", { class: "reason", text: whole.evidence }));
  }
  if (whole.reason) {
    reason.append(el("h4", { text: "Why the Selector decided so" }), el("p", { class: "reason", text: whole.reason }));
  }
}

/** The text with the words of the question marked. */
function marked(text, words) {
  if (!words.length) return [text];
  const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const parts = text.split(new RegExp(`(?<![\\p{L}\\p{N}])((?:${escaped.join("|")})(?:s|es)?)(?![\\p{L}\\p{N}])`, "giu"));
  return parts.map((part, at) => (at % 2 ? el("mark", { text: part }) : part));
}

function pathOf(paper, question) {
  const steps = el("ol", { class: "path" }, el("li", {}, "Your question: ", quoted(question)));
  (paper.path || []).forEach((step, at) => {
    const kind = at === 0 ? (step.startsWith(SEED) ? "Seed paper" : "Searched") : at % 2 ? "Found" : "Read its section";
    const text = step.startsWith(SEED) && at === 0 ? step.slice(SEED.length) : step;
    if (at && at % 2 === 0 && step === CITED_BY) steps.append(el("li", { text: "Looked up who cites it" }));
    else if (paper.way !== "unfiled") steps.append(el("li", {}, `${kind}: `, quoted(text)));
  });
  steps.append(el("li", {}, el("strong", { text: "This paper" })));
  return el("div", {}, el("h4", { text: "How it was found" }), steps);
}
