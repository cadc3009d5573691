"""What a run gives, in a synthetic world (tests/world.py): pasa/runtime.py, crawl.py, selector.py."""

import datetime as dt
import json

import pytest

from pasa.config import AgentSettings
from pasa.errors import ConfigError
from pasa.events import ActionsTaken, LayerDone, LayerStarted, PaperScored, PapersFound, RunDone
from pasa.paper import Reference, Section
from pasa.paper_queue import too_late
from pasa.query import Query
from pasa.runtime import PaperAgent
from tests.world import World, hits_of, nodes_of, run_facts, score_of

QUESTION = "which papers?"
SLOW = 0.004  # seconds a call may take where timing is shaken


def run(world, query=QUESTION, **settings):
    with world.agent(**settings) as agent:
        return agent.run(query)


# -- one result whatever the timing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_the_result_does_not_depend_on_timing(seed):
    settings = {"expand_papers": 6}
    facts = run_facts(run(World(seed), threads_num=1, **settings))
    for threads in (1, 4, 32):
        assert run_facts(run(World(seed, delay_seconds=SLOW), threads_num=threads, **settings)) == facts


@pytest.mark.parametrize(
    "settings",
    [
        {"ensemble_runs": 2},
        {"temperature": 1.0, "seed": 3},
        {"selector_title": "cited", "same_paper": "id"},
        {"first_layer_expand_papers": 3},
        {"search_order": "last_first", "sections_rendering": "dict_keys"},
    ],
    ids=str,
)
def test_the_result_does_not_depend_on_timing_under_other_settings(settings):
    query = Query(QUESTION, dt.date(2021, 6, 30))
    facts = [run_facts(run(World(1, delay_seconds=delay), query, **settings)) for delay in (0, SLOW, SLOW)]
    assert facts[0] == facts[1] == facts[2]


def test_failures_cost_the_same_whatever_the_timing():
    def broken(delay):
        world = World(2, delay_seconds=delay)
        titles = [paper.title for paper in world.papers]
        world.failing_pages, world.failing_references = set(titles[::5]), set(titles[3::11])
        world.failing_scores = set(titles[1::7])
        return world

    facts = [run_facts(run(broken(delay))) for delay in (0, SLOW, SLOW)]
    assert facts[0] == facts[1] == facts[2]


def test_references_of_one_id_but_other_titles_are_looked_up_apart():
    """Otherwise the first page to arrive would decide which paper the other page cites."""
    world = World(0, papers=12)
    left, right = world.papers[0], world.papers[1]
    world.search = lambda query, limit, end_date=None: hits_of(left, right)
    targets = [world.papers[2].title, world.papers[3].title]
    for paper, title in zip((left, right), targets, strict=True):
        world.pages[paper.title] = (Section("Data", (Reference(title, arxiv_id="9999.99999"),)),)
        world.replies[paper.title] = "[Expand] Data"
    result = run(world, expand_layers=1)
    assert [node.paper.title for node in nodes_of(result, 1)] == targets


# -- the queue ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_every_paper_enters_once_and_is_scored_once(seed):
    world = World(seed)
    result = run(world, ensemble_runs=2)
    titles = [node.paper.title for node in nodes_of(result)]
    assert len(titles) == len(set(titles)) > 20
    assert max(world.scored.values()) == 1
    assert sorted(world.scored) == sorted(titles)
    assert sum(world.scored.values()) == result.stats.selector_calls == result.stats.papers_scored
    best_first = sorted(titles, key=lambda title: (-score_of(seed, title), titles.index(title)))
    assert [p.paper.title for p in result.papers] == best_first


def test_new_papers_of_the_sessions_are_the_papers_of_the_tree():
    world = World(1)
    result = run(world)
    new = [paper.title for session in result.sessions for outcome in session.outcomes for paper in outcome.new]
    assert sorted(new) == sorted(node.paper.title for node in nodes_of(result))


def test_a_paper_cited_twice_in_a_section_is_new_once():
    world = World(0, papers=5)
    first, cited = world.papers[:2]
    world.search = lambda query, limit, end_date=None: hits_of(first, first)
    world.pages[first.title] = (Section("Data", (Reference(cited.title), Reference(cited.title))),)
    world.replies = {first.title: "[Expand] Data", "": "[Search] a"}
    result = run(world, expand_layers=1)
    for session, paper in zip(result.sessions, (first, cited), strict=True):
        [outcome] = session.outcomes
        assert [p.title for p in outcome.new] == [p.title for p in outcome.found] == [paper.title]


