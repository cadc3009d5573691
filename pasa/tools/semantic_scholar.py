"""Semantic Scholar: search, papers by id and by reference, reference lists, citing papers.

Limits of 2026 (api.semanticscholar.org/api-docs/graph): one request a second over all end points with a free key, a
shared pool that often answers 429 without one; 500 ids a batch, 1,000 citations a page, 1,000 results a search.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pasa.errors import RefusedError, ResponseError
from pasa.paper import Paper, Reference, Section, find_arxiv_id, parse_arxiv_id, title_key
from pasa.tools.arxiv import query_words
from pasa.tools.base import FailureCount, SearchHit
from pasa.tools.batches import Batches
from pasa.tools.http import HttpClient
from pasa.tools.json_api import JsonApi, Service, clean_key, list_at
from pasa.tools.scholarly import REFERENCE_LIST, distinct, doi_of, same_title
from pasa.tools.semantic_scholar_papers import PAPER_FIELDS, REFERENCE_FIELDS, Record, paper_id_of, read_record

BASE_URL = "https://api.semanticscholar.org/graph/v1"
KEY_VARIABLES = ("SEMANTIC_SCHOLAR_API_KEY", "S2_API_KEY")
SERVICE = Service(
    "Semantic Scholar",
    KEY_VARIABLES[0],
    "semanticscholar.org/product/api, free",
    f"set {KEY_VARIABLES[0]} (free at semanticscholar.org/product/api), or try again later",
    rest_seconds=60.0,  # the shared pool is crowded from minute to minute
)

_SEARCH_PAGE = 100
_MAX_SEARCH = 1000  # results of one search that can be paged through
_CITATION_PAGE = 1000
_LAST_LINK = 10_000  # the end of a page, counted from the first reference or citation, must stay below it
_IDS_PER_REQUEST = 500
_NOT_FOUND = 404
_NO_KNOWN_ID = "no valid paper ids"  # how a batch without any known id is refused


class SemanticScholarSearch:
    """Semantic Scholar's search in titles and abstracts, most relevant first; hits carry the whole paper."""

    name = "semantic_scholar"

    def __init__(self, client: HttpClient, base_url: str = BASE_URL, key: str | None = None) -> None:
        """Without a key requests go to the shared pool. Raises RefusedError for an impossible key."""
        self._api = _api(client, base_url, key)

    def search(self, query: str, limit: int, end_date: dt.date | None = None) -> list[SearchHit]:
        """At most `limit` papers, none later than `end_date`. Raises ServiceError, RefusedError or ResponseError."""
        limit = min(limit, _MAX_SEARCH)
        words = " ".join(query_words(query))  # a word with a hyphen in it would match nothing
        if not words or limit <= 0:
            return []
        dates = {"publicationDateOrYear": f":{end_date.isoformat()}"} if end_date else {}
        papers: list[Paper] = []
        offset: int | None = 0
        while offset is not None and offset < _MAX_SEARCH and len(papers) < limit:
            size = min(limit, _SEARCH_PAGE, _MAX_SEARCH - offset)
            asked = {"query": words, **dates, "fields": PAPER_FIELDS, "offset": str(offset), "limit": str(size)}
            records, offset = self._api.ask("/paper/search", asked, "search", _read_search)
            papers = distinct([*papers, *(record.paper for record in records)])
        return [SearchHit(p.arxiv_id, p.title, p) for p in papers[:limit]]


