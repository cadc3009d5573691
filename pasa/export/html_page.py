"""A run as one HTML page that asks nothing of any other place: style, script and picture are in it.

The page is an element tree, so that no title can end up as markup; only its own style and script may run, by hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from pasa.evaluation.report_figures import FIGURE_STYLE, Axis, Line, LineChart, theme, to_element
from pasa.export.evidence import evidence
from pasa.export.html_assets import SCRIPT, STYLE
from pasa.export.methods import flow_rows
from pasa.export.missing import discovery, told_of_missing
from pasa.export.run_view import ExportedRun, date_text, html_url, pdf_url
from pasa.export.tex_text import one_line, readable
from pasa.export.tree_picture import PICTURE_STYLE, crawl_svg, describe
from pasa.result_tree import CITED_BY, RankedPaper
from pasa.results import describe_path

_WAYS = {"": "any way", "search": "a search", "citation": "citations", "seed": "a seed paper"}
FEWEST_POINTS = 4  # ways; fewer make no curve
_SORTS = {"score": "score", "newest": "newest first", "oldest": "oldest first", "title": "title"}
_FACTS = {  # keys of a run record -> what a reader calls them
    **{"engine": "searched in", "retrieval": "searched by", "source": "papers described by"},
    **{"citations": "citing papers from", "crawler": "Crawler", "selector": "Selector", "config": "configuration"},
    **{"searches": "searches", "papers_expanded": "papers read for what they cite", "papers_scored": "papers scored"},
    **{"budget_reached": "ended early by", "seconds": "seconds"},
}


def to_html(run: ExportedRun, papers: Sequence[RankedPaper]) -> str:
    """The page with these papers of the run; the same run gives the same text."""
    style = theme(":root") + STYLE + PICTURE_STYLE + FIGURE_STYLE
    html = ET.Element("html", lang="en")
    head = ET.SubElement(html, "head")
    ET.SubElement(head, "meta", charset="utf-8")
    ET.SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": policy(style, SCRIPT)})
    ET.SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    ET.SubElement(head, "meta", name="referrer", content="no-referrer")
    ET.SubElement(head, "title").text = one_line(run.question)
    ET.SubElement(head, "style").text = style
    body = ET.SubElement(html, "body")
    _add_header(body, run)
    main = ET.SubElement(body, "main")
    _add_papers(main, run, papers)
    _add_picture(main, run)
    _add_facts(main, run)
    ET.SubElement(body, "script").text = SCRIPT
    return "<!DOCTYPE html>\n" + ET.tostring(html, encoding="unicode", method="html") + "\n"


def policy(style: str, script: str) -> str:
    """A content security policy under which only these two texts take effect: https://www.w3.org/TR/CSP3/."""
    allowed = f"style-src {_hash(style)}; script-src {_hash(script)}"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _add(parent: ET.Element, tag: str, text: str = "", **attributes: str) -> ET.Element:
    """A child with text; `class_` and `data_x` stand for class and data-x."""
    names = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    child = ET.SubElement(parent, tag, names)
    child.text = text
    return child


def _add_header(body: ET.Element, run: ExportedRun) -> None:
    header = _add(body, "header")
    _add(header, "h1", one_line(run.question))
    found = f"{len(run.papers)} papers found, {len(run.selected)} selected"
    until = f"; none later than {run.end_date}, seeds aside" if run.end_date else ""
    _add(header, "p", f"{found}{until}.")
    if told := told_of_missing(run):
        _add(header, "p", f"{told[0].upper()}{told[1:]}.", class_="estimate")
    links = _add(_add(header, "nav", aria_label="On this page"), "ul")
    for target, name in (("papers", "Papers"), ("crawl", "The crawl"), ("how", "How the search was made")):
        _add(_add(links, "li"), "a", name, href=f"#{target}")


# -- the list ----------------------------------------------------------------------------------------------------------


def _add_papers(main: ET.Element, run: ExportedRun, papers: Sequence[RankedPaper]) -> None:
    section = _add(main, "section", id="papers")
    _add(section, "h2", "Papers")
    if not papers:
        _add(section, "p", "No paper was found.")
        return
    _add_filters(section, papers)
    items, told = _add(section, "ol", id="list"), evidence(run, papers)
    for ranked in papers:
        _add_paper(items, ranked, told.get(ranked.paper.key, ""))


def _add_filters(section: ET.Element, papers: Sequence[RankedPaper]) -> None:
    """The filters; hidden until the script runs, which they need."""
    form = _add(section, "form", id="filters", hidden="hidden", aria_label="Filter and sort")
    _field(form, "Words in title, authors, abstract", "words", type="search")
    _field(form, "Score from", "score", type="number", min="0", max="1", step="0.05")
    years = sorted(date_text(ranked.paper)[:4] for ranked in papers if date_text(ranked.paper)) or ["", ""]
    _field(form, "Year from", "from", type="number", placeholder=years[0])
    _field(form, "to", "to", type="number", placeholder=years[-1])
    _choice(form, "Found by", "way", _WAYS)
    depths = sorted({ranked.depth for ranked in papers})
    _choice(form, "Steps away", "depth", {"": "any", **{str(depth): _steps(depth) for depth in depths}})
    _choice(form, "Sort by", "sort", _SORTS)
    label = _add(form, "label", class_="tick")
    box = _add(label, "input", type="checkbox", name="selected")
    if any(ranked.selected for ranked in papers):
        box.set("checked", "checked")
    box.tail = " selected papers only"
    _add(form, "p", id="shown", role="status")


def _steps(depth: int) -> str:
    return "found by the search itself" if depth <= 0 else f"{depth} citation{'s' if depth > 1 else ''} away"


