"""The record of a search: every way to papers, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Callable

from pasa.events import RunResult, RunStats, Way
from pasa.export.methods import flow_rows, to_methods
from pasa.export.run_view import ExportedRun
from pasa.paper import Paper
from pasa.query import Query
from pasa.result_tree import Node, rank
from pasa.search_record import flow, read_record, ways_json
from tests.agent_world import BELIEF, DEEP, END_DATE, FOUND, LATE, QUESTION, SURVEY, TOOL, ZURICH, ModelServer, Outcome

Ask = Callable[..., Outcome]


def asked(cli: Ask, server: ModelServer, library: object, *more: object) -> dict:
    outcome = cli(QUESTION, "--library", library, *server.flags, "--format", "tree", "--output_folder", "", "-q", *more)
    return json.loads(outcome.out)


def test_each_way_tells_all_it_led_to_and_what_was_new(
    cli: Ask, model_server: ModelServer, world_library: object
) -> None:
    tree = asked(cli, model_server, world_library)
    record = read_record(tree["extra"])
    titles = {"2301.00001": TOOL, "2302.00002": SURVEY, "2201.00003": ZURICH, "2202.00004": BELIEF}
    titles |= {"2406.00007": LATE, "2101.00005": DEEP}
    found = [
        (w.kind, w.name, w.layer, titles.get(w.of, ""), [titles[record.keys[n]] for n in w.found], w.new)
        for w in record.ways
    ]
    assert found == [
        ("search", "tools agents", 0, "", [SURVEY, TOOL], 2),
        ("search", "agents survey", 0, "", [SURVEY, TOOL], 0),
        ("section", "Introduction", 1, TOOL, [ZURICH], 1),
        ("section", "Related Work", 1, TOOL, [BELIEF, LATE], 2),
        ("section", "Introduction", 2, ZURICH, [DEEP], 1),
    ]
    assert record.times_found()[record.keys.index("2301.00001")] == 2


def test_the_flow_adds_up(cli: Ask, model_server: ModelServer, world_library: object) -> None:
    limits = (("--end_date", END_DATE), ("--max_papers_scored", 3), ("--select_threshold", "0.75"), ("--seed", ZURICH))
    for more in ((), *limits):
        run = asked(cli, model_server, world_library, *more)["extra"]["run"]
        extra = asked(cli, model_server, world_library, *more)["extra"]
        counted = flow(read_record(extra), run["papers_found"], run["papers_selected"], run["problems"])
        assert sum(counted.identified.values()) - counted.duplicates == counted.distinct
        assert counted.distinct == counted.screened + counted.without_score
        assert counted.screened == counted.selected + counted.below_threshold
        assert counted.selected == run["papers_selected"]
        match more:
            case ():
                assert (counted.identified, counted.duplicates) == ({"search": 4, "section": 4}, 2)
                assert counted.distinct == len(FOUND)
            case ("--end_date", _):
                assert counted.too_late == {"after_end_date": 1}
            case ("--max_papers_scored", _):
                assert counted.without_score > 0
            case ("--seed", _):
                assert counted.identified["seed"] == 1


def test_what_each_of_several_engines_found_is_counted_apart_and_still_adds_up() -> None:
    papers = tuple(Paper(f"Paper {name}", arxiv_id=f"2301.0000{n}") for n, name in enumerate("abc"))
    root = Node(Paper("q"), children={"words": [Node(paper, 0, "Search", 0.9) for paper in papers]})
    engines = (("arxiv",), ("semantic_scholar",), ("arxiv", "semantic_scholar"))
    ways = [Way("search", "words", 0, 0, None, papers, 3, engines), Way("section", "Intro", 1, 0, papers[0], papers, 0)]
    result = RunResult(Query("q"), root, rank(root, 0.5), [], RunStats(), ways=ways)
    record = read_record(json.loads(json.dumps(ways_json(result))))
    assert record.ways[0].by_engine == {"arxiv": (0, 2), "semantic_scholar": (1, 2)}
    counted = flow(record, 3, 3, {})
    assert counted.identified == {"search: arxiv": 2, "search: semantic_scholar": 2, "section": 3}
    assert (counted.duplicates, counted.distinct) == (4, 3)
    run = ExportedRun("q", tuple(result.papers), root, {}, None, record=record)
    assert flow_rows(run)[:2] == [
        ("identified through search queries in arxiv", 2),
        ("identified through search queries in semantic_scholar", 2),
    ]
    assert "| words | 1 |  | 3 (arxiv 2, semantic\\_scholar 2) | 3 |" in to_methods(run)
    assert "in semantic\\_scholar | 2 |" in to_methods(run)


def test_a_tree_without_ways_has_an_empty_record() -> None:
    assert read_record({}).ways == ()
