"""The ways by which a run came to its papers, and what became of those: the counts of a PRISMA flow diagram.

Page MJ et al., "The PRISMA 2020 statement", BMJ 372:n71, 2021; what its boxes mean for a crawl is said at Flow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from pasa.events import RunResult, Way, WayKind
from pasa.paper import Paper

_END_DATE = "end date: "  # begins such reasons in RunStats.problems


@dataclass(frozen=True, slots=True)
class WayTaken:
    """A Way as it is saved: papers are numbers in SearchRecord.keys."""

    kind: WayKind
    name: str
    layer: int
    run: int
    of: str  # key of the paper whose section or citing papers they are, "" at the root
    found: tuple[int, ...]
    new: int
    by_engine: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)  # where several searched as one


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """All ways of a run."""

    keys: tuple[str, ...] = ()  # the keys of all papers, those with a score first
    ways: tuple[WayTaken, ...] = ()

    def times_found(self) -> Counter[int]:
        """Paper -> how many ways led to it."""
        return Counter(number for way in self.ways for number in way.found)


@dataclass(frozen=True, slots=True)
class Flow:
    """What became of what was found.

    identified - duplicates = distinct = screened + without_score; screened = selected + below_threshold. What came
    after the end date was dropped as soon as its date was known, before anything was counted as identified.
    """

    identified: dict[str, int]  # by source_of: papers it led to, each as often as it did
    duplicates: int
    distinct: int
    too_late: dict[str, int]  # after the end date, or undated where such are dropped
    without_score: int  # a budget was reached, the run was stopped, or the Selector failed
    screened: int
    below_threshold: int
    selected: int


class _Numbers:
    """Numbers papers in the order in which they come; the same arXiv id or the same title is the same paper."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._known: dict[str, int] = {}

    def of(self, paper: Paper) -> int:
        names = [paper.key, f"title:{paper.title_key}"] if paper.title_key else [paper.key]
        number = next((self._known[name] for name in names if name in self._known), len(self.keys))
        if number == len(self.keys):
            self.keys.append(paper.key)
        for name in names:
            self._known.setdefault(name, number)
        return number


def ways_json(result: RunResult) -> dict[str, Any]:
    """The ways as plain data, for a result file's `extra`; {} where none was noted."""
    if not result.ways:
        return {}
    numbers = _Numbers()
    for node in result.root.walk():
        numbers.of(node.paper)
    ways = [_way_json(way, numbers) for way in result.ways]
    return {"ways": {"keys": numbers.keys, "taken": ways}}


def _way_json(way: Way, numbers: _Numbers) -> dict[str, Any]:
    found = list(dict.fromkeys(map(numbers.of, way.found)))
    of = way.of.key if way.of else ""
    by_engine: dict[str, dict[int, None]] = {}
    for paper, engines in zip(way.found, way.engines, strict=False):  # none are named where one engine searched
        for engine in engines:
            by_engine.setdefault(engine, {})[numbers.of(paper)] = None
    return {
        "kind": way.kind,
        "name": way.name,
        "layer": way.layer,
        "run": way.run,
        "of": of,
        "found": found,
        "new": way.new,
        **({"by_engine": {engine: list(by_engine[engine]) for engine in sorted(by_engine)}} if by_engine else {}),
    }


def read_record(extra: Mapping[str, Any]) -> SearchRecord:
    """The record in a result file's `extra`; an empty one where it has none, as upstream's."""
    saved = extra.get("ways") or {}
    return SearchRecord(tuple(saved.get("keys") or ()), tuple(map(_way_taken, saved.get("taken") or ())))


def _way_taken(way: Mapping[str, Any]) -> WayTaken:
    by_engine = {engine: tuple(found) for engine, found in (way.get("by_engine") or {}).items()}
    return WayTaken(**{**way, "found": tuple(way["found"]), "by_engine": by_engine})


def record_of(result: RunResult) -> SearchRecord:
    return read_record(ways_json(result))


def flow(record: SearchRecord, scored: int, selected: int, problems: Mapping[str, int]) -> Flow:
    """The flow of a run in which `scored` distinct papers have a score and `selected` of them were selected."""
    identified = _identified(record.ways)
    distinct = len({number for way in record.ways for number in way.found})
    return Flow(
        identified,
        sum(identified.values()) - distinct,
        distinct,
        {reason.removeprefix(_END_DATE): n for reason, n in problems.items() if reason.startswith(_END_DATE)},
        distinct - scored,
        scored,
        scored - selected,
        selected,
    )


def source_of(kind: WayKind, engine: str = "") -> str:
    """What papers are counted under: the kind of way, and the engine where several searched as one."""
    return f"{kind}: {engine}" if engine else kind


def _identified(ways: Iterable[WayTaken]) -> dict[str, int]:
    """Papers by source, in the order of the kinds; what two engines gave for one query is counted at both."""
    counts: Counter[str] = Counter()
    for way in sorted(ways, key=lambda way: get_args(WayKind).index(way.kind)):
        if not way.by_engine:
            counts[source_of(way.kind)] += len(way.found)
        for engine, found in way.by_engine.items():
            counts[source_of(way.kind, engine)] += len(found)
    return dict(+counts)


def searches(record: SearchRecord) -> Sequence[WayTaken]:
    """The search queries and seeds, in order."""
    return [way for way in record.ways if way.layer == 0]
