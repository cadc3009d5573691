"""Sources in a chain: who answers, and what a broken one costs."""

from __future__ import annotations

import pytest

from pasa.errors import ServiceError
from pasa.paper import Paper, Reference, Section
from pasa.tools.base import PaperSource
from pasa.tools.chain import ChainedSource

DOWN = ServiceError("down.", 500)


class Shelf:
    """Knows a few papers; fails when `error` is set; remembers what it was asked for."""

    def __init__(self, name: str, *ids: str, error: Exception | None = None) -> None:
        self.name, self.ids, self.error = name, ids, error
        self.asked: list[object] = []

    def papers_by_id(self, arxiv_ids):
        self._ask(list(arxiv_ids))
        return {i: self._paper(i) for i in arxiv_ids if i in self.ids}

    def sections(self, paper):
        self._ask(paper.arxiv_id)
        return (Section(self.name),) if paper.arxiv_id in self.ids else None

    def papers_by_reference(self, references):
        self._ask([r.title for r in references])
        return [self._paper(r.title) if r.title in self.ids else None for r in references]

    def _paper(self, arxiv_id):
        return Paper(f"{self.name} {arxiv_id}", arxiv_id=arxiv_id)

    def _ask(self, what):
        self.asked.append(what)
        if self.error:
            raise self.error


def test_the_first_source_that_knows_wins_item_by_item():
    first, second = Shelf("first", "a", "b"), Shelf("second", "b", "c")
    chain = ChainedSource([first, second])
    assert [p.title for p in chain.papers_by_id(["c", "a", "b", "d", "a"]).values()] == [
        "second c",
        "first a",
        "first b",
    ]
    assert second.asked == [["c", "d"]]
    found = chain.papers_by_reference([Reference(t) for t in "cabd"])
    assert [p and p.title for p in found] == ["second c", "first a", "first b", None]
    assert chain.sections(Paper("x", arxiv_id="b")) == (Section("first"),)
    assert chain.sections(Paper("x", arxiv_id="c")) == (Section("second"),)
    assert chain.sections(Paper("x", arxiv_id="d")) is None


def test_later_sources_are_not_asked_for_what_is_known():
    first, second = Shelf("first", "a"), Shelf("second", "a")
    chain = ChainedSource([first, second])
    chain.papers_by_id(["a"])
    chain.papers_by_reference([Reference("a")])
    chain.sections(Paper("x", arxiv_id="a"))
    assert second.asked == []


@pytest.mark.parametrize("broken", [0, 1])
def test_a_broken_source_costs_only_what_it_was_asked_for(broken):
    sources = [Shelf("first", "a"), Shelf("second", "a")]
    sources[broken].error = DOWN
    chain = ChainedSource(sources)
    assert list(chain.papers_by_id(["a", "z"])) == ["a"]
    assert [bool(p) for p in chain.papers_by_reference([Reference("z"), Reference("a")])] == [False, True]
    assert chain.sections(Paper("x", arxiv_id="a"))
    items = 1 + 1 if broken else 2 + 2 + 1
    assert chain.failures() == {f"{sources[broken].name}: down.": items}


def test_nothing_answered_and_a_source_down_is_an_error():
    chain = ChainedSource([Shelf("first"), Shelf("second", error=DOWN)])
    for call in (
        lambda: chain.papers_by_id(["a"]),
        lambda: chain.papers_by_reference([Reference("a")]),
        lambda: chain.sections(Paper("x", arxiv_id="a")),
    ):
        with pytest.raises(ServiceError):
            call()


def test_nothing_asked_is_nothing_found():
    chain = ChainedSource([Shelf("first", error=DOWN)])
    assert chain.papers_by_id([]) == {}
    assert chain.papers_by_reference([]) == []


def test_a_chain_is_a_source_and_names_its_parts():
    chain = ChainedSource([Shelf("library"), Shelf("arxiv.org")])
    assert isinstance(chain, PaperSource)
    assert chain.name == "library then arxiv.org"
    with pytest.raises(ValueError, match="at least one"):
        ChainedSource([])