def _field(form: ET.Element, words: str, name: str, **attributes: str) -> None:
    label = _add(form, "label", words)
    _add(label, "input", name=name, **attributes)


def _choice(form: ET.Element, words: str, name: str, options: Mapping[str, str]) -> None:
    select = _add(_add(form, "label", words), "select", name=name)
    for value, text in options.items():
        _add(select, "option", text, value=value)


def way(ranked: RankedPaper) -> str:
    """What first led to the paper: search, citation or seed."""
    return "seed" if ranked.is_seed else "search" if len(ranked.path) <= 1 else "citation"


def _add_paper(items: ET.Element, ranked: RankedPaper, told: str) -> None:
    paper = ranked.paper
    date = date_text(paper)
    facts = {"score": f"{ranked.score:.6f}", "date": date, "depth": str(ranked.depth), "way": way(ranked)}
    item = _add(items, "li", id=f"p{ranked.rank}", **{f"data_{name}": value for name, value in facts.items()})
    item.set("data-rank", str(ranked.rank))
    item.set("data-selected", "yes" if ranked.selected else "no")
    heading = _add(item, "h3", f"{ranked.rank}. ")
    title = readable(paper.title)
    if paper.url:
        _add(heading, "a", title, href=paper.url, rel="noopener noreferrer")
    else:
        _add(heading, "span", title)
    line = _add(item, "p", class_="facts")
    score = _add(line, "meter", f"{ranked.score:.2f}", min="0", max="1", value=f"{ranked.score:.4f}")
    score.set("aria-label", "score")
    facts_shown = [f"{ranked.score:.2f}", "selected" if ranked.selected else "not selected", date]
    score.tail = " " + " · ".join(filter(None, [*facts_shown, one_line(", ".join(paper.authors))]))
    _add(item, "p", f"Found by {one_line(describe_path(ranked.path))}" + _by(ranked), class_="way")
    if told:
        _add(item, "p", f"{told[0].upper()}{one_line(told[1:])}", class_="way")
    if ranked.reason:
        _add(item, "p", f"The Selector: {one_line(ranked.reason)}", class_="way")
    _add_links(item, ranked)
    if paper.abstract.strip():
        details = _add(item, "details")
        _add(details, "summary", "Abstract")
        _add(details, "p", readable(paper.abstract))


def _by(ranked: RankedPaper) -> str:
    return " (it cites a paper found before)" if ranked.path and ranked.path[-1] == CITED_BY else ""


def _add_links(item: ET.Element, ranked: RankedPaper) -> None:
    links = {"arXiv": ranked.paper.url, "PDF": pdf_url(ranked.paper), "HTML": html_url(ranked.paper)}
    if not any(links.values()):
        return
    line = _add(item, "p", class_="links")
    for name, url in links.items():
        link = _add(line, "a", name, href=url or "", rel="noopener noreferrer")
        link.set("aria-label", f"{name} of {readable(ranked.paper.title)}")
        link.tail = " "


# -- the picture and the facts -----------------------------------------------------------------------------------------


def _add_picture(main: ET.Element, run: ExportedRun) -> None:
    section = _add(main, "section", id="crawl")
    _add(section, "h2", "The crawl")
    _add(section, "p", f"{describe(run)} A filled dot is a selected paper and leads to it in the list.")
    scroll = _add(section, "div", class_="scroll", tabindex="0", role="region", aria_label="The crawl, as a picture")
    scroll.append(crawl_svg(run))
    _add_discovery(section, run)


def _add_discovery(section: ET.Element, run: ExportedRun) -> None:
    """How selected papers came with papers found: a curve that still rises at its end shows a search cut short."""
    points = [(float(found), float(chosen)) for found, chosen in discovery(run)]
    if len(points) < FEWEST_POINTS or not points[-1][1]:
        return
    chart = LineChart(
        "discovery",
        "Selected papers among those found so far",
        f"The curve ends at {points[-1][1]:.0f} selected of {points[-1][0]:.0f} papers found.",
        Axis("papers found so far", low=0.0),
        Axis("selected", low=0.0),
        (Line("this search", ((0.0, 0.0), *dict(points).items())),),
    )
    figure = _add(section, "figure")
    _add(figure, "figcaption", f"{chart.title}: where it still rises at its end, more is likely to be found.")
    figure.append(to_element(chart))


def _add_facts(main: ET.Element, run: ExportedRun) -> None:
    section = _add(main, "section", id="how")
    _add(section, "h2", "How the search was made")
    facts = _add(section, "dl")
    for key, words in _FACTS.items():
        if run.run.get(key) is not None:
            _add(facts, "dt", words)
            _add(facts, "dd", one_line(str(run.run[key])))
    _add_table(section, "From found to selected", ("step", "papers"), dict(flow_rows(run)))
    _add_table(section, "Skipped, and why", ("reason", "times"), run.run.get("problems") or {})
    _add_table(section, "Settings", ("setting", "value"), run.run.get("settings") or {})


def _add_table(section: ET.Element, caption: str, columns: tuple[str, str], rows: Mapping[str, Any]) -> None:
    if not rows:
        return
    details = _add(section, "details")
    _add(details, "summary", caption)
    table = _add(details, "table", aria_label=caption)
    head = _add(_add(table, "thead"), "tr")
    for column in columns:
        _add(head, "th", column, scope="col")
    body = _add(table, "tbody")
    for name, value in rows.items():
        row = _add(body, "tr")
        _add(row, "th", one_line(str(name)), scope="row")
        _add(row, "td", one_line(str(value)))
