"""The queries that are trained on, with what rewards and environment must know of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pasa.errors import ConfigError
from pasa.library import Library
from pasa.paper import Reference, parse_arxiv_id, title_key
from pasa.query import Query, query_from_row, read_lines, read_row
from trl_ext.session_ppo.hidden import HiddenPapers, hidden_papers


@dataclass(frozen=True, slots=True)
class TrainingQuery:
    """A question with its answers, and the paper that it was made from."""

    query: Query
    golds: frozenset[str]  # title keys of the answers
    hidden: HiddenPapers = field(default_factory=HiddenPapers)

    @property
    def id(self) -> str:
        return self.query.qid

    def dated(self, cuts_off: bool) -> Query:
        """The query, without its date where the environment does not cut off."""
        return self.query if cuts_off else replace(self.query, end_date=None)


def read_training_queries(path: Path, limit: int | None = None, library: Library | None = None) -> list[TrainingQuery]:
    """The queries of a JSON-lines file in upstream's form, in order, at most `limit`.

    `source_meta.title` and `.arxiv_id` name the paper that a query was made from; `library` tells its abstract. Raises
    ConfigError with file and line for a row that is no query or has no answer, and for a qid that comes twice.
    """
    queries: dict[str, TrainingQuery] = {}
    for number, line in read_lines(path)[:limit]:
        where = f"{path.name}:{number}"
        query = training_query(read_row(line, where), where, library)
        if query.id in queries:
            raise ConfigError(f"{where}: the qid {query.id!r} comes twice; give each query its own")
        queries[query.id] = query
    if not queries:
        raise ConfigError(f"{path} holds no query; build some with scripts/build_queries.py")
    return list(queries.values())


def training_query(row: Any, where: str, library: Library | None = None) -> TrainingQuery:
    """The query of a row. Raises ConfigError, which begins with `where`."""
    query = query_from_row(row, where)
    golds = frozenset(map(title_key, query.answer or ())) - {""}
    if not golds:
        raise ConfigError(f"{where}: `answer` holds no title; without answers there is nothing to learn")
    meta = row.get("source_meta")
    meta = meta if isinstance(meta, Mapping) else {}
    title, arxiv_id = str(meta.get("title") or ""), parse_arxiv_id(str(meta.get("arxiv_id") or ""))
    abstract = ""
    if library is not None and (title or arxiv_id):
        [source] = library.papers_by_reference([Reference(title, arxiv_id)], match="exact")
        if source:  # what the row leaves out
            title, arxiv_id, abstract = title or source.title, arxiv_id or source.arxiv_id, source.abstract
    query = query if query.qid else replace(query, qid=where)
    return TrainingQuery(query, golds, hidden_papers(title, arxiv_id, abstract))


def held_out_queries(
    path: Path | None, limit: int | None, library: Library | None, trained_on: Sequence[TrainingQuery]
) -> list[TrainingQuery]:
    """The held-out queries. Raises ConfigError where one is trained on: it would measure what was learnt by heart."""
    if path is None:
        return []
    held_out = read_training_queries(path, limit, library)
    shared = sorted({query.query.text for query in trained_on} & {query.query.text for query in held_out})
    if shared:
        raise ConfigError(
            f"{len(shared)} questions of {path} are trained on too, such as {shared[0]!r}: "
            "leave them out of one of the files"
        )
    return held_out


def tell_unhidden(queries: Sequence[TrainingQuery], cuts_off: bool, tell: Callable[[str], None]) -> None:
    """Warns of what may give answers away; `cuts_off`: papers later than a query's date are meant to be hidden."""
    if unknown := sum(not query.hidden.any for query in queries):
        tell(
            f"warning: {unknown} of {len(queries)} queries do not name the paper that they were made from "
            "(source_meta: title or arxiv_id), so that it is not hidden: where the environment holds it, its citations "
            "give the answers away"
        )
    undated = sum(query.dated(cuts_off).end_date is None for query in queries)
    if cuts_off and undated:
        tell(
            f"warning: {undated} of {len(queries)} queries have no date (source_meta.published_time), so that for them "
            "nothing is cut off: papers later than their source, which may cite it, are found too"
        )


class QuerySampler:
    """Queries in a shuffled order, epoch after epoch, dealt to the processes in turn; the order follows from the seed.

    `taken` is the place to go on from: the number of queries that all processes together have taken.
    """

    def __init__(self, queries: list[TrainingQuery], seed: int, taken: int = 0) -> None:
        self._queries = queries
        self._seed = seed
        self.taken = taken
        self._orders: dict[int, list[int]] = {}  # epoch -> the order of its queries

    def take(self, count: int, rank: int = 0, processes: int = 1) -> list[TrainingQuery]:
        """The process's next queries; every process must take as many at the same time.

        Fewer than `count` where there are not so many for each: no query comes twice in a step.
        """
        total = min(count * processes, len(self._queries))
        places = [self.taken + at for at in range(total)]
        self.taken += total
        drawn = list(dict.fromkeys(self._at(place).id for place in places))  # an epoch may end within a step
        by_id = {query.id: query for query in self._queries}
        return [by_id[query_id] for query_id in drawn[rank::processes]]

    def _at(self, place: int) -> TrainingQuery:
        epoch, at = divmod(place, len(self._queries))
        if epoch not in self._orders:
            order = list(range(len(self._queries)))
            random.Random(f"queries {self._seed} {epoch}").shuffle(order)
            self._orders = {epoch - 1: self._orders.get(epoch - 1, []), epoch: order}  # a step may begin in the one
        return self._queries[self._orders[epoch][at]]
