"""Full text from web pages, over real HTTP."""

from __future__ import annotations

import pytest

from pasa.errors import RefusedError, ResponseError, ServiceError
from pasa.paper import Paper, Reference, sections_to_titles
from pasa.tools.arxiv import ArxivSource
from pasa.tools.pages import HtmlSource
from tests.services import CUT, RESET, FakeServices, Fault
from tests.tools.conftest import TITLES, world

SURVEY = Paper("A Survey of Language Agents", arxiv_id="2401.00001")
HIDDEN = Paper("A Page Only Ar5iv Has", arxiv_id="1901.00002")
ABS = b'<!DOCTYPE html><html><body><div id="abs">An abstract page.</div></body></html>'
NO_BIBLIOGRAPHY = b'<html><body><article class="ltx_document"><h1>Half</h1></article></body></html>'


def source_of(services, client) -> HtmlSource:
    urls = services.urls
    return HtmlSource(client, ArxivSource(client, urls.arxiv_api), urls.arxiv_html, urls.ar5iv)


@pytest.mark.parametrize("citations", ["numeric", "author-year"])
def test_sections_come_back_as_they_went_onto_the_page(client_for, citations):
    with FakeServices(world(), citations=citations) as services:
        sections = source_of(services, client_for(services)).sections(SURVEY)
    truth = next(p for p in world() if p.arxiv_id == SURVEY.arxiv_id).sections
    assert sections_to_titles(sections) == sections_to_titles(truth)
    assert [r.arxiv_id for s in sections for r in s.references] == [r.arxiv_id for s in truth for r in s.references]


def test_arxiv_is_asked_first_and_ar5iv_only_after_it(services, client_for):
    source = source_of(services, client_for(services))
    assert source.sections(SURVEY)
    assert not services.requests_to("ar5iv")
    assert [s.name for s in source.sections(HIDDEN)] == ["Introduction"]
    assert [r.path for r in services.requests_to("ar5iv")] == ["/html/1901.00002"]


def test_a_page_without_a_bibliography_sends_us_to_ar5iv(services, client_for):
    services.script("arxiv_html", Fault.garbage(NO_BIBLIOGRAPHY))
    assert source_of(services, client_for(services)).sections(SURVEY)
    assert len(services.requests_to("ar5iv")) == 1


def test_no_page_anywhere_is_none(services, client_for):
    source = source_of(services, client_for(services))
    assert source.sections(Paper("BERT", arxiv_id="1810.04805")) is None
    assert source.sections(Paper("No id")) is None
    assert len(services.requests_to("ar5iv")) == 1


def test_a_redirect_to_the_abstract_page_is_no_full_text(services, client_for):
    services.script("arxiv_html", Fault.status(404))
    services.script("ar5iv", Fault.redirect("/abs/2401.00001"), Fault.garbage(ABS))
    assert source_of(services, client_for(services)).sections(SURVEY) is None


def test_a_broken_arxiv_is_made_up_for_by_ar5iv(services, client_for):
    services.always("arxiv_html", Fault.status(500))
    assert source_of(services, client_for(services)).sections(SURVEY)


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault.status(500), ServiceError), (Fault.garbage(), ResponseError), (CUT, ResponseError), (RESET, ServiceError)],
)
def test_broken_servers_are_errors_not_missing_pages(services, client_for, fault, error):
    services.always("arxiv_html", fault)
    services.always("ar5iv", Fault.status(404))
    with pytest.raises(error):
        source_of(services, client_for(services)).sections(SURVEY)


def test_a_refusal_is_not_a_missing_page(services, client_for):
    services.always("arxiv_html", Fault.status(403))
    services.always("ar5iv", Fault.status(404))
    with pytest.raises(RefusedError):
        source_of(services, client_for(services)).sections(SURVEY)


def test_a_page_that_stops_early_is_asked_for_again(services, client_for):
    services.script("arxiv_html", Fault.garbage(b'<html><body><article class="ltx_document"><p>cut'))
    assert source_of(services, client_for(services)).sections(SURVEY)
    assert len(services.requests_to("arxiv_html")) == 2


def test_papers_and_references_come_from_the_api(services, client_for):
    source = source_of(services, client_for(services))
    assert source.papers_by_id(["1706.03762"])["1706.03762"].title == TITLES["1706.03762"]
    papers = source.papers_by_reference([Reference(TITLES["2005.11401"]), Reference("x", arxiv_id="1706.03762")])
    assert [p.arxiv_id for p in papers] == ["2005.11401", "1706.03762"]
    assert source.failures() == {}
