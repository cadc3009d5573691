// The crawl as a tree that grows: a row for each search or section, a dot for each paper it led to.

import { el } from "./dom.js";

const SEED = "[Seed] ";
const CITED_BY = "Cited by";
const DOTS_SHOWN = 150;

export class Tree {
  /** `paperOf(key)`: what is known of a paper; `onOpen(key)`: its title was pressed. */
  constructor(list, paperOf, onOpen) {
    this.list = list;
    this.paperOf = paperOf;
    this.onOpen = onOpen;
    this.clear();
  }

  clear() {
    this.branches = new Map(); // parent's key + name -> branch
    this.readers = new Map(); // key of a paper that was read -> its list of sections
    this.places = new Map(); // key -> {branch, depth} of the branch that it came by
    this.titles = new Map(); // key -> title, of papers without a score too
    this.undrawn = new Set(); // branches that have changed
    this.list.replaceChildren();
  }

  /** The Crawler has written its actions: rows without papers yet. */
  actions({ layer, title, key, arguments: names }) {
    if (layer === 0) {
      for (const name of names) this.branchOf("", name, 0);
    } else if (key) {
      const list = this.readerOf(key, title);
      if (!names.length) list.append(el("li", { class: "muted none", text: "no section was worth following" }));
      for (const name of names) this.branchOf(key, name, layer);
    }
  }

  /** Papers that a search or section has led to; where they are filed may differ, once their layer is complete. */
  found({ by, parent, papers }) {
    const branch = this.branches.get(`${parent}\n${by}`);
    if (!branch || branch.isFiled) return;
    for (const [key, title] of papers) {
      if (this.places.has(key)) continue;
      this.titles.set(key, title);
      this.put(key, branch);
    }
    this.drawSoon(branch);
  }

  /** A paper has its score. */
  scored(key) {
    const place = this.places.get(key);
    if (place) this.drawSoon(place.branch);
  }

  /** The papers that are filed under a search or section. */
  branch({ parent, name, layer, papers }) {
    const branch = this.branchOf(parent, name, layer);
    for (const key of branch.keys) this.places.delete(key);
    branch.keys = [];
    branch.isFiled = true;
    for (const key of papers) {
      const before = this.places.get(key)?.branch;
      if (before?.isFiled) continue;
      if (before) {
        before.keys = before.keys.filter((one) => one !== key);
        this.drawSoon(before);
      }
      this.put(key, branch);
    }
    this.drawSoon(branch);
  }

  put(key, branch) {
    branch.keys.push(key);
    this.places.set(key, { branch, depth: branch.layer });
  }

  /** How the crawl came to a paper, as a finished run tells it: {path, way, depth}; {} where it is not known yet. */
  describe(key) {
    const place = this.places.get(key);
    if (!place) return {};
    const path = [];
    let at = place.branch;
    for (;;) {
      path.unshift(at.name);
      if (!at.parent) break;
      path.unshift(this.paperOf(at.parent)?.title || "");
      const above = this.places.get(at.parent);
      if (!above || path.length > 40) break;
      at = above.branch;
    }
    const name = place.branch.name;
    const searched = name.startsWith(SEED) ? "seed" : "search";
    return { path, depth: place.depth, way: !place.branch.parent ? searched : name === CITED_BY ? "cited_by" : "citation" };
  }

  /** Draws a branch anew before the next frame, with whatever else has changed until then. */
  drawSoon(branch) {
    if (!this.undrawn.size) requestAnimationFrame(() => this.drawAll());
    this.undrawn.add(branch);
  }

  drawAll() {
    for (const branch of this.undrawn) this.draw(branch);
    this.undrawn.clear();
  }

  /** Draws all dots anew, with the scores as they are now. */
  redraw() {
    for (const branch of this.branches.values()) this.drawSoon(branch);
  }

  /** Nothing more comes: what is not filed stays where it was found. */
  end() {
    for (const branch of this.branches.values()) branch.isFiled = true;
    this.redraw();
  }

  branchOf(parent, name, layer) {
    const id = `${parent}\n${name}`;
    let branch = this.branches.get(id);
    if (!branch) {
      branch = { parent, name, layer, keys: [], isFiled: false };
      branch.count = el("span", { class: "count muted" });
      branch.dots = el("span", { class: "dots", "aria-hidden": true });
      branch.papers = el("ul", { class: "tree-papers" });
      branch.reading = el("ul", { class: "reading", hidden: true });
      branch.details = el("details", {},
        el("summary", {}, labelOf(parent, name), branch.count, branch.dots), branch.papers);
      branch.details.addEventListener("toggle", () => this.fill(branch));
      branch.element = el("li", { class: "branch" }, branch.details, branch.reading);
      this.branches.set(id, branch);
      (parent ? this.readerOf(parent) : this.list).append(branch.element);
    }
    return branch;
  }

  /** The list of the sections of a paper that was read, under the branch that the paper came by. */
  readerOf(key, title) {
    if (!this.readers.has(key)) {
      const sections = el("ul", {});
      const home = this.places.get(key)?.branch.reading || this.list;
      const name = title || this.titleOf(key);
      home.append(el("li", { class: "read" }, el("span", { class: "read-title" }, el("span", { text: "read " }), this.opener(key, name)), sections));
      home.hidden = false;
      this.readers.set(key, sections);
    }
    return this.readers.get(key);
  }

  titleOf(key) {
    return this.paperOf(key)?.title || this.titles.get(key) || key;
  }

  opener(key, title) {
    return el("button", { type: "button", class: "link", onclick: () => this.onOpen(key), text: title });
  }

  draw(branch) {
    const papers = branch.keys.map((key) => this.paperOf(key));
    const dots = papers.slice(0, DOTS_SHOWN).map((paper) => {
      const dot = el("span", { class: dotClass(paper) });
      if (paper) dot.style.opacity = (0.35 + 0.65 * paper.score).toFixed(2);
      return dot;
    });
    if (papers.length > DOTS_SHOWN) dots.push(el("span", { class: "muted", text: `+${papers.length - DOTS_SHOWN}` }));
    branch.dots.replaceChildren(...dots);
    const chosen = papers.filter((paper) => paper?.selected).length;
    const told = papers.length ? `${papers.length} new${chosen ? `, ${chosen} selected` : ""}` : "nothing new";
    branch.count.textContent = papers.length || branch.isFiled ? told : "…";
    branch.element.classList.toggle("underway", !branch.isFiled);
    if (branch.details.open) this.fill(branch);
  }

  fill(branch) {
    if (!branch.details.open) return;
    branch.papers.replaceChildren(...branch.keys.map((key) => {
      const paper = this.paperOf(key);
      return el("li", {}, el("span", { class: dotClass(paper), "aria-hidden": true }),
        paper ? this.opener(key, paper.title) : el("span", { text: this.titleOf(key) }),
        paper ? el("span", { class: "muted", text: ` ${paper.score.toFixed(2)}` }) : null);
    }));
    if (!branch.keys.length) {
      branch.papers.append(el("li", { class: "muted", text: branch.isFiled ? "nothing that was not known already" : "under way" }));
    }
  }
}

const dotClass = (paper) => (paper ? (paper.selected ? "dot selected" : "dot") : "dot pending");

function labelOf(parent, name) {
  const [kind, text] = parent
    ? name === CITED_BY ? ["cited by", "papers that cite it"] : ["section", name]
    : name.startsWith(SEED) ? ["seed", name.slice(SEED.length)] : ["search", name];
  return el("span", { class: "branch-name" }, el("span", { class: `kind ${kind === "search" ? "is-search" : ""}`, text: kind }), ` ${text}`);
}
