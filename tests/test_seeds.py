"""Seed papers: papers that a run starts from beside the query (pasa/crawl.py, look_ups.py, query.py)."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pasa.errors import ConfigError, SeedError, ToolError
from pasa.events import RunResult
from pasa.paper import Paper, Reference, Section, parse_arxiv_id
from pasa.query import Query, parse_seeds, read_queries
from pasa.results import ranking_json
from tests.agent_world import BEYOND, DEEP, DULL, END_DATE, LATE, QUESTION, TOOL, ModelServer, nodes, papers, read_tree
from tests.agent_world import write_jsonl as write
from tests.world import World, hits_of, nodes_of, run_facts

SLOW = 0.004  # seconds a call may take where timing is shaken
DEEP_ID, DULL_ID, LATE_ID = (next(p.arxiv_id for p in papers() if p.title == t) for t in (DEEP, DULL, LATE))


def run(world: World, *seeds: str, end_date: dt.date | None = None, **settings: Any) -> RunResult:
    with world.agent(**settings) as agent:
        return agent.run(Query("which papers?", end_date, seeds=seeds))


# -- what names a seed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "seeds"),
    [
        (["2501.10120"], ["2501.10120"]),
        (["2501.10120v2, https://arxiv.org/pdf/cs/0112017v1 ,arXiv:1706.03762"], "2501.10120 cs/0112017 1706.03762"),
        (["2501.10120", "https://arxiv.org/abs/2501.10120"], ["2501.10120"]),
        (["Search, Read,\n and  Rank", "search read (and rank)"], ["Search, Read, and Rank"]),
        (["2501.10120, Attention Is All You Need"], ["2501.10120, Attention Is All You Need"]),  # commas in titles
        (["2501.10120,"], ["2501.10120"]),
        ([], []),
    ],
)
def test_ids_urls_and_titles_name_seeds(texts: list[str], seeds: list[str] | str) -> None:
    assert list(parse_seeds(texts)) == (seeds.split() if isinstance(seeds, str) else seeds)


@pytest.mark.parametrize("text", ["", " ", "0", "42", "2501.101", ",", "---"])
def test_what_names_no_paper_is_refused_and_the_seed_of_sampling_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--seed .*2501\.10120.*--sampling_seed"):
        parse_seeds([text], "--seed")


@given(st.lists(st.from_regex(r"(19|2[0-5])(0[1-9]|1[0-2])\.[0-9]{4,5}", fullmatch=True), min_size=1, max_size=5))
def test_a_comma_list_names_what_its_parts_name(ids: list[str]) -> None:
    assert parse_seeds([",".join(ids)]) == parse_seeds(ids) == tuple(dict.fromkeys(ids))
    assert all(map(parse_arxiv_id, parse_seeds(ids)))


def test_a_row_has_its_own_seeds_behind_those_of_the_call(tmp_path: Path) -> None:
    rows = [
        {"question": "a"},
        {"question": "b", "seed": "2501.10120"},
        {"question": "c", "seed": ["A, B", "cs/0112017"]},
    ]
    path = write(tmp_path / "q.jsonl", [*rows, {"question": "d", "seed": None}])
    assert [q.seeds for q in read_queries(path)] == [(), ("2501.10120",), ("A, B", "cs/0112017"), ()]
    assert [q.seeds for q in read_queries(path, seeds=("Z",))][1] == ("Z", "2501.10120")


@pytest.mark.parametrize("seed", [3, {"id": "2501.10120"}, ["2501.10120", 7], "7"])
def test_a_row_s_seed_that_names_no_paper_is_refused_with_its_line(tmp_path: Path, seed: Any) -> None:
    path = write(tmp_path / "q.jsonl", [{"question": "a"}, {"question": "b", "seed": seed}])
    with pytest.raises(ConfigError, match=r"q\.jsonl:2.*seed"):
        read_queries(path)


# -- what a run does with them -----------------------------------------------------------------------------------------


def cited_in(world: World, paper: Paper, *cited: Paper) -> None:
    """Gives the paper one section that cites these, which the Crawler expands."""
    world.pages[paper.title] = (Section("Data", tuple(Reference(p.title) for p in cited)),)
    world.replies[paper.title] = "[Expand] Data"


def unfound(world: World) -> list[Paper]:
    """Papers with an arXiv id that a run without seeds does not find, in the world's order."""
    found = {p.paper.key for p in run(world).papers}
    return [p for p in world.papers if p.arxiv_id and p.key not in found]


