"""How many relevant papers a search likely missed, from how often its ways led to the same ones.

Each way is a sample of the relevant papers. Where most of them were come by once only, many more are likely there;
where nearly all were come by again and again, few are. The searches of a run say much the same words and so count as
one way; each paper's references, and the papers citing it, are a way of their own.

- Chao2, with its log-normal interval: A. Chao, "Estimating the population size for capture-recapture data with unequal
  catchability", Biometrics 43, 1987; the bias-corrected form.
- Chapman: D. Chapman, "Some properties of the hypergeometric distribution with applications to zoological sample
  censuses", 1951. Both are lower bounds where some papers are harder to come by than others, as they are.
- What the user is told is Chao2 after a correction for that, fitted to questions whose answer is known better.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable
from dataclasses import dataclass

from pasa.search_record import SearchRecord, WayTaken

NORMAL_95 = 1.96  # standard deviations either side of the mean that hold 95 %
MIN_WAYS = 5  # below it an estimate says nothing: too few papers were read to come by the same ones again


@dataclass(frozen=True, slots=True)
class Correction:
    """log(1 + missing) = constant + of_found log(1 + found) + of_chao2 log(1 + Chao2), and how far it was off.

    Fitted by benchmarks/saturation.py: two crawls of every fourth question of AutoScholarQuery's dev set (`rules`, 120k
    papers; with and without citing papers) against all that larger crawls selected. Held-out R2 0.56; the interval
    held the true number for 88 % of held-out questions.
    """

    constant: float = 0.056
    of_found: float = 0.452
    of_chao2: float = 0.506
    low: float = -1.36  # 5 % of the questions were further below, in log(1 + missing)
    high: float = 1.87  # and 5 % further above


CORRECTION = Correction()


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many more there likely are beside those found; `low` to `high` is the 90 % interval."""

    found: int
    missing: float
    low: float
    high: float
    chao2: float  # the lower bound that it comes from

    @property
    def share_found(self) -> float:
        """Found of all there likely are; 1 where nothing is there."""
        return self.found / (self.found + self.missing) if self.found else 1.0


@dataclass(frozen=True, slots=True)
class Overlap:
    """How the relevant papers of a run were come by."""

    found: int
    ways: int  # that led to any paper at all
    once: int  # relevant papers that one way led to
    twice: int
    more: int
    by_search: int  # of them, and by references and citations, and by both
    by_citation: int
    by_both: int

    @property
    def shared(self) -> int:
        """Relevant papers that two or more ways led to."""
        return self.twice + self.more


def chao2(ways: int, once: int, twice: int) -> float:
    """How many were come by in no way, of those that `ways` samples drew from; bias-corrected, so 0 for once <= 1."""
    return _share(ways) * once * (once - 1) / (2 * (twice + 1))


def chao2_variance(ways: int, once: int, twice: int) -> float:
    """The variance of `chao2`."""
    share, q1, q2 = _share(ways), float(once), float(twice)
    if q1 <= 0:
        return 0.0
    return (
        share * q1 * (q1 - 1) / (2 * (q2 + 1))
        + share**2 * q1 * (2 * q1 - 1) ** 2 / (4 * (q2 + 1) ** 2)
        + share**2 * q1**2 * q2 * (q1 - 1) ** 2 / (4 * (q2 + 1) ** 4)
    )


def _share(ways: int) -> float:
    return (ways - 1) / ways if ways else 0.0


def chapman(first: int, second: int, both: int) -> float:
    """How many there are in all, by two independent samples of these sizes that have `both` in common."""
    return (first + 1) * (second + 1) / (both + 1) - 1


def log_normal_interval(missing: float, variance: float) -> tuple[float, float]:
    """The 95 % interval of a number that cannot be below 0."""
    if missing <= 0:
        return 0.0, NORMAL_95 * math.sqrt(max(0.0, variance))
    factor = math.exp(NORMAL_95 * math.sqrt(math.log(1 + variance / missing**2)))
    return missing / factor, missing * factor


def overlap(record: SearchRecord, relevant: Collection[str]) -> Overlap:
    """How the papers of these keys were come by. A paper on no way is passed over."""
    wanted = {number for number, key in enumerate(record.keys) if key in relevant}
    samples: dict[Hashable, set[int]] = {}
    for way in record.ways:
        if way.found and way.kind != "seed":
            samples.setdefault(_sample(way), set()).update(way.found)
    times = Counter(number for found in samples.values() for number in found & wanted)
    counts = Counter(times.values())
    searched = samples.get("", set()) & wanted
    cited = set().union(*(found for name, found in samples.items() if name)) & wanted
    return Overlap(
        len(times),
        len(samples),
        counts[1],
        counts[2],
        len(times) - counts[1] - counts[2],
        len(searched),
        len(cited),
        len(searched & cited),
    )


def _sample(way: WayTaken) -> Hashable:
    """The sample that a way belongs to: "" for all searches, else the paper read and whether it cites or is cited."""
    return "" if way.kind == "search" else (way.of, way.kind)


def estimate(seen: Overlap, correction: Correction = CORRECTION) -> Estimate | None:
    """How many relevant papers are likely missing; None where there were too few ways to tell."""
    if seen.ways < MIN_WAYS:
        return None
    bound = chao2(seen.ways, seen.once, seen.twice)
    middle = (
        correction.constant + correction.of_found * math.log1p(seen.found) + correction.of_chao2 * math.log1p(bound)
    )
    missing, low, high = (max(0.0, math.expm1(middle + off)) for off in (0.0, correction.low, correction.high))
    return Estimate(seen.found, missing, low, high, bound)


def describe(seen: Overlap, estimated: Estimate | None) -> str:
    """The estimate in a sentence for whoever searches."""
    if estimated is None:
        return (
            f"how many relevant papers were not found cannot be told: only {seen.ways} "
            f"{'way' if seen.ways == 1 else 'ways'} led to papers, {MIN_WAYS} are needed"
        )
    missing = _rounded(estimated.missing)
    papers = "paper was" if missing == "1" else "papers were"
    return (
        f"about {missing} more relevant {papers} likely not found (90 % interval "
        f"{_rounded(estimated.low)} to {_rounded(estimated.high)}): of {seen.found} selected, {seen.once} were come by "
        f"in one way only, {seen.shared} in two or more"
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
