"""LaTeXML pages read into records."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.paper import sections_to_titles, title_key
from pasa.tools.html import UNTITLED, Page, parse_page
from tests.service_formats import latexml_page
from tests.tools.conftest import world

LATEXML = Path(__file__).parents[3] / "shared/data/latexml"
FIXTURES = Path(__file__).parents[3] / "shared/data/fixtures/html"
SURVEY = next(p for p in world() if p.arxiv_id == "2401.00001")
BIBLIOGRAPHY = "".join(
    f'<li id="bib.bib{n}" class="ltx_bibitem"><span class="ltx_tag ltx_tag_bibitem">[{n}]</span>'
    f'<span class="ltx_bibblock">Ann Writer.</span><span class="ltx_bibblock">Work number {word}.</span>'
    f'<span class="ltx_bibblock">In <em class="ltx_emph ltx_font_italic">X</em>, 2017.</span></li>'
    for n, word in enumerate(("one", "two", "three", "four"), 1)
)


def cite(*numbers: int) -> str:
    links = ", ".join(f'<a href="#bib.bib{n}" class="ltx_ref">{n}</a>' for n in numbers)
    return f'<p class="ltx_p">Text <cite class="ltx_cite">[{links}]</cite></p>'


def section(level: str, title: str, *inner: str) -> str:
    heading = f'<h2 class="ltx_title ltx_title_{level}"><span class="ltx_tag">1 </span>{title}</h2>'
    return f'<section class="ltx_{level}">{heading}{"".join(inner)}</section>'


def page(*parts: str) -> Page:
    text = "".join(parts) + f'<ul class="ltx_biblist">{BIBLIOGRAPHY}</ul>'
    parsed = parse_page(f'<html><body><article class="ltx_document">{text}</article></body></html>'.encode())
    assert parsed is not None
    return parsed


def titles(*parts: str) -> dict[str, list[str]]:
    return {name: [t.split()[-1] for t in cited] for name, cited in sections_to_titles(page(*parts).sections).items()}


@pytest.mark.parametrize("citations", ["numeric", "author-year"])
def test_a_page_is_read_whole(citations):
    parsed = parse_page(latexml_page(SURVEY, citations))
    assert parsed.title == SURVEY.title
    assert parsed.abstract == SURVEY.abstract
    assert sections_to_titles(parsed.sections) == sections_to_titles(SURVEY.sections)
    assert len(parsed.references) == 6


def test_sections_are_named_with_their_subsections_and_deeper_levels_folded_in():
    assert titles(
        section("section", "Introduction", cite(1)),
        section(
            "section",
            "Related Work",
            cite(2),
            section(
                "subsection",
                "Vision",
                cite(3),
                section("subsubsection", "Deep", cite(4), section("paragraph", "P", cite(1))),
            ),
            section("paragraph", "Loose", cite(4)),
        ),
        section("appendix", "Proofs", section("subsection", "Lemmas", cite(2))),
    ) == {
        "Introduction": ["one"],
        "Related Work": ["two", "four"],
        "Related Work Vision": ["three", "four", "one"],
        "Proofs Lemmas": ["two"],
    }


def test_books_are_named_by_chapter_and_section():
    parts = section("chapter", "Foundations", section("section", "Search", section("subsection", "Trees", cite(1))))
    assert titles(parts) == {"Foundations Search": ["one"]}


def test_sections_without_a_citation_are_left_out():
    assert titles(section("section", "Method", "<p>Nothing.</p>"), section("section", "End", cite(9))) == {}


def test_every_key_of_a_multi_citation_counts_once_in_order():
    assert titles(section("section", "A", cite(3, 1, 2), cite(1, 4))) == {"A": ["three", "one", "two", "four"]}


def test_citations_in_figures_tables_and_the_abstract_are_left_out():
    parts = (
        f'<div class="ltx_abstract">{cite(1)}</div>',
        section("section", "A", f'<figure class="ltx_figure">{cite(2)}</figure>', cite(3)),
        f'<figure class="ltx_table">{cite(4)}</figure>',
    )
    assert titles(*parts) == {"A": ["three"]}


def test_text_outside_sections_has_a_name():
    assert titles(cite(1)) == {UNTITLED: ["one"]}


def test_links_with_a_full_address_are_citations_too():
    link = '<a href="https://arxiv.org/html/2401.00001v1#bib.bib2">2</a>'
    assert titles(section("section", "A", link)) == {"A": ["two"]}


def test_mathematics_in_titles_reads_as_its_symbols():
    tex = '<annotation encoding="application/x-tex">\\beta</annotation>'
    math = f'<math alttext="\\beta"><semantics><mi>β</mi>{tex}</semantics></math>'
    parsed = page(
        f'<h1 class="ltx_title ltx_title_document">On {math}-decay</h1>',
        section("section", f"The {math} case", cite(1)),
    )
    assert parsed.title == "On β-decay"
    assert parsed.sections[0].name == "The β case"


def test_latexmls_own_field_classes_name_the_title():
    item = (
        '<li id="bib.bib9" class="ltx_bibitem"><span class="ltx_bibblock">'
        '<span class="ltx_text ltx_bib_author">A. W.</span>'
        '<span class="ltx_text ltx_bib_title">The Marked One</span>.</span><span class="ltx_bibblock">2017</span></li>'
    )
    assert page(item).references[0].title == "The Marked One"


@pytest.mark.parametrize(
    "html",
    [
        b"",
        b"\x00\xff\xfe",
        b"<html><body><h1>Title:A Paper</h1><blockquote>Abstract</blockquote></body></html>",
        b"<html><body>Fatal error: conversion failed</body></html>",
        gzip.compress(b"ltx_document"),
    ],
)
def test_what_is_no_rendering_of_a_paper_is_none(html):
    assert parse_page(html) is None


@pytest.mark.parametrize("tag", [b"<div>", b"<math><mrow>", b'<section class="ltx_section">', b"<span>"])
def test_absurdly_deep_pages_are_survived(tag):
    whole = latexml_page(SURVEY)
    assert isinstance(parse_page(whole.replace(b"<p ", tag * 20_000 + b"<p ", 1)), Page)


def test_a_30_mb_page_is_read():
    whole = latexml_page(SURVEY)
    filler = b'<p class="ltx_p">' + b"words and words, more of them, " * 400 + b"</p>"
    big = whole.replace(b"<p ", filler * (30_000_000 // len(filler)) + b"<p ", 1)
    assert parse_page(big).sections == parse_page(whole).sections


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_mangled_page_is_a_page_or_none(data):
    """Bytes cut out, repeated, moved or overwritten anywhere in a true page."""
    html = latexml_page(SURVEY, data.draw(st.sampled_from(["numeric", "author-year"])))
    for _ in range(data.draw(st.integers(1, 6))):
        a, b = sorted(data.draw(st.tuples(st.integers(0, len(html)), st.integers(0, len(html)))))
        filling = data.draw(
            st.binary(max_size=20) | st.just(html[a:b] * 2) | st.sampled_from([b"<li", b'"', b"<!--", b"]]>"])
        )
        html = html[:a] + filling + html[b:]
    parsed = parse_page(html)
    if parsed is not None:
        assert all(section.references for section in parsed.sections)


@given(st.binary(max_size=300))
@settings(max_examples=60)
def test_any_bytes_that_claim_to_be_a_page_are_survived(noise):
    parse_page(b'<article class="ltx_document"><li class="ltx_bibitem" id="bib.bib1">' + noise)


def measure() -> tuple[float, float, float]:
    """Share of right titles, recall and precision of (section, cited title) pairs over the pages with a truth."""
    asked = right = hits = true_pairs = found_pairs = 0
    for path in sorted((LATEXML / "truth").glob("*.json")):
        truth = json.loads(path.read_text())
        parsed = parse_page((LATEXML / "html" / f"{path.stem}.html").read_bytes())
        wanted = {b["key"]: title_key(b["title"]) for b in truth["bib"] if b["title"]}
        found = {title_key(r.title) for r in parsed.references}
        asked, right = asked + len(wanted), right + sum(key in found for key in wanted.values())
        pairs, top, name = set(), "", ""
        for part in truth["sections"]:
            if part["level"] == 1:
                top = name = part["title"]
            elif part["level"] == 2:
                name = f"{top} {part['title']}"
            pairs |= {(title_key(name), wanted[k]) for k in part["cited_keys"] if k in wanted}
        got = {(title_key(s.name), title_key(r.title)) for s in parsed.sections for r in s.references}
        hits, true_pairs, found_pairs = hits + len(pairs & got), true_pairs + len(pairs), found_pairs + len(got)
    return right / asked, hits / true_pairs, hits / found_pairs


@pytest.mark.skipif(not LATEXML.exists(), reason="needs ../shared/data/latexml")
def test_real_pages_keep_their_measured_quality():
    titles_right, recall, precision = measure()
    assert titles_right >= 0.98
    assert recall >= 0.98
    assert precision >= 0.95  # the truth leaves appendices out


@pytest.mark.skipif(not FIXTURES.exists(), reason="needs ../shared/data/fixtures/html")
@pytest.mark.parametrize(("name", "references"), [("1707.08043", 10), ("1708.00137", 59), ("1803.07574", 31)])
def test_older_renderings_are_read_too(name, references):
    parsed = parse_page((FIXTURES / f"engrafo_{name}.html").read_bytes())
    assert len(parsed.references) == references
    assert all(r.title for r in parsed.references)
    assert parsed.title
    assert parsed.sections
