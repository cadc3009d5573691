"""What share of the relevant papers a search likely found, from how often its ways led to the same ones.

Each way is a sample of the relevant papers. Where citations lead to papers that the searches had found already, little
else is there; where they lead to others, more will be. Of a run's papers the ten of the best scores stand for the
relevant ones: what it selected is often too little to tell. The searches say much the same words and so count as one
way; each paper's references, and the papers citing it, are a way of their own.

- Chapman: D. Chapman, "Some properties of the hypergeometric distribution with applications to zoological sample
  censuses", 1951: how many there are by two samples, here the searches and the citations. It holds for samples that are
  independent and for papers as easy to come by as one another; they are neither, so
- what the user is told is calibrated: a logistic curve of Chapman's share, fitted to questions whose answers are known.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable
from dataclasses import dataclass

from pasa.search_record import SearchRecord, WayTaken

BEST = 10  # papers by score that stand for the relevant ones
MIN_WAYS = 5  # below it nothing is told: too few papers were read for citations to be a sample
NORMAL_90 = 1.645  # standard deviations either side of the mean that hold 90%


@dataclass(frozen=True, slots=True)
class Calibration:
    """log-odds of the share found = constant + slope log(Chapman's share), and how far questions are off that.

    Fitted by benchmarks/saturation.py to the answers of 335 questions of AutoScholarQuery's dev set (`rules`, 120k
    papers): which of them a run came by, selected or not. How well it does: docs/RESULTS.md.
    """

    constant: float = 1.92
    slope: float = 1.73
    spread: float = 1.11  # standard deviation of a question's log-odds


CALIBRATION = Calibration()


@dataclass(frozen=True, slots=True)
class Estimate:
    """The share of the relevant papers that were found: its mean and 90% interval; each in (0, 1)."""

    share: float
    low: float
    high: float

    def missing(self, found: int) -> tuple[float, float, float]:
        """How many relevant papers were not found beside these, at the share, its `high` and its `low`."""
        few, middle, many = (found * (1 - share) / share for share in (self.high, self.share, self.low))
        return middle, few, many


@dataclass(frozen=True, slots=True)
class Overlap:
    """How some papers of a run were come by."""

    found: int  # of them, by any way
    ways: int  # that led to any paper at all
    by_search: int  # of them, and by references and citations, and by both
    by_citation: int
    by_both: int


def chapman(first: int, second: int, both: int) -> float:
    """How many there are in all, by two independent samples of these sizes that have `both` in common."""
    return (first + 1) * (second + 1) / (both + 1) - 1


def overlap(record: SearchRecord, relevant: Collection[str]) -> Overlap:
    """How the papers of these keys were come by. A paper on no way is passed over."""
    wanted = {number for number, key in enumerate(record.keys) if key in relevant}
    samples: dict[Hashable, set[int]] = {}
    for way in record.ways:
        if way.found and way.kind != "seed":
            samples.setdefault(_sample(way), set()).update(way.found)
    searched = samples.get("", set()) & wanted
    cited = set().union(*(found for name, found in samples.items() if name)) & wanted
    return Overlap(len(searched | cited), len(samples), len(searched), len(cited), len(searched & cited))


def _sample(way: WayTaken) -> Hashable:
    """The sample that a way belongs to: "" for all searches, else the paper read and whether it cites or is cited."""
    return "" if way.kind == "search" else (way.of, way.kind)


def estimate(best: Overlap, calibration: Calibration = CALIBRATION) -> Estimate | None:
    """What share of the relevant papers was found, by how the best ones were come by; None where nothing tells."""
    if best.ways < MIN_WAYS or not best.by_search or not best.by_citation:
        return None
    odds = calibration.constant + calibration.slope * math.log(chapman_share(best))
    spread = calibration.spread
    # MacKay 1992: the mean of a logistic curve over a normal spread is the curve of the shrunken odds
    mean = odds / math.sqrt(1 + math.pi * spread**2 / 8)
    return Estimate(*map(_logistic, (mean, odds - NORMAL_90 * spread, odds + NORMAL_90 * spread)))


def chapman_share(seen: Overlap) -> float:
    """The share that was come by of those there are by searches and citations as two samples; in (0, 1]."""
    there = max(seen.found, chapman(seen.by_search, seen.by_citation, seen.by_both))
    return (seen.found + 0.5) / (there + 0.5)


def _logistic(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))


def describe(best: Overlap, estimated: Estimate | None, selected: int) -> str:
    """The estimate in a sentence for whoever searches."""
    if estimated is None:
        return "what share of the relevant papers was found cannot be told: " + (
            f"only {best.ways} {'way' if best.ways == 1 else 'ways'} led to papers, {MIN_WAYS} are needed"
            if best.ways < MIN_WAYS
            else f"of the {best.found} best {'searches' if not best.by_search else 'citations'} led to none"
        )
    missing, few, many = map(_rounded, estimated.missing(selected))
    more = (
        f"about {missing} more may be missing ({few} to {many})" if missing != "0" else f"up to {many} may be missing"
    )
    return (
        f"about {estimated.share:.0%} of the relevant papers were likely found (90% interval {estimated.low:.0%} to "
        f"{estimated.high:.0%}); beside the {selected} selected {more}: of the {best.found} papers of the best scores, "
        f"searches led to {best.by_search}, citations to {best.by_citation}, both to {best.by_both}"
    )


def _rounded(number: float) -> str:
    """To two digits: it is no more certain."""
    if number < 10:
        return f"{number:.0f}"
    digits = 10 ** (int(math.log10(number)) - 1)
    return f"{round(number / digits) * digits:.0f}"


def curve(record: SearchRecord, relevant: Collection[str]) -> list[tuple[int, int]]:
    """(papers found so far, relevant ones among them) after each way, in the order of the run."""
    wanted = {number for number, key in enumerate(record.keys) if key in relevant}
    met: set[int] = set()
    points: list[tuple[int, int]] = []
    for way in record.ways:
        met.update(way.found)
        points.append((len(met), len(met & wanted)))
    return points
