"""Papers come back as they went in, rows of one paper become one, and lookups find it by every name it has."""

from __future__ import annotations

import itertools
import random
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pasa.library.codec import Codec, train_dictionary
from pasa.library.merge import merge
from pasa.paper import Paper, Reference, Section, sections_to_titles

_DATES = st.none() | st.dates().map(lambda d: f"{d:%Y-%m-%d}".zfill(10)) | st.sampled_from(["2019", "2021-04", "2021"])
_SECTIONS = st.none() | st.dictionaries(
    st.text(max_size=8), st.lists(st.text(max_size=12), max_size=4), max_size=3
).map(lambda named: tuple(Section(name, tuple(map(Reference, titles))) for name, titles in named.items()))


def papers_named(title: str) -> st.SearchStrategy[Paper]:
    return st.builds(
        Paper,
        title=st.just(title),
        abstract=st.text(max_size=30),
        arxiv_id=st.sampled_from([None, "2101.00001"]),
        date=_DATES,
        authors=st.lists(st.text(min_size=1, max_size=5), max_size=3).map(tuple),
        sections=_SECTIONS,
    )


@given(papers_named("One Title"), papers_named("One  title!"))
def test_merging_keeps_the_richer_of_each_field_and_is_idempotent(old: Paper, new: Paper) -> None:
    merged = merge(old, new)
    assert merge(merged, new) == merged == merge(merged, old)
    assert merged.title == old.title
    assert merged.arxiv_id == (old.arxiv_id or new.arxiv_id)
    assert len(merged.abstract) == max(len(old.abstract), len(new.abstract))
    assert merged.authors in (old.authors, new.authors)
    assert merged.date in (old.date, new.date)
    assert (merged.date is None) == (old.date is None and new.date is None)
    assert (merged.sections is None) == (old.sections is None and new.sections is None)


@pytest.mark.parametrize(
    ("one", "other", "richer"),
    [
        ("2021", "2021-03-05", "2021-03-05"),
        ("2020-12-01", "2021", "2020-12-01"),
        ("2021-03", "2020-11", "2020-11"),
        (None, "2019", "2019"),
        ("", "2019", "2019"),
    ],
)
def test_the_more_precise_then_the_earlier_date_stands(one: str | None, other: str, richer: str) -> None:
    assert merge(Paper("t", date=one), Paper("t", date=other)).date == richer
    assert merge(Paper("t", date=other), Paper("t", date=one)).date == richer


@pytest.fixture(scope="module")
def dictionary() -> bytes:
    words = ["We", "study", "bandits", "under", "regret", "bounds", "with", "neural", "function", "approximation"]
    dice = random.Random(1)
    trained = train_dictionary([Paper("t", " ".join(dice.choices(words, k=40))) for _ in range(600)])
    assert trained
    return trained


@settings(max_examples=40)
@given(st.text(), _SECTIONS)
def test_packed_fields_come_back_with_and_without_a_dictionary(
    dictionary: bytes, text: str, sections: tuple[Section, ...] | None
) -> None:
    for codec in (Codec(), Codec(dictionary)):
        assert codec.unpack_text(codec.pack_text(text)) == text
        assert codec.unpack_sections(codec.pack_sections(sections)) == sections
    assert Codec(dictionary).unpack_text(Codec().pack_text(text)) == text  # a library that got its dictionary later


def test_a_row_comes_back_whole(library_of) -> None:
    row = {
        "title": "Deep  Sets,\nRevisited",
        "abstract": "Sets — and “permutations”.\n Two lines.",
        "arxiv_id": "2101.00001v3",
        "date": "2021-01-04",
        "authors": ["Ada Lovelace", "Élie Cartan"],
        "sections": {"1 Introduction": ["Deep Sets", "Attention"], "2 Empty": []},
    }
    paper = library_of(row).paper("2101.00001")
    assert paper == Paper(
        title="Deep Sets, Revisited",
        abstract="Sets — and “permutations”. Two lines.",
        arxiv_id="2101.00001",
        date="2021-01-04",
        authors=("Ada Lovelace", "Élie Cartan"),
        sections=paper.sections,
        source="SearchFrom:local_paper_db",
    )
    assert sections_to_titles(paper.sections) == row["sections"]


def test_rows_without_id_date_abstract_or_sections_are_legal(library_of) -> None:
    library = library_of({"title": "Bare", "abstract": None, "arxiv_id": None, "date": None})
    assert library.paper_by_title("BARE!") == Paper("Bare", source="SearchFrom:local_paper_db")
    assert library.num_papers == 1