class SemanticScholarSource:
    """Describes papers by Semantic Scholar, and knows what they cite and who cites them; it has no sections.

    A batch that fails costs its own items, counted in `failures()`; ToolError is raised when none was answered.
    """

    name = "semantic_scholar"

    def __init__(
        self, client: HttpClient, base_url: str = BASE_URL, key: str | None = None, titles_per_call: int = 20
    ) -> None:
        """`titles_per_call`: titles asked for in one look-up, each of which takes a request and so a second; those
        beyond count as failures. Raises RefusedError for an impossible key."""
        self._api = _api(client, base_url, key)
        self._titles_per_call = titles_per_call
        self._failures = FailureCount()

    def failures(self) -> dict[str, int]:
        """Items that could not be looked up, by reason."""
        return self._failures.snapshot()

    def papers_by_id(self, arxiv_ids: Sequence[str]) -> dict[str, Paper]:
        """Papers by id as asked for (versions dropped); malformed and unknown ids are absent."""
        wanted = list(dict.fromkeys(i for i in map(parse_arxiv_id, arxiv_ids) if i))
        batches = Batches(self._failures)
        found = self._by_name([f"ARXIV:{i}" for i in wanted], batches)
        batches.close()
        return {i: found[f"ARXIV:{i}"] for i in wanted if f"ARXIV:{i}" in found}

    def papers_by_reference(self, references: Sequence[Reference]) -> list[Paper | None]:
        """By the reference's address at Semantic Scholar, arXiv id or DOI, the first that it states; else by title."""
        batches = Batches(self._failures)
        names = [_name(reference) for reference in references]
        by_name = self._by_name(list(dict.fromkeys(n for n in names if n)), batches)
        found = [by_name.get(name) if name else None for name in names]
        titles = {title_key(r.title): r.title for r, paper in zip(references, found, strict=True) if paper is None}
        titles.pop("", None)
        by_title = self._by_title(list(titles.values()), batches)
        batches.close()
        return [p or by_title.get(title_key(r.title)) for r, p in zip(references, found, strict=True)]

    def sections(self, paper: Paper) -> tuple[Section, ...] | None:
        """The reference list as one section; None where Semantic Scholar knows neither the paper nor what it cites.

        Some publishers forbid it to tell what a paper cites: their papers have none here.
        """
        records = self._linked(paper, "references", "citedPaper", REFERENCE_FIELDS, _LAST_LINK)
        cited = dict.fromkeys(record.as_reference() for record in records)
        return (Section(REFERENCE_LIST, tuple(cited)),) if cited else None

    def citing_papers(self, paper: Paper, limit: int) -> list[Paper]:
        """At most `limit` papers that cite this one, the newest first; [] for an unknown paper."""
        records = self._linked(paper, "citations", "citingPaper", PAPER_FIELDS, min(limit, _LAST_LINK))
        return distinct(record.paper for record in records)[: max(limit, 0)]

    def _linked(self, paper: Paper, link: str, end: str, fields: str, limit: int) -> list[Record]:
        """The papers at the other end of a paper's references or citations; [] where there are none."""
        name = f"ARXIV:{paper.arxiv_id}" if paper.arxiv_id else self._id_by_title(paper.title)
        records: list[Record] = []
        offset: int | None = 0
        while name and offset is not None and len(records) < limit:
            size = min(limit, _CITATION_PAGE)
            asked = {"fields": fields, "offset": str(offset), "limit": str(size)}
            path = f"/paper/{quote(name, safe=':/')}/{link}"
            page = self._found(path, asked, "page", lambda answer: _read_links(answer, end))
            if page is None:
                break
            records += page[0]
            offset = page[1] if page[1] is not None and page[1] + size < _LAST_LINK else None
        return records[:limit]

    def _by_name(self, names: list[str], batches: Batches) -> dict[str, Paper]:
        """Name as asked for ("ARXIV:1706.03762", "DOI:...", a paper's own id) -> paper."""
        pairs = batches.ask(names, _IDS_PER_REQUEST, self._batch)
        return {name: record.paper for name, record in pairs if record is not None}

    def _batch(self, names: Sequence[str]) -> list[tuple[str, Record | None]]:
        def read(answer: Any) -> list[Record | None]:
            if not isinstance(answer, list) or len(answer) != len(names):
                raise ResponseError("Semantic Scholar's answer is not one record an id.")
            return [read_record(record) for record in answer]

        try:
            body = {"ids": list(names)}
            records = self._api.ask("/paper/batch", {"fields": PAPER_FIELDS}, "metadata", read, body)
        except RefusedError as error:
            if _NO_KNOWN_ID not in error.answer.lower():
                raise
            return []
        return list(zip(names, records, strict=True))

    def _by_title(self, titles: list[str], batches: Batches) -> dict[str, Paper]:
        """Title key -> the paper of these letters, one request each."""
        if beyond := len(titles[self._titles_per_call :]):
            self._failures.add(f"more than {self._titles_per_call} titles in one look-up", beyond, is_lost=False)
        found = batches.ask(titles[: self._titles_per_call], 1, lambda some: self._match(some[0]))
        return {record.paper.title_key: record.paper for record in found}

    def _id_by_title(self, title: str) -> str | None:
        records = self._match(title)
        return records[0].id if records else None

    def _match(self, title: str) -> list[Record]:
        """The paper of this title, if the service's closest has the same letters; else []."""
        words = " ".join(title.split())
        if not title_key(words):
            return []
        asked = {"query": words, "fields": PAPER_FIELDS}
        closest = self._found("/paper/search/match", asked, "metadata", _read_match) or []
        alike = same_title((record.paper for record in closest), title)
        return [record for record in closest if record.paper in alike]

    def _found(self, path: str, params: Mapping[str, str], kind: str, read: Callable[[Any], Any]) -> Any:
        """What `read` makes of the answer; None where the service has no such paper."""
        try:
            return self._api.ask(path, params, kind, read)
        except RefusedError as error:
            if error.status == _NOT_FOUND:
                return None
            raise


def _api(client: HttpClient, base_url: str, key: str | None) -> JsonApi:
    key = clean_key(key, SERVICE)
    return JsonApi(client, base_url, SERVICE, headers={"x-api-key": key} if key else {})


def _name(reference: Reference) -> str | None:
    """What the service calls the reference by; None where it states nothing but words."""
    arxiv_id = reference.arxiv_id or (find_arxiv_id(reference.doi) if reference.doi else None)
    doi = doi_of(reference.doi)
    own = paper_id_of(*reference.links)
    return own or (f"ARXIV:{arxiv_id}" if arxiv_id else f"DOI:{doi}" if doi else None)


def _read_search(answer: Any) -> tuple[list[Record], int | None]:
    """The records of a page, and where the next begins; a search without any result has no `data`."""
    if isinstance(answer, dict) and answer.get("total") == 0:
        return [], None
    records = list_at(answer, "data", SERVICE)
    return [r for r in map(read_record, records) if r], _next(answer)


def _read_match(answer: Any) -> list[Record]:
    return [r for r in map(read_record, list_at(answer, "data", SERVICE)) if r]


def _read_links(answer: Any, end: str) -> tuple[list[Record], int | None]:
    """The records of a page of references or citations; `data` is null where a publisher forbids to tell them."""
    if isinstance(answer, dict) and "data" in answer and answer["data"] is None:
        return [], None
    links = list_at(answer, "data", SERVICE)
    records = (read_record(link.get(end)) for link in links if isinstance(link, dict))
    return [r for r in records if r], _next(answer)


def _next(answer: dict[str, Any]) -> int | None:
    following = answer.get("next")
    return following if isinstance(following, int) and following > answer.get("offset", 0) else None
