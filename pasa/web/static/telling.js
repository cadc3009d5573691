// What a run tells of itself beside its papers: steps, totals, activity, and how it was made.

import { $, duration, el, plural } from "./dom.js";

const LOG_LINES = 500;

export class Telling {
  begin(run, layers) {
    this.run = run;
    this.layers = layers;
    this.layer = -1;
    this.problems = new Map();
    $("log").replaceChildren();
    $("panel-about").replaceChildren();
    this.steps();
  }

  // -- steps and totals

  setLayer(layer, isDone) {
    this.layer = layer;
    this.isLayerDone = isDone;
    this.steps();
  }

  steps() {
    const names = ["Search", ...Array.from({ length: this.layers }, (_, n) => `Citations ${n + 1}`)];
    const over = !["queued", "running"].includes(this.run.state);
    $("steps").replaceChildren(...names.map((name, at) => {
      const state = over ? (at <= this.layer || this.run.state === "done" ? "done" : "todo")
        : at < this.layer || (at === this.layer && this.isLayerDone) ? "done" : at === this.layer ? "now" : "todo";
      return el("li", { class: state, "aria-current": state === "now" ? "step" : null },
        el("span", { text: name }), el("span", { class: "visually-hidden", text: { done: ", done", now: ", under way", todo: ", to come" }[state] }));
    }));
  }

  counts(counts) {
    const shown = [["found", counts.found], ["scored", counts.scored], ["selected", counts.selected],
      ["searches", counts.searches], ["papers read", counts.read], ["time", counts.seconds === null ? "–" : duration(counts.seconds)]];
    const list = $("counts");
    if (list.childElementCount !== shown.length) {
      list.replaceChildren(...shown.map(([name]) => el("div", {}, el("dt", { text: name }), el("dd"))));
    }
    shown.forEach(([, value], at) => {
      const place = list.children[at].lastChild;
      const text = typeof value === "number" ? value.toLocaleString("en") : value;
      if (place.textContent !== text) place.textContent = text;
    });
  }

  // -- activity

  log(kind, ...parts) {
    const list = $("log");
    const isAtEnd = list.parentElement.scrollTop + list.parentElement.clientHeight > list.parentElement.scrollHeight - 40;
    list.append(el("li", { class: kind }, ...parts));
    if (list.childElementCount > LOG_LINES) list.firstChild.remove();
    if (isAtEnd) list.parentElement.scrollTop = list.parentElement.scrollHeight;
  }

  hear(event) {
    const quoted = (text) => el("q", { text });
    const several = (texts) => texts.flatMap((text, at) => (at ? [", ", quoted(text)] : [quoted(text)]));
    switch (event.type) {
      case "started": return this.log("step", "The search began.");
      case "layer":
        return this.log("step", event.layer ? `Layer ${event.layer}: ${plural(event.papers, "paper")} to read.` : "Writing searches.");
      case "actions":
        if (!event.layer) return this.log("act", "Searched ", ...several(event.arguments));
        return this.log("act", "Read ", quoted(event.title),
          ...(event.arguments.length ? [": followed ", ...several(event.arguments)] : [": no section was worth following"]));
      case "layer_done": return this.log("step", `${plural(event.new, "new paper")} filed.`);
      case "problem": {
        return this.problem(event);
      }
      case "end": return this.log("step", event.error || `The search ended: ${event.state}.`);
    }
  }

  /** What was skipped, a line for each reason with how often and the latest case. */
  problem({ reason, detail }) {
    const known = this.problems.get(reason);
    if (!known) {
      const times = el("span");
      const latest = el("span");
      this.log("bad", el("span", { text: `${reason} ` }), times, latest);
      this.problems.set(reason, { times, latest, count: 1 });
      latest.textContent = detail ? `: ${detail}` : "";
      return;
    }
    known.count += 1;
    known.times.textContent = `(${known.count} times)`;
    known.latest.textContent = detail ? `, latest: ${detail}` : "";
  }

  // -- how it was made

  about(run, record, stats) {
    const panel = $("panel-about");
    const rows = [["Asked", new Date(run.created * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })]];
    if (record) {
      rows.push(["Engine", record.engine], ["Library search", record.retrieval], ["Crawler", record.crawler],
        ["Selector", record.selector], ["Ranked anew by citations", record.reranked ? "yes" : null], ["Configuration", record.config]);
    }
    if (run.asked.end_date) rows.push(["Published until", run.asked.end_date]);
    if (run.asked.seeds) rows.push(["Seed papers", run.asked.seeds.join("; ")]);
    if (stats) {
      rows.push(["Papers found", stats.papers_found], ["Papers scored", stats.papers_scored], ["Selected", stats.papers_selected],
        ["Searches", stats.searches], ["Papers read", stats.papers_expanded],
        ["Model calls", stats.crawler_calls + stats.selector_calls], ["Time", duration(stats.seconds)],
        ["Ended early by", stats.budget_reached], ["Tokens", stats.prompt_tokens ? stats.prompt_tokens + stats.reply_tokens : null]);
    }
    panel.replaceChildren(table("How this search was made", rows));
    const problems = Object.entries(stats?.problems || {}).sort((a, b) => b[1] - a[1]);
    if (problems.length) panel.append(table("What was skipped, and why", problems));
    const settings = Object.entries(record?.settings || {}).filter(([, value]) => value !== null);
    if (settings.length) {
      panel.append(el("details", {}, el("summary", { text: "Every setting" }), table("Settings", settings, true)));
    }
  }
}

function table(caption, rows, isQuiet = false) {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("table", { class: "facts-table" },
    el("caption", { class: isQuiet ? "visually-hidden" : "", text: caption }),
    el("tbody", {}, ...shown.map(([name, value]) => el("tr", {},
      el("th", { scope: "row", text: name }), el("td", { text: typeof value === "number" ? value.toLocaleString("en") : String(value) })))));
}