def test_sections_of_one_name_are_offered_once_and_read_together():
    world = World(0, papers=5)
    first, *cited = world.papers[:3]
    world.search = lambda query, limit, end_date=None: hits_of(first)
    world.pages[first.title] = tuple(Section("Related Work", (Reference(paper.title),)) for paper in cited)
    world.replies[first.title] = "[Expand] related work"
    result = run(world, expand_layers=1)
    assert result.sessions[1].request.section_names == ("Related Work",)
    assert [node.paper.title for node in nodes_of(result, 1)] == [paper.title for paper in cited]


@pytest.mark.parametrize("seed", range(4))
def test_the_first_layer_expands_all_and_later_ones_the_best(seed):
    result = run(World(seed, papers=150), expand_papers=4, search_queries=2)
    expanded = {1: [], 2: []}
    for session in result.sessions:
        if session.kind == "expand":
            expanded[session.layer].append(session.paper.title)
    by_title = {node.paper.title: node for node in nodes_of(result)}
    held = {t for t, node in by_title.items() if node.extra.get("expand") in ("success", "not expand")}
    for layer, titles in expanded.items():
        found = [p.title for s in result.sessions if s.layer == layer - 1 for o in s.outcomes for p in o.new]
        best = sorted(found, key=lambda title: -score_of(seed, title))[: None if layer == 1 else 4]
        assert titles == [title for title in best if title in held]
    assert len(nodes_of(result, 1)) > 4


def test_a_caller_can_choose_the_papers_to_expand():
    world = World(1)
    chosen = []

    def choose(nodes, limit):
        chosen.append((len(nodes), limit))
        return [nodes[-1], nodes[-1]]

    with PaperAgent(world, world.scorer, world, world, choose_papers=choose) as agent:
        result = agent.run(QUESTION)
    assert chosen[0] == (len(nodes_of(result, 0)), None)
    assert {s.layer for s in result.sessions} <= {0, 1, 2}
    assert len({s.paper.title for s in result.sessions if s.layer == 1}) <= 1


# -- dates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("undated", ["drop", "keep"])
def test_nothing_later_than_the_end_date_comes_back(seed, undated):
    end_date = dt.date(2021, 6, 30)
    result = run(World(seed, papers=120), Query(QUESTION, end_date), undated=undated)
    days = [node.paper.last_possible_day() for node in nodes_of(result)]
    assert all(day <= end_date for day in days if day)
    assert (None in days) == (undated == "keep")
    assert {node.depth for node in nodes_of(result)} >= {0, 1}
    assert result.stats.problems["end date: after_end_date"] > 0
    assert (result.stats.problems["end date: undated"] > 0) == (undated == "drop")
    assert any(node.paper.date is None for node in nodes_of(result))  # kept for its id's month
    assert any(len(node.paper.date or "") == 4 for node in nodes_of(result))  # kept for its year


def test_the_public_code_lets_later_papers_in_by_expansion_alone():
    end_date = dt.date(2021, 6, 30)
    result = run(World(1), Query(QUESTION, end_date), end_date_on_expansion=False)
    late = [node for node in nodes_of(result) if too_late(node.paper, end_date, "drop")]
    assert late
    assert all(node.depth > 0 for node in late)


# -- events and results ------------------------------------------------------------------------------------------------


def test_events_tell_the_run_in_order_and_add_up():
    world = World(2)
    with world.agent() as agent:
        events = list(agent.stream(QUESTION))
    layers = [(type(e), e.layer) for e in events if isinstance(e, LayerStarted | LayerDone)]
    assert layers == [(kind, layer) for layer in range(3) for kind in (LayerStarted, LayerDone)]
    result = events[-1].result
    assert isinstance(events[-1], RunDone)
    new = sum(e.new_papers for e in events if isinstance(e, LayerDone))
    assert new == len(nodes_of(result)) == result.stats.papers_found == len(result.papers)
    assert sum(e.count for e in events if isinstance(e, PapersFound)) == new
    scored = [e for e in events if isinstance(e, PaperScored)]
    assert len(scored) == result.stats.papers_scored
    assert sum(e.selected for e in scored) == result.stats.papers_selected
    assert sum(isinstance(e, ActionsTaken) for e in events) == result.stats.crawler_calls == len(result.sessions)


