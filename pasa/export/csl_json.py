"""CSL-JSON, which pandoc, Zotero and citeproc read: https://docs.citationstyles.org/en/stable/specification.html."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pasa.export.bibtex import citation_keys
from pasa.export.names import Name, read_name
from pasa.export.run_view import date_parts, doi
from pasa.export.tex_text import one_line, readable
from pasa.paper import Paper
from pasa.result_tree import RankedPaper


def to_csl_json(papers: Sequence[RankedPaper]) -> str:
    """A list with an item a paper, in order; `id` is the key that the BibTeX export has too."""
    keys = citation_keys([ranked.paper for ranked in papers])
    items = [_item(key, ranked.paper) for key, ranked in zip(keys, papers, strict=True)]
    return json.dumps(items, indent=2, ensure_ascii=False) + "\n"


def _item(key: str, paper: Paper) -> dict[str, Any]:
    authors = [_author(name) for name in map(read_name, paper.authors) if name]
    dates = list(date_parts(paper))
    item = {
        "id": key,
        "type": "article",  # CSL's word for preprints
        "title": readable(paper.title),
        "author": authors,
        "issued": {"date-parts": [dates]} if dates else None,
        "abstract": readable(paper.abstract),
        "publisher": "arXiv" if paper.arxiv_id else None,
        "number": f"arXiv:{paper.arxiv_id}" if paper.arxiv_id else None,
        "DOI": doi(paper),
        "URL": paper.url,
    }
    return {name: value for name, value in item.items() if value}


def _author(name: Name) -> dict[str, str]:
    if name.is_whole or not (name.given or name.suffix):
        return {"literal": one_line(name.family)}
    parts = {"family": name.family, "given": name.given, "suffix": name.suffix}
    return {part: one_line(text) for part, text in parts.items() if text}
