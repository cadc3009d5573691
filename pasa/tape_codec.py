"""What an agent asks and is answered, as plain data and back."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, fields
from typing import Any

from pasa.errors import ModelError, PasaError, RefusedError, ResponseError, ServiceError, ToolError
from pasa.models.base import CrawlRequest, Reply, Sampling, Score, SelectRequest
from pasa.paper import Paper, Reference, Section
from pasa.tools.base import SearchHit

Plain = Any  # what JSON holds
_ERRORS = {kind.__name__: kind for kind in (ToolError, ServiceError, ResponseError, RefusedError, ModelError)}
_DIGEST_BYTES = 16
_REPLY_FIELDS = tuple(field.name for field in fields(Reply))


def digest(text: str) -> str:
    """A short name for a long text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()


def crawl_ask(request: CrawlRequest, sampling: Sampling) -> Plain:
    return [request.kind, request.query, request.title, digest(request.prompt), asdict(sampling)]


def select_ask(request: SelectRequest) -> Plain:
    return [request.query, request.title, digest(request.prompt)]


def reference_ask(reference: Reference) -> Plain:
    return _reference(reference)


def sections_ask(paper: Paper) -> Plain:
    return [paper.key, paper.title]


def from_reply(reply: Reply) -> Plain:
    plain = {name: getattr(reply, name) for name in _REPLY_FIELDS if getattr(reply, name)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def to_reply(plain: Plain) -> Reply:
    given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()}
    return Reply(**{"text": "", **given})


def from_score(score: float) -> Plain:
    if isinstance(score, Score):
        told = [float(score), score.prompt_tokens, score.reply_tokens, score.dollars]
        return [*told, score.reason] if score.reason else told
    return [float(score)]


def to_score(plain: Plain) -> float:
    return Score(*plain) if len(plain) > 1 else float(plain[0])


def from_hits(hits: list[SearchHit]) -> Plain:
    return [
        {"arxiv_id": hit.arxiv_id, "title": hit.title, "paper": from_paper(hit.paper), "score": hit.score}
        | ({"engines": list(hit.engines)} if hit.engines else {})
        for hit in hits
    ]


def to_hits(plain: Plain) -> list[SearchHit]:
    return [
        SearchHit(**{**hit, "paper": to_paper(hit["paper"]), "engines": tuple(hit.get("engines", ()))}) for hit in plain
    ]


def from_paper(paper: Paper | None) -> Plain:
    """The paper's fields that say something; None for none."""
    if paper is None:
        return None
    stated = {field.name: getattr(paper, field.name) for field in fields(Paper) if getattr(paper, field.name)}
    if paper.authors:
        stated["authors"] = list(paper.authors)
    return stated | ({} if paper.sections is None else {"sections": from_sections(paper.sections)})


def to_paper(plain: Plain) -> Paper | None:
    if plain is None:
        return None
    sections = {"sections": to_sections(plain["sections"])} if "sections" in plain else {}
    return Paper(**{"title": "", **plain, "authors": tuple(plain.get("authors", ())), **sections})


def from_papers(papers: list[Paper]) -> Plain:
    return [from_paper(paper) for paper in papers]


def to_papers(plain: Plain) -> list[Paper]:
    return [paper for paper in map(to_paper, plain) if paper]


def from_sections(sections: tuple[Section, ...] | None) -> Plain:
    if sections is None:
        return None
    return [[section.name, [_reference(reference) for reference in section.references]] for section in sections]


def to_sections(plain: Plain) -> tuple[Section, ...] | None:
    if plain is None:
        return None
    return tuple(Section(name, tuple(map(_to_reference, references))) for name, references in plain)


def _reference(reference: Reference) -> Plain:
    stated = {field.name: getattr(reference, field.name) for field in fields(Reference)}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in stated.items() if v}


def _to_reference(plain: Plain) -> Reference:
    return Reference(**{"title": "", **plain, "links": tuple(plain.get("links", ()))})


def from_error(error: PasaError) -> Plain:
    kind = next(name for name, known in reversed(_ERRORS.items()) if isinstance(error, known))
    more = {name: getattr(error, name) for name in ("service", "kind", "status") if getattr(error, name, None)}
    if isinstance(error, ToolError) and not (error.service and error.kind) and error.reason != str(error):
        more["service"], _, more["kind"] = error.reason.partition(": ")  # what the one it was raised from tells
    return {"error": kind, "message": str(error), **more}


def to_error(plain: Plain) -> PasaError:
    """The error as it was raised; what is not of our kinds of failure is a ToolError."""
    kind = _ERRORS.get(plain["error"], ToolError)
    more = {name: plain[name] for name in ("service", "kind", "status") if name in plain}
    return kind(plain["message"], **more)