def test_seeds_enter_before_the_search_results_are_scored_and_expanded() -> None:
    world = World(3, papers=150)
    first, second, cited = unfound(world)[:3]
    cited_in(world, first, cited)
    result = run(world, first.arxiv_id or "", second.title)
    branches = list(result.root.children.items())
    assert [name for name, _ in branches[:2]] == [f"[Seed] {first.arxiv_id}", f"[Seed] {second.title}"]
    assert all(not name.startswith("[Seed]") for name, _ in branches[2:])
    seeds = [node for _, kids in branches[:2] for node in kids]
    assert [(n.paper.title, n.depth, n.source) for n in seeds] == [
        (first.title, 0, "Seed SearchFrom:world"),
        (second.title, 0, "Seed SearchFrom:world"),
    ]
    assert world.scored[first.title] == world.scored[second.title] == 1
    assert [kid.paper.title for kid in seeds[0].children["Data"]] == [cited.title]
    ranked = {p.paper.title: p for p in result.papers}
    assert ranked[cited.title].path == (f"[Seed] {first.arxiv_id}", first.title, "Data")
    assert {t for t, p in ranked.items() if p.is_seed} == {first.title, second.title}
    shown = ranking_json(result.papers)
    assert {p["title"] for p in shown if p["is_seed"]} == {first.title, second.title}
    assert result.stats.papers_found == len(nodes_of(result)) == len(shown)


def test_a_seed_that_a_search_finds_too_stands_once_as_a_seed() -> None:
    world = World(0)
    seed = next(p for p in world.papers if p.arxiv_id)
    world.search = lambda query, limit, end_date=None: hits_of(seed, world.papers[-1])  # type: ignore[method-assign]
    result = run(world, seed.arxiv_id or "", expand_layers=0)
    assert [n.source for n in nodes_of(result) if n.paper.title == seed.title] == ["Seed SearchFrom:world"]
    assert len(nodes_of(result)) == 2


def test_seeds_are_expanded_first_and_beside_the_limit_of_the_first_layer() -> None:
    world = World(3, papers=150)
    seed, cited = unfound(world)[:2]
    cited_in(world, seed, cited)
    result = run(world, seed.arxiv_id or "", first_layer_expand_papers=0, expand_layers=1)
    [session] = [s for s in result.sessions if s.kind == "expand"]
    assert session.paper
    assert (session.paper.title, [p.title for p in session.outcomes[0].new]) == (seed.title, [cited.title])
    searching = result.sessions[0]
    assert len(searching.outcomes) == 5  # one a search action: a seed is none
    assert all(seed not in outcome.found for outcome in searching.outcomes)


def test_no_end_date_holds_for_a_seed_but_for_what_it_leads_to() -> None:
    world = World(3, papers=150)
    end_date = dt.date(2016, 6, 30)
    late = [p for p in unfound(world) if (day := p.last_possible_day()) and day > end_date]
    seed, cited = late[:2]
    cited_in(world, seed, cited)
    titles = [n.paper.title for n in nodes_of(run(world, seed.arxiv_id or "", end_date=end_date))]
    assert (seed.title in titles, cited.title in titles) == (True, False)


@pytest.mark.parametrize(
    "settings", [{}, {"ensemble_runs": 2}, {"max_papers_scored": 30}, {"temperature": 1.0}], ids=str
)
def test_a_run_with_seeds_does_not_depend_on_timing(settings: dict[str, Any]) -> None:
    ids = [p.arxiv_id or p.title for p in World(1).papers[:3]]
    facts = [run_facts(run(World(1, delay_seconds=delay), *ids, **settings)) for delay in (0, SLOW, SLOW)]
    assert facts[0] == facts[1] == facts[2]