def test_a_title_without_letters_names_no_paper(library_of) -> None:
    library = library_of({"title": "1984", "arxiv_id": "2101.00001"}, {"title": "2001", "arxiv_id": "2101.00002"})
    assert library.num_papers == 2
    assert library.paper_by_title("1984") is None
    assert library.paper("2101.00001").title == "1984"


def test_rows_of_one_title_join(library_of) -> None:
    library = library_of(
        {"title": "A Paper", "abstract": "Long abstract.", "arxiv_id": "2101.00001"},
        {"title": "a paper", "abstract": "", "date": "2021-01-02", "sections": {"Intro": ["Another"]}},
    )
    assert library.num_papers == 1
    paper = library.paper_by_title("A PAPER.")
    assert (paper.arxiv_id, paper.date, paper.abstract) == ("2101.00001", "2021-01-02", "Long abstract.")
    assert sections_to_titles(paper.sections) == {"Intro": ["Another"]}


def test_two_arxiv_ids_are_two_papers_even_under_one_title(library_of) -> None:
    library = library_of({"title": "Erratum", "arxiv_id": "2101.00001"}, {"title": "Erratum", "arxiv_id": "2101.00002"})
    assert library.num_papers == 2
    assert library.paper("2101.00002").arxiv_id == "2101.00002"
    assert library.paper_by_title("erratum").arxiv_id == "2101.00001"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_renamed_paper_is_one_paper_under_both_titles_in_any_order(library_of, order: tuple[int, ...]) -> None:
    rows = [
        {"title": "Old Name", "arxiv_id": "2101.00001", "abstract": "a"},
        {"title": "New Name", "abstract": "a longer one"},
        {"title": "New Name", "arxiv_id": "2101.00001", "date": "2021"},
    ]
    library = library_of(*(rows[i] for i in order))
    assert library.num_papers == 1
    assert library.paper_by_title("old name") == library.paper_by_title("new name") == library.paper("2101.00001")
    assert library.paper("2101.00001").abstract == "a longer one"
    assert [hit.paper for hit in library.search("longer", 5)] == [library.paper("2101.00001")]


def test_ids_are_found_with_a_version_and_unknown_ones_are_absent(library_of) -> None:
    library = library_of({"title": "A", "arxiv_id": "2101.00001"}, {"title": "B", "arxiv_id": "cs/0112017"})
    found = library.papers_by_id(["2101.00001v2", "cs/0112017", "2101.99999", "nonsense", "", "\ud800"])
    assert {asked: paper.title for asked, paper in found.items()} == {"2101.00001v2": "A", "cs/0112017": "B"}
    assert library.paper("2101.99999") is None


def test_references_are_matched_by_id_then_by_title(library_of) -> None:
    library = library_of({"title": "A", "arxiv_id": "2101.00001"}, {"title": "B"})
    references = [
        Reference("wrong title", arxiv_id="2101.00001"),
        Reference("b."),
        Reference("B", arxiv_id="2101.99999"),
        Reference("C"),
        Reference(""),
    ]
    found = library.papers_by_reference(references)
    assert [paper and paper.title for paper in found] == ["A", "B", "B", None, None]


def test_iterating_gives_every_paper_once_in_order(library_of) -> None:
    titles = [f"Paper {'x' * i}" for i in range(1, 1203)]
    library = library_of(*({"title": title} for title in titles))
    assert [paper.title for paper in library] == titles
    assert len(library) == library.info().papers == 1202


def test_a_thousand_threads_read_at_once(library_of) -> None:
    library = library_of(*({"title": f"Paper {'x' * i}", "arxiv_id": f"2101.{i:05d}"} for i in range(1, 51)))
    wrong, start = [], threading.Event()

    def read(i: int) -> None:
        start.wait()
        arxiv_id = f"2101.{i % 50 + 1:05d}"
        if library.paper(arxiv_id).arxiv_id != arxiv_id or len(library.search("paper", 3)) != 3:
            wrong.append(i)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(1000)]
    for thread in threads:
        thread.start()
    start.set()
    for thread in threads:
        thread.join()
    assert wrong == []


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from([None, "1", "2"]), st.text(max_size=5)), min_size=1)
)
def test_building_twice_changes_nothing(library_of, rows: list[tuple[str, str | None, str]]) -> None:
    rows = [{"title": t, "arxiv_id": i and f"2101.0000{i}", "abstract": a} for t, i, a in rows]
    once = list(library_of(*rows))
    keys = [paper.key for paper in once]
    assert len(keys) == len(set(keys))
    assert list(library_of(*rows, fresh=False)) == once
