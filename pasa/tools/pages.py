"""Full text from arxiv.org/html, else ar5iv; papers and references through arXiv's API."""

from __future__ import annotations

from collections.abc import Sequence

from pasa.errors import RefusedError, ResponseError, ToolError
from pasa.paper import Paper, Reference, Section
from pasa.tools.arxiv import ArxivSource
from pasa.tools.html import Page, parse_page
from pasa.tools.http import HttpClient, Request, Response

# What a page server says of a paper it has no page of.
_NOT_THERE = frozenset({404, 410})
_HTML_START, _HTML_END, _EDGE_BYTES = b"<html", b"</html>", 4096


class HtmlSource:
    """The live paper source: sections from a paper's web page, everything else from `arxiv`."""

    name = "arxiv.org"

    def __init__(
        self,
        client: HttpClient,
        arxiv: ArxivSource,
        arxiv_html_base: str = "https://arxiv.org/html",
        ar5iv_base: str = "https://ar5iv.labs.arxiv.org/html",
    ) -> None:
        self._client = client
        self._arxiv = arxiv
        self._bases = (arxiv_html_base.rstrip("/"), ar5iv_base.rstrip("/"))

    def failures(self) -> dict[str, int]:
        """Items that arXiv's API could not look up, by reason."""
        return self._arxiv.failures()

    def papers_by_id(self, arxiv_ids: Sequence[str]) -> dict[str, Paper]:
        return self._arxiv.papers_by_id(arxiv_ids)

    def papers_by_reference(self, references: Sequence[Reference]) -> list[Paper | None]:
        """By the arXiv id the entry states, else by title."""
        return self._arxiv.papers_by_reference(references)

    def sections(self, paper: Paper) -> tuple[Section, ...] | None:
        """The page's sections that cite something; None for a paper without arXiv id or without a page anywhere.

        A page without a bibliography is passed over like a missing one. Raises ToolError if a server failed and the
        other had no page either.
        """
        if paper.arxiv_id is None:
            return None
        failure: ToolError | None = None
        for base in self._bases:
            try:
                page = self.page(base, paper.arxiv_id)
            except ToolError as error:
                failure = failure or error
                continue
            if page is not None and page.references:
                return page.sections
        if failure:
            raise failure
        return None

    def page(self, base: str, arxiv_id: str) -> Page | None:
        """The paper's page at one server; None where it has none or its conversion failed. Raises ToolError."""
        try:
            return self._client.fetch(Request(f"{base}/{arxiv_id}", kind="page"), _read_page)
        except RefusedError as error:
            if error.status in _NOT_THERE:
                return None
            raise


def _read_page(response: Response) -> Page | None:
    """None for HTML that is no rendering, as the abstract page to which ar5iv redirects when it has none.

    Raises ResponseError for a body that is no HTML or stops before its end.
    """
    start, end = response.body[:_EDGE_BYTES].lower(), response.body[-_EDGE_BYTES:].lower()
    if _HTML_START not in start or _HTML_END not in end:
        raise ResponseError(f"{response.url} is not a whole HTML page.")
    return parse_page(response.body)