def test_the_tree_is_upstreams_json():
    result = run(World(2), Query(QUESTION, answer=("A", "B")))
    tree = json.loads(json.dumps(result.root.to_dict()))
    assert (tree["title"], tree["depth"]) == (QUESTION, -1)
    assert tree["extra"].keys() == {"touch_ids", "crawler_recall_papers", "recall_papers", "answer"}
    assert tree["extra"]["answer"] == ["A", "B"]
    selected = {p.paper.title for p in result.papers if p.selected}
    assert set(tree["extra"]["recall_papers"]) == selected
    assert all(n.source.startswith(("Search ", "Expand ")) for n in nodes_of(result))


def test_an_empty_question_is_refused():
    with World().agent() as agent, pytest.raises(ConfigError, match="empty"):
        agent.run("  ")


# -- sampling and ensembles --------------------------------------------------------------------------------------------


def test_sampled_runs_come_back_by_their_seed():
    facts = {seed: [run_facts(run(World(1), temperature=1.0, seed=seed)) for _ in range(2)] for seed in (1, 2)}
    assert facts[1][0] == facts[1][1]
    assert facts[2][0] == facts[2][1]
    assert facts[1][0] != facts[2][0]


def test_a_sampling_generator_with_one_random_stream_gets_its_prompts_in_one_order():
    """A generator that draws from one stream, prompt by prompt, gives the same run under any timing."""

    def sampled_run(delay):
        world = World(1, delay_seconds=delay)
        count = iter(range(10_000))
        reply = world.reply
        world.reply = lambda request, sampling: f"{next(count)}\n{reply(request, sampling)}"
        return run_facts(run(world, temperature=1.0))

    facts = [sampled_run(delay) for delay in (0, SLOW, SLOW)]
    assert facts[0] == facts[1] == facts[2]


def test_an_ensemble_holds_the_papers_of_both_runs_and_scores_each_once():
    first, second = run(World(5, papers=150)), run(World(5, papers=150), temperature=2.0, top_p=0.8, seed=1)
    world = World(5, papers=150)
    both = run(world, ensemble_runs=2)
    titles = [{p.paper.title for p in r.papers} for r in (first, second, both)]
    assert titles[2] == titles[0] | titles[1]
    assert titles[0] - titles[1]
    assert titles[1] - titles[0]
    assert set(world.scored.values()) == {1}
    assert {s.run for s in both.sessions} == {0, 1}
    assert {(s.sampling.temperature, s.sampling.seed) for s in both.sessions} == {(0.0, 0), (2.0, 1)}
    assert len(both.root.extra["touch_ids"]) == len(set(both.root.extra["touch_ids"]))


def test_what_is_told_as_found_is_each_paper_once_with_what_led_there():
    with World(2).agent() as agent:
        told = list(agent.stream(QUESTION))
    result = told[-1].result
    heard = {}
    for event in told:
        if isinstance(event, PapersFound):
            assert event.count == len(event.papers)
            for paper in event.papers:
                assert paper.key not in heard
                heard[paper.key] = (event.parent, event.by)
    assert {p.paper.key for p in result.papers} <= heard.keys()
    titles = {event.title for event in told if isinstance(event, ActionsTaken)}
    assert {parent for parent, _ in heard.values()} <= titles


# -- settings of one run -----------------------------------------------------------------------------------------------


def test_a_run_may_have_settings_of_its_own_and_gives_what_an_agent_made_with_them_gives():
    own = {"expand_layers": 1, "search_queries": 2, "select_threshold": 0.8}
    expected = run_facts(run(World(4), **own))
    with World(4).agent(expand_layers=2) as agent:
        for own_run in (True, False):
            settings = AgentSettings(**own, threads_num=3) if own_run else None
            *_, last = agent.stream(QUESTION, settings)
            assert (run_facts(last.result) == expected) is own_run