@pytest.mark.parametrize("seed", ["9999.99999", "A paper that nobody has"])
def test_a_seed_that_nobody_knows_is_an_error_that_names_it(seed: str) -> None:
    with pytest.raises(SeedError, match=seed):
        run(World(0), seed)


def test_a_source_that_is_down_is_told_apart_from_an_unknown_seed() -> None:
    world = World(0)
    paper = next(p for p in world.papers if p.arxiv_id)
    world.failing_ids = {paper.arxiv_id or ""}
    with pytest.raises(ToolError, match=f"seed paper '{paper.arxiv_id}' could not be looked up"):
        run(world, paper.arxiv_id or "")


def test_a_run_goes_on_from_its_seeds_where_every_search_fails() -> None:
    world = World(0)
    world.failing_searches = None
    seed = next(p for p in world.papers if p.arxiv_id)
    result = run(world, seed.arxiv_id or "")
    assert nodes_of(result, 0)[0].paper.title == seed.title
    assert result.stats.problems["search: failed"] == result.stats.searches > 0
    with pytest.raises(ToolError):
        run(world)


# -- the command line --------------------------------------------------------------------------------------------------


@pytest.fixture
def ask(cli: Any, world_library: Path, model_server: ModelServer) -> Any:
    return lambda *more: cli(*more, "--library", world_library, *model_server.flags)


def test_a_seed_brings_what_neither_search_nor_its_citations_find(ask: Any, tmp_path: Path) -> None:
    outcome = ask(QUESTION, "--seed", f"https://arxiv.org/abs/{DULL_ID}v3", "--seed", DEEP, "--format", "tree")
    tree = json.loads(outcome.out)
    assert [(n["title"], n["source"].split()[0]) for n in tree["child"][f"[Seed] {DULL_ID}"]] == [(DULL, "Seed")]
    assert nodes(tree).keys() >= {TOOL, BEYOND}  # DEEP cites it; without a seed it is beyond the second layer
    assert tree["extra"]["run"]["seeds"] == [DULL_ID, DEEP]
    assert DULL in tree["extra"]["crawler_recall_papers"]
    table = ask(QUESTION, "--seed", f"{DULL_ID},{DEEP_ID}", "--quiet").out
    assert f"seed {DULL_ID}\n" in table
    assert f"seed {DEEP_ID} > cited by {DEEP} in Introduction\n" in table
    assert f"seed {LATE_ID}" in ask(QUESTION, "--seed", LATE_ID, "--end_date", END_DATE).out


@pytest.mark.parametrize("seed", ["2501.99999", "No Such Title"])
def test_an_unknown_seed_is_one_line_and_exit_code_2(ask: Any, seed: str) -> None:
    assert ask(QUESTION, "--quiet", "--seed", seed).is_error(2, seed, "seed paper")


def test_a_number_as_a_seed_is_told_where_the_sampling_s_went(ask: Any) -> None:
    assert ask(QUESTION, "--quiet", "--seed", "3").is_error(2, "--seed '3'", "--sampling_seed")
    assert ask(QUESTION, "--sampling_seed", "3", "--quiet").code == 0


def test_an_unknown_seed_of_one_row_costs_that_row_alone(ask: Any, tmp_path: Path) -> None:
    rows = [{"question": "one", "seed": DULL_ID}, {"question": "two", "seed": "2501.99999"}, {"question": "three"}]
    outcome = ask("--input_file", write(tmp_path / "q.jsonl", rows), "--output_folder", "out")
    assert outcome.code == 2
    assert "1: error: no source knows the seed paper '2501.99999'" in outcome.err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["0.json", "2.json"]
    assert read_tree(tmp_path / "out" / "0.json")["extra"]["run"]["seeds"] == [DULL_ID]
    assert "seeds" not in read_tree(tmp_path / "out" / "2.json")["extra"]["run"]


def test_results_from_other_seeds_are_told_of(ask: Any, tmp_path: Path) -> None:
    flags = ["--input_file", write(tmp_path / "q.jsonl", [{"question": "one"}]), "--output_folder", "out"]
    ask(*flags)
    assert "other settings" not in ask(*flags).err
    assert "1 of them under other settings; --overwrite" in ask(*flags, "--seed", DULL_ID).err
