"""What speaks for a paper, in words for whoever reads the results: facts of the run, no model's opinion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from pasa.export.run_view import ExportedRun
from pasa.models.abbreviations import spelled_out
from pasa.models.text import stems, subject_phrases
from pasa.paper import Paper
from pasa.result_tree import RankedPaper

_MANY_PHRASES = 6  # of a question; a longer one's first are told


def evidence(run: ExportedRun, papers: Sequence[RankedPaper] | None = None) -> Mapping[str, str]:
    """Of these papers, or all of the run: key -> what of the question it holds, and how often it was come by.

    "holds “upper confidence bound”, “reinforcement learning”; cited by 3 of 14 papers read; found by 2 of 5 searches";
    "" where none of it is so. What a paper cites is counted where the run notes its ways.
    """
    phrases = [[(word, tuple(stems(word))) for word in phrase] for phrase in subject_phrases(spelled_out(run.question))]
    searched, cited = _times_found(run)
    told = {}
    for ranked in run.papers if papers is None else papers:
        held = _held(phrases, ranked.paper)
        parts = [f"holds {', '.join(f'“{words}”' for words in held[:_MANY_PHRASES])}"] if held else []
        key = ranked.paper.key
        if cited.times.get(key):
            parts.append(f"cited by {cited.of(key)} {'papers' if cited.all != 1 else 'paper'} read")
        if searched.times.get(key) and searched.all > 1:
            parts.append(f"found by {searched.of(key)} searches")
        told[key] = "; ".join(parts)
    return told


class _Times:
    """How often each paper was led to, of how many that could have."""

    def __init__(self) -> None:
        self.all = 0
        self.times: dict[str, int] = defaultdict(int)

    def of(self, key: str) -> str:
        return f"{self.times[key]} of {self.all}"


def _times_found(run: ExportedRun) -> tuple[_Times, _Times]:
    """By searches, and by papers whose sections were read."""
    searched, cited = _Times(), _Times()
    keys = run.record.keys
    by_paper: dict[str, set[int]] = defaultdict(set)
    for way in run.record.ways:
        if way.kind == "search":
            searched.all += 1
            for number in set(way.found):
                searched.times[keys[number]] += 1
        elif way.kind == "section":
            by_paper[way.of].update(way.found)
    cited.all = len(by_paper)
    for found in by_paper.values():
        for number in found:
            cited.times[keys[number]] += 1
    return searched, cited


def _held(phrases: Sequence[Sequence[tuple[str, tuple[str, ...]]]], paper: Paper) -> list[str]:
    """The longest runs of the question's words (each with its stems) that stand in the paper in that order."""
    text = f" {' '.join(stems(f'{paper.title} | {paper.abstract}'))} "
    held: list[str] = []
    for phrase in phrases:
        at = 0
        while at < len(phrase):
            end = at
            while end < len(phrase) and f" {' '.join(_stems(phrase[at : end + 1]))} " in text and phrase[end][1]:
                end += 1
            held += [" ".join(word for word, _ in phrase[at:end])] if end > at else []
            at = max(end, at + 1)
    return list(dict.fromkeys(held))


def _stems(words: Sequence[tuple[str, tuple[str, ...]]]) -> list[str]:
    return [stem for _, of_word in words for stem in of_word]
