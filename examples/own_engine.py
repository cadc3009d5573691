"""An engine and a Selector of one's own in the agent: python examples/own_engine.py

Whatever has these methods will do; pasa.tools.base and pasa.models.base say what each must give.
"""

import datetime as dt
from collections.abc import Sequence

from pasa.config import AgentSettings
from pasa.library import Library
from pasa.models.base import SelectRequest
from pasa.models.rules import RulesGenerator
from pasa.runtime import PaperAgent
from pasa.tool_assembly import DEMO
from pasa.tools.base import SearchHit
from pasa.tools.local import LibrarySource


class TitleSearch:
    """Finds papers whose titles hold all the longer words of the query."""

    name = "titles"

    def __init__(self, library: Library) -> None:
        self._papers = list(library)

    def search(self, query: str, limit: int, end_date: dt.date | None = None) -> list[SearchHit]:
        words = [word for word in query.lower().split() if len(word) > 3]
        found = [paper for paper in self._papers if all(word in paper.title.lower() for word in words)]
        return [SearchHit(paper.arxiv_id, paper.title, paper) for paper in found[:limit]]


class WordScorer:
    """Scores a paper by the share of the question's words that its title and abstract hold."""

    name = "words"

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        return [self._share(request) for request in requests]

    def _share(self, request: SelectRequest) -> float:
        words = set(request.query.lower().split())
        return len(words & set(f"{request.title} {request.abstract}".lower().split())) / len(words)


with Library.open(DEMO) as library:
    parts = RulesGenerator(library), WordScorer(), TitleSearch(library), LibrarySource(library)
    with PaperAgent(*parts, AgentSettings(select_threshold=0.3)) as agent:
        for found in agent.run("retrieval augmented language models").papers[:5]:
            print(found.rank, f"{found.score:.2f}", found.paper.title)
