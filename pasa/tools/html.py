"""A LaTeXML page (arxiv.org/html, ar5iv) read into a record: bytes in, Page out, no I/O.

The markup is LaTeXML's (dlmf.nist.gov/LaTeXML): `section.ltx_section > section.ltx_subsection > ...`, citations as
links to `#bib.bibN`, and `li.ltx_bibitem` entries made of `span.ltx_bibblock` blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lxml import etree

from pasa.paper import Reference, Section
from pasa.tools.bib_entry import Block, Run, read_entry

UNTITLED = "Main Text"  # names text that stands in no section: letters and notes have none

_MAX_ITEM_CHARS = 20_000  # an entry longer than this is a page broken inside its bibliography
_BIB_FRAGMENT = re.compile(r"#(.*\bbib\..+)$")
_TOP_LEVELS = ("ltx_chapter", "ltx_section", "ltx_appendix")
_LEVELS = frozenset({*_TOP_LEVELS, "ltx_subsection"})
_NOT_TEXT = frozenset({"ltx_tag", "ltx_note", "ltx_ERROR", "ltx_role_footnotemark"})
_HIDDEN = frozenset({"annotation", "annotation-xml", "script", "style"})  # a formula's TeX beside its symbols
_INVISIBLE = dict.fromkeys([0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0x2061, 0x2062, 0x2063, 0x2064, 0xFEFF])
_FLOATS = frozenset({"ltx_figure", "ltx_table", "ltx_float", "ltx_abstract", "ltx_bibliography"})
_ITALIC = frozenset({"ltx_font_italic", "ltx_font_slanted", "ltx_emph"})
_FAILED = (b"ltx_document", b"ltx_bibitem")  # a page without these is no rendering of a paper


@dataclass(frozen=True, slots=True)
class Page:
    """A paper's page: `references` in bibliography order; `sections` only those that cite something."""

    title: str
    abstract: str
    sections: tuple[Section, ...]
    references: tuple[Reference, ...]


def parse_page(html: bytes) -> Page | None:
    """The page's record; None if the bytes are no LaTeXML rendering of a paper.

    Sections are named as upstream names them: a section's own text "Introduction", a subsection's "Related Work
    Vision-Language Models"; deeper levels count to their subsection. Citations in figures and tables are left out.
    """
    if not any(mark in html for mark in _FAILED):
        return None
    root = _tree(html)
    if root is None:
        return None
    body = _first(root, "ltx_document")
    if body is None:
        body = root
    references = {key: read_entry(blocks) for key, blocks in _entries(body)}
    return Page(
        title=_heading_text(_first(body, "ltx_title_document")),
        abstract=_abstract(body),
        sections=_sections(body, references),
        references=tuple(r for r in references.values() if r.raw),
    )


def _tree(html: bytes) -> Any:
    # huge_tree: libxml2 otherwise stops at 256 levels, and mathematics nests deeply.
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, no_network=True, remove_comments=True, remove_pis=True)
    try:
        return etree.fromstring(html, parser)
    except (etree.LxmlError, ValueError):
        return None


# --- sections and citations ---------------------------------------------------------------------------------------


def _sections(body: Any, references: dict[str, Reference]) -> tuple[Section, ...]:
    """Every section that cites, in order; a work cited twice in a section counts at its first place."""
    cited: dict[str, dict[str, None]] = {}
    names: dict[Any, str] = {}
    for link in body.iter("a"):
        fragment = _BIB_FRAGMENT.search(link.get("href") or "")
        if fragment is None or fragment[1] not in references:
            continue
        place = _place(link)
        if place is None:
            continue
        if place not in names:
            names[place] = _section_name(place)
        cited.setdefault(names[place], {}).setdefault(fragment[1])
    named = ((name, tuple(references[key] for key in keys)) for name, keys in cited.items())
    return tuple(Section(name, found) for name, found in named if found)


def _place(link: Any) -> tuple[Any, ...] | None:
    """The headed elements the link stands in, outermost first, two at most; None inside floats and bibliography."""
    chain = []
    for element in link.iterancestors():
        classes = _classes(element)
        if classes & _FLOATS or element.tag == "nav":
            return None
        if classes & _LEVELS:
            chain.append(element)
    return tuple(reversed(chain))[:2]


def _section_name(place: tuple[Any, ...]) -> str:
    titles = [_heading_text(_own_heading(element)) for element in place]
    return " ".join(t for t in titles if t) or UNTITLED


def _own_heading(section: Any) -> Any:
    for child in section:
        if "ltx_title" in _classes(child):
            return child
    return None


def _heading_text(heading: Any) -> str:
    if heading is None:
        return ""
    return _tidy("".join(run.text for run in _runs(heading)))


def _abstract(body: Any) -> str:
    element = _first(body, "ltx_abstract")
    if element is None:
        return ""
    parts = [run.text for child in element if "ltx_title" not in _classes(child) for run in _runs(child)]
    return _tidy(" ".join(parts))


# --- bibliography -------------------------------------------------------------------------------------------------


def _entries(body: Any) -> Iterator[tuple[str, list[Block]]]:
    """Each bibliography entry's anchor and its blocks."""
    for item in body.iter("li"):
        key = item.get("id")
        if not key or "ltx_bibitem" not in _classes(item):
            continue
        blocks = [child for child in item if "ltx_bibblock" in _classes(child)]
        yield key, [_block(b) for b in blocks or [item]]


def _block(element: Any) -> Block:
    runs: list[Run] = []
    size = 0
    for run in _runs(element):
        size += len(run.text)
        if size > _MAX_ITEM_CHARS:
            break
        runs.append(run)
    links = tuple(href for a in element.iter("a") if (href := a.get("href")) and not href.startswith("#"))
    return Block(tuple(runs), links)


# --- text ---------------------------------------------------------------------------------------------------------


def _runs(root: Any) -> list[Run]:
    """The visible text below `root` in pieces of one style; mathematics as it reads, tags and notes left out."""
    runs: list[Run] = []
    styles: list[Run] = [Run("")]
    skipping: Any = None
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if event == "start":
            if skipping is not None:
                continue
            style = _style(element, styles[-1])
            styles.append(style)
            if element.tag in _HIDDEN or (element is not root and _classes(element) & _NOT_TEXT):
                skipping, text = element, ""
            elif element.tag == "math" and not len(element):
                text = element.get("alttext") or ""
            elif element.tag == "br":
                text = " "
            else:
                text = element.text or ""
            runs.append(style.with_text(text.translate(_INVISIBLE)))
            continue
        if skipping is not None:
            if element is not skipping:
                continue
            skipping = None
        styles.pop()
        if element is not root:
            runs.append(styles[-1].with_text((element.tail or "").translate(_INVISIBLE)))
    return [run for run in runs if run.text]


def _style(element: Any, outer: Run) -> Run:
    classes = _classes(element)
    upright = "ltx_font_upright" in classes
    kinds = [c.removeprefix("ltx_bib_") for c in classes if c.startswith("ltx_bib_")]
    return Run(
        "",
        italic=not upright and (outer.italic or bool(classes & _ITALIC) or element.tag in ("em", "i")),
        kind=kinds[0] if kinds else outer.kind,
    )


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _classes(element: Any) -> frozenset[str]:
    return frozenset((element.get("class") or "").split())


def _first(root: Any, name: str) -> Any:
    for element in root.iter():
        if name in (element.get("class") or "") and name in _classes(element):
            return element
    return None
