"""Who cites a paper, read off the sections of a library."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pasa.errors import LibraryError, ToolError
from pasa.library import Library
from pasa.library.store import PaperStore
from pasa.paper import Paper
from pasa.tools.local import LibrarySource

NAMES = ("Alpha", "Beta", "Gamma", "Delta", "Epsilon")


def titles(papers: list[Paper]) -> list[str]:
    return [paper.title for paper in papers]


def citing(library: Library, title: str, limit: int = 9) -> list[str]:
    return titles(library.citing_papers(Paper(title), limit))


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from([*NAMES, "Nobody Has This"]), max_size=4), min_size=5, max_size=5))
def test_a_paper_is_cited_by_those_whose_sections_hold_its_title(
    library_of: Callable[..., Library], cited: list[list[str]]
) -> None:
    rows = [{"title": n, "sections": {"A": c[:2], "B": c[2:]}} for n, c in zip(NAMES, cited, strict=True)]
    library = library_of(*rows)
    for name in NAMES:
        expected = {other for other, c in zip(NAMES, cited, strict=True) if name in c and other != name}
        found = citing(library, name)
        assert len(found) == len(set(found))
        assert set(found) == expected


def test_the_most_cited_come_first_then_the_order_of_the_records(library_of: Callable[..., Library]) -> None:
    rows = [{"title": n, "sections": {"A": ["Epsilon"]}} for n in NAMES[:4]]
    rows[0]["sections"] = {"A": ["Epsilon", "Gamma"]}
    rows[1]["sections"] = {"A": ["Epsilon", "Gamma", "Delta"]}
    library = library_of(*rows, {"title": "Epsilon"})
    assert citing(library, "Epsilon") == ["Gamma", "Delta", "Alpha", "Beta"]
    assert citing(library, "Epsilon", 2) == ["Gamma", "Delta"]
    assert citing(library, "Epsilon", 0) == []


def test_a_paper_is_known_by_id_or_by_the_letters_of_its_title(library_of: Callable[..., Library]) -> None:
    library = library_of(
        {"title": "Deep Nets", "arxiv_id": "2101.00001"},
        {"title": "On Nets", "arxiv_id": "2201.00001", "abstract": "About.", "sections": {"A": ["DEEP  nets!"]}},
    )
    [paper] = library.citing_papers(Paper("Another Name", arxiv_id="2101.00001"), 5)
    assert (paper.arxiv_id, paper.abstract, paper.source) == ("2201.00001", "About.", "SearchFrom:local_paper_db")
    assert citing(library, "deep nets") == ["On Nets"]
    assert citing(library, "1984") == citing(library, "Unknown") == []


def test_no_paper_cites_itself_and_one_without_citations_has_none(library_of: Callable[..., Library]) -> None:
    library = library_of({"title": "Alpha", "sections": {"A": ["Alpha"]}}, {"title": "Beta", "sections": {}})
    assert citing(library, "Alpha") == citing(library, "Beta") == []
    assert citing(library_of({"title": "Alpha"}), "Alpha") == []


def test_the_sections_are_read_once_for_all_threads(
    library_of: Callable[..., Library], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = library_of(*({"title": n, "sections": {"A": ["Alpha"]}} for n in NAMES))
    reads = []
    read = PaperStore.cited_titles

    def slow(store: PaperStore) -> Iterator[tuple[int, list[str]]]:
        reads.append(1)
        time.sleep(0.05)
        return read(store)

    monkeypatch.setattr(PaperStore, "cited_titles", slow)
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(citing(library, "Alpha"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(NAMES[1:])] * 8
    assert reads == [1]


def test_damaged_sections_are_a_library_error_and_a_failure_of_the_source(
    library_of: Callable[..., Library],
) -> None:
    library = library_of(*({"title": n, "sections": {"A": ["Alpha"]}} for n in NAMES))
    with sqlite3.connect(library.generation / "papers.sqlite") as damaging:
        damaging.execute("UPDATE papers SET sections = x'00112233' WHERE id = 3")
    with pytest.raises(LibraryError, match="damaged"):
        citing(library, "Alpha")
    with pytest.raises(ToolError, match="damaged"):
        LibrarySource(library).citing_papers(Paper("Alpha"), 5)


def test_times_cited_counts_the_citing_papers_of_each_and_is_0_for_strangers(
    library_of: Callable[..., Library],
) -> None:
    library = library_of(
        {"title": "Alpha", "sections": {"A": ["Beta", "Gamma"], "B": ["Beta"]}},
        {"title": "Beta", "sections": {"A": ["Gamma"]}},
        {"title": "Gamma"},
        {"title": "Delta"},
    )
    papers = [Paper(name) for name in ("Gamma", "Beta", "Alpha", "Delta", "Nobody Has This")]
    assert library.times_cited(papers) == [2, 1, 0, 0, 0]
    assert library.times_cited([]) == []


def test_times_cited_is_0_where_nothing_cites(library_of: Callable[..., Library]) -> None:
    assert library_of({"title": "Alpha"}).times_cited([Paper("Alpha")]) == [0]
