"""BibTeX, RIS and CSL-JSON: real parsers read them without a word, and find what the metadata says."""

from __future__ import annotations

import json
import logging
import re
import warnings

import bibtexparser
import pytest
import rispy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pybtex.database import BibliographyData, parse_string
from pylatexenc.latex2text import LatexNodes2Text

from pasa.export.bibtex import citation_keys, to_bibtex
from pasa.export.csl_json import to_csl_json
from pasa.export.names import Name, read_name
from pasa.export.ris import to_ris
from pasa.export.tex_text import readable, title_to_latex, to_latex
from pasa.paper import Paper
from tests.export.runs import AUTHORS, HOSTILE, TITLES, a_run, ranked

# Letters that mean something to one of the formats come often.
TEXTS = st.text(st.one_of(st.sampled_from("$\\{}%&_#~^\"'@,=- \n\taAB1é智"), st.characters(codec="utf-8")), max_size=60)
NAMES = st.text(st.one_of(st.sampled_from("abAB{}\\%,.-' é明"), st.characters(categories=["L", "P"])), max_size=25)


def parse_bibtex(text: str) -> BibliographyData:
    """What pybtex reads; fails where it, or bibtexparser, complains."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = parse_string(text, "bibtex")
        library = bibtexparser.parse_string(text)
    assert not library.failed_blocks
    assert [entry.key for entry in library.entries] == list(data.entries)
    return data


def parse_ris(text: str) -> list[dict]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return rispy.loads(text)


def shown(latex: str) -> str:
    """The LaTeX text as a reader sees it."""
    for macro, plain in ((r"\textbraceleft{}", r"\{"), (r"\textbraceright{}", r"\}")):  # pylatexenc knows neither
        latex = latex.replace(macro, plain)
    return LatexNodes2Text().latex_to_text(latex).translate({ord("ˆ"): "^", ord("˜"): "~"})


# -- BibTeX ------------------------------------------------------------------------------------------------------------


def test_bibtex_holds_what_the_metadata_says(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        entries = parse_bibtex(to_bibtex(a_run().papers)).entries
    assert not caplog.records
    assert list(entries) == [
        "vanbeethoven2025alpha",
        "researchanddevelopmentteam199911",
        "theatlascollaboration1999poincare",
        "2023",
    ]
    first = entries["vanbeethoven2025alpha"].fields
    assert first["title"] == r"{$\alpha$}-Divergence for {R\&D} at 5\%: {BERT} and {PaSa}"
    assert (first["year"], first["month"], first["eprint"]) == ("2025", "January", "2501.10120")
    assert first["url"] == "https://arxiv.org/abs/2501.10120"
    assert entries["theatlascollaboration1999poincare"].fields["doi"] == "10.48550/arXiv.hep-th/9901001"


def test_titles_are_escaped_math_stays_and_capitals_are_held() -> None:
    assert title_to_latex(TITLES[0]) == r"{$\alpha$}-Divergence for {R\&D} at 5\%: {BERT} and {PaSa}"
    assert title_to_latex(TITLES[1]) == "Poincaré Embeddings for Learning Hierarchical Representations"
    assert title_to_latex("Costs of $5 and $10 a_b") == r"Costs of \$5 and \$10 a\_b"
    assert (
        title_to_latex("On the use of Gaussian processes in Paris") == "On the use of {Gaussian} processes in {Paris}"
    )
    assert title_to_latex("C# and {x} \\unknown") == (
        r"{C\#} and \textbraceleft{}x\textbraceright{} \textbackslash{}unknown"
    )
    assert title_to_latex("$O(n \\log n)$ Sorting") == r"{$O(n \log n)$} Sorting"


@given(TEXTS)
@example(HOSTILE)
@example("a $x$ b $")
@example("$}{$")
@settings(max_examples=80)
def test_any_text_survives_bibtex(text: str) -> None:
    entry = next(iter(parse_bibtex(to_bibtex(ranked(Paper(text, text, "2501.00001")))).entries.values()))
    for field, latex in (("title", title_to_latex(text)), ("abstract", to_latex(text))):
        assert " ".join(entry.fields.get(field, "").split()) == " ".join(latex.split())


@given(st.text(st.sampled_from("abcAB %&_#~^{}$ é智"), max_size=40))
@settings(max_examples=80)
def test_latex_shows_the_text_that_went_in(text: str) -> None:
    text = " ".join(text.replace("$", "$ ").split())  # no math
    assert re.sub(r"\s", "", shown(to_latex(text))) == re.sub(r"\s", "", text)
    assert re.sub(r"\s", "", shown(title_to_latex(text))) == re.sub(r"\s", "", text)


def test_bibtex_takes_names_apart_as_we_do() -> None:
    papers = [Paper("T", authors=names) for names in AUTHORS]
    entries = list(parse_bibtex(to_bibtex(ranked(*papers))).entries.values())
    first = entries[0].persons["author"]
    assert [(p.prelast_names, p.last_names, p.first_names, p.lineage_names) for p in first] == [
        (["van"], ["Beethoven"], ["Ludwig"], []),
        ([], ["Martínez"], ["José"], ["Jr."]),
        ([], ["Kaiser"], ["Łukasz"], []),
    ]
    assert [str(p) for p in entries[1].persons["author"]] == ["{The ATLAS Collaboration}", "Smith, John", "Madonna"]
    assert [len(entry.persons["author"]) for entry in entries] == [3, 3, 3, 1]


@given(st.lists(NAMES, max_size=4))
@example(["Jr., Jr., Jr.", "and", "A and B", "{", "de", "x, y, z, w", "\\'e and\\"])
@settings(max_examples=80)
def test_each_author_is_one_person(names: list[str]) -> None:
    entry = next(iter(parse_bibtex(to_bibtex(ranked(Paper("T", authors=tuple(names))))).entries.values()))
    assert len(entry.persons.get("author", [])) == sum(read_name(name) is not None for name in names)


def test_keys_are_ascii_and_each_is_taken_once() -> None:
    papers = [Paper(title, authors=("Ann Müller",), date="2024") for title in ("The Deep Nets", "Deep Nets", "深い")]
    keys = citation_keys([*papers, Paper("智能体", arxiv_id="2304.00001"), Paper("智能体"), Paper("智")])
    assert keys == ["muller2024deep", "muller2024deep-2", "muller2024", "2023", "paper", "paper-2"]


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Aäron van den Oord", Name("van den Oord", "Aäron")),
        ("Smith, John, Jr.", Name("Smith", "John", "Jr.")),
        ("Smith, Jr., John", Name("Smith", "John", "Jr.")),
        ("John Smith, III", Name("Smith", "John", "III")),
        ("Plato", Name("Plato")),
        ("Google Research", Name("Google Research", is_whole=True)),
        ("University of Zürich", Name("University of Zürich", is_whole=True)),
        ("  ", None),
    ],
)
def test_names_are_taken_apart(text: str, name: Name | None) -> None:
    assert read_name(text) == name


# -- RIS ---------------------------------------------------------------------------------------------------------------


def test_ris_holds_what_the_metadata_says() -> None:
    first, hostile, second, chinese = parse_ris(to_ris(a_run().papers))
    assert first["type_of_reference"] == "UNPB"
    assert first["authors"] == ["van Beethoven, Ludwig", "Martínez, José, Jr.", "Kaiser, Łukasz"]
    assert (first["year"], first["date"], first["doi"]) == ("2025", "2025/01/17/", "10.48550/arXiv.2501.10120")
    assert first["urls"] == ["https://arxiv.org/abs/2501.10120"]
    assert (hostile["title"], hostile["type_of_reference"]) == (HOSTILE, "GEN")
    assert (second["title"], second["year"]) == (
        "Poincaré Embeddings for Learning Hierarchical Representations",
        "1999",
    )
    assert chinese["abstract"].endswith("in two lines.")


@given(TEXTS, st.lists(NAMES, max_size=3))
@example("ER  - \nTY  - JOUR\n", ["TY  - JOUR\nX"])
@settings(max_examples=80)
def test_any_text_survives_ris(text: str, names: list[str]) -> None:
    [record] = parse_ris(to_ris(ranked(Paper(text, text, authors=tuple(names)))))
    assert record.get("title", "") == readable(text)
    assert len(record.get("authors", [])) == sum(read_name(name) is not None for name in names)


# -- CSL-JSON ----------------------------------------------------------------------------------------------------------


def test_csl_json_holds_what_the_metadata_says() -> None:
    first, hostile, second, _ = json.loads(to_csl_json(a_run().papers))
    assert first["id"] == "vanbeethoven2025alpha"
    assert first["author"][1] == {"family": "Martínez", "given": "José", "suffix": "Jr."}
    assert (first["issued"], first["DOI"]) == ({"date-parts": [[2025, 1, 17]]}, "10.48550/arXiv.2501.10120")
    assert hostile["title"] == HOSTILE
    assert hostile["author"][0] == {"literal": "Research and Development Team"}
    assert second["author"][0] == {"literal": "The ATLAS Collaboration"}
    assert second["issued"] == {"date-parts": [[1999, 1]]}
    assert all(item["type"] == "article" and item["title"] for item in (first, hostile, second))
