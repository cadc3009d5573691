"""Who cites whom, by record number, and work shared out between processes."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pasa.errors import ConfigError, LibraryError
from pasa.library import Library
from pasa.library.build import build_library
from pasa.paper import Reference
from pasa.training_data.citation_graph import CitationGraph, CitingSection
from pasa.training_data.workers import default_workers, mapped
from tests.library_rows import write_rows
from tests.training_data.small_library import ABSTRACTS, open_library, paper, rows

SLOTS, GOSSIP = list(ABSTRACTS)[:2], list(ABSTRACTS)[2:4]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    with open_library(tmp_path_factory.mktemp("library"), 2) as opened:
        yield opened


def number(library, title):
    return library.numbers_by_reference([Reference(title)])[0]


def test_sections_hold_what_the_library_knows_of_what_they_cite(library):
    graph = CitationGraph.read(library)
    source = number(library, "Source Number a of Many")
    slots = tuple(number(library, title) for title in SLOTS)
    assert graph.sections[source][0] == CitingSection("Introduction", slots, 0)
    assert graph.sections[source][1] == CitingSection("Related Work Object-Centric Slot Attention", slots, 1)
    assert graph.citing[slots[0]] == [source, number(library, "Source Number b of Many")]
    assert len(graph.cited_by(source)) == len(ABSTRACTS)
    assert graph.cited_by(None) == {}
    gossip = [number(library, title) for title in GOSSIP]
    assert graph.sections_citing(source, gossip[:1]) == {"Related Work", "Results"}


def test_what_some_papers_cite_is_drawn_from_the_first_of_them(library):
    graph = CitationGraph.read(library)
    source = number(library, "Source Number a of Many")
    strangers = [number(library, title) for title in SLOTS]
    drawn = list(graph.cited_by_many([*strangers, source], 1, random.Random(0)))
    assert sorted(drawn) == sorted(graph.cited_by(source))
    assert set(graph.cited_anywhere(random.Random(0))) == set(graph.cited_by(source))
    assert list(CitationGraph().cited_anywhere(random.Random(0))) == []


def test_what_is_cited_apart_stands_in_no_section_with_the_papers_nor_in_the_source(library):
    graph = CitationGraph.read(library)
    one, other = (number(library, f"Source Number {letter} of Many") for letter in "ab")
    slots, gossip = ([number(library, title) for title in titles] for titles in (SLOTS, GOSSIP))
    retina = number(library, "Spiking Retina Chips")
    assert set(graph.cited_apart(slots[:1], one, random.Random(0))) == {*gossip, retina}
    assert set(graph.cited_apart([retina], one, random.Random(0))) == {*slots, *gossip}
    assert len(list(graph.cited_apart([retina], None, random.Random(0)))) == 2 * len(
        list(graph.cited_apart([retina], other, random.Random(0)))
    )


def test_numbers_are_found_by_id_before_title(library):
    by_id, by_title, unknown = library.numbers_by_reference(
        [Reference(SLOTS[0], "2509.00001"), Reference(SLOTS[0]), Reference("A Paper Nobody Has", "2509.99999")]
    )
    assert library.papers_by_number([by_id])[0].title == "Source Number b of Many"
    assert library.papers_by_number([by_title])[0].title == SLOTS[0]
    assert unknown is None


class Squares:
    """Squares numbers; 13 is too much for it."""

    def __init__(self, library):
        self.num_papers = library.num_papers

    def __call__(self, chunk):
        if chunk == 13:
            raise ConfigError("no luck")
        return chunk * chunk, self.num_papers


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_errors_reach_the_caller(library, workers):
    squares = [(n * n, library.num_papers) for n in range(12)]
    assert list(mapped(library, Squares, range(12), workers)) == squares
    results = mapped(library, Squares, range(20), workers)
    assert [next(results) for _ in range(12)] == squares
    with pytest.raises(ConfigError, match="no luck"):
        list(results)


def test_a_library_that_is_built_anew_is_not_mixed_with_the_old_one(tmp_path):
    with Library.open(write_rows(tmp_path / "papers.jsonl", rows(1)), tmp_path) as library:
        build_library([write_rows(tmp_path / "more.jsonl", [paper("Late Arrival")])], library.path, fresh=True)
        with pytest.raises(LibraryError, match="built anew"):
            list(mapped(library, Squares, range(3), 2))


SLOW_WORK = """
import os, pathlib, sys, time
from pasa.library import Library
from pasa.training_data.workers import mapped

class Slow:
    def __init__(self, library):
        pass
    def __call__(self, chunk):
        pathlib.Path(sys.argv[2], str(os.getpid())).touch()
        time.sleep(60)

if __name__ == "__main__":
    list(mapped(Library.open(sys.argv[1]), Slow, range(9), 2))
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc to look for processes in")
def test_workers_end_with_a_parent_that_was_killed(library, tmp_path):
    pids = tmp_path / "pids"
    pids.mkdir()
    (tmp_path / "slow.py").write_text(SLOW_WORK)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(tmp_path / "slow.py"), str(library.path), str(pids)]
    with subprocess.Popen(command, env=environment) as parent:
        wait_for(lambda: len(list(pids.iterdir())) == 2)
        parent.kill()
    wait_for(lambda: not any(Path("/proc", pid.name).exists() for pid in pids.iterdir()))


def wait_for(happened, seconds=50):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_there_is_a_worker_a_processor():
    assert 1 <= default_workers() <= 8
