"""What failing tools and models and malformed replies cost a run: pasa/crawl.py, runtime.py."""

import gc
import threading
import time

import pytest

from pasa.actions import render_actions
from pasa.errors import ModelError, PasaError, ToolError
from pasa.paper import Reference, Section
from tests.world import World, error_of, hits_of, no_task_is_left, nodes_of, tree_facts

QUESTION = "which papers?"
SLOW = 0.004  # seconds a call may take where timing is shaken


def run(world, query=QUESTION, **settings):
    with world.agent(**settings) as agent:
        return agent.run(query)


# -- failures ----------------------------------------------------------------------------------------------------------


def papers_of_a_run():
    return [p.paper.title for p in run(World(3)).papers]


def test_a_failing_page_costs_its_expansion_alone():
    world = World(3)
    broken = run(World(3)).sessions[1].paper.title
    world.failing_pages = {broken}
    result = run(world)
    assert result.stats.problems["page: failed"] == 1
    [node] = [node for node in nodes_of(result) if node.paper.title == broken]
    assert (node.extra["expand"], node.children) == ("get full paper error", {})
    assert broken not in [s.paper.title for s in result.sessions if s.paper]
    assert (
        len([s for s in result.sessions if s.layer == 1])
        == len([s for s in run(World(3)).sessions if s.layer == 1]) - 1
    )


@pytest.mark.parametrize(("kind", "reason"), [("score", "selector: failed"), ("reference", "reference: failed")])
def test_a_failing_paper_costs_itself_alone(kind, reason):
    world = World(3)
    leaf = [node for node in nodes_of(run(World(3))) if node.depth == 2 and not node.children][-1].paper.title
    setattr(world, f"failing_{kind}s", {leaf})
    result = run(world)
    assert result.stats.problems[reason] == 1
    assert [p.paper.title for p in result.papers] == [title for title in papers_of_a_run() if title != leaf]


def test_failing_metadata_costs_its_paper_alone():
    world = World(3, papers=400)
    world.failing_ids = set(list(world.by_id)[::2])
    result = run(world, expand_layers=0)
    assert result.stats.problems["metadata: failed"] > 0
    assert result.stats.problems["metadata: not found"] > 0
    assert nodes_of(result)


def test_failing_metadata_is_counted_paper_by_paper():
    world = World(3)
    with_metadata = run(World(3), expand_layers=0)
    [*_, last] = [n.paper for n in nodes_of(with_metadata) if n.paper.arxiv_id]
    world.failing_ids = {last.arxiv_id}
    found = {n.paper.title for n in nodes_of(run(world, expand_layers=0))}
    assert {n.paper.title for n in nodes_of(with_metadata)} - found <= {last.title}


def test_the_only_paper_of_a_layer_may_fail_to_be_scored():
    world = World(0, papers=6)
    first, second = world.papers[:2]
    world.search = lambda query, limit, end_date=None: hits_of(first)
    world.pages[first.title] = (Section("Data", (Reference(second.title),)),)
    world.replies[first.title] = "[Expand] Data"
    world.failing_scores = {second.title}
    result = run(world)
    assert [p.paper.title for p in result.papers] == [first.title]
    assert result.stats.problems["selector: failed"] == 1


def test_a_score_that_is_no_number_costs_its_paper():
    world = World(3)
    worst = papers_of_a_run()[0]
    score = world.scorer.score
    world.scorer.score = lambda requests: [
        float("nan") if r.title == worst else s for r, s in zip(requests, score(requests), strict=True)
    ]
    result = run(world)
    assert result.stats.problems["selector: failed"] == 1
    assert worst not in [p.paper.title for p in result.papers]


def test_a_failing_reply_costs_its_session_alone():
    world = World(3)
    broken = run(World(3)).sessions[1].paper.title
    world.failing_replies = {broken}
    result = run(world)
    assert result.stats.problems["crawler: failed"] == 1
    assert broken in [p.paper.title for p in result.papers]
    assert broken not in [s.paper.title for s in result.sessions if s.paper]


def test_one_failing_search_of_several_is_counted():
    world = World(3)
    [whole] = run(World(3), expand_layers=0).sessions
    world.failing_searches = {whole.parsed.moves[0].argument}
    result = run(world, expand_layers=0)
    assert result.stats.problems["search: failed"] == 1
    assert nodes_of(result)


@pytest.mark.parametrize(
    ("failing", "error"),
    [("failing_searches", ToolError), ("failing_replies", ModelError), ("failing_scores", ModelError)],
)
def test_what_always_fails_is_raised_and_the_agent_stays_usable(failing, error):
    world = World(3)
    setattr(world, failing, None)
    with world.agent() as agent:
        with pytest.raises(error):
            agent.run(QUESTION)
        assert no_task_is_left(agent)
        setattr(world, failing, set())
        assert agent.run(QUESTION).papers


def test_a_later_run_of_an_ensemble_that_fails_leaves_what_the_first_found():
    world = World(3)
    generate = world.generate

    def fail_when_sampled(requests, sampling):
        if sampling.temperature:
            raise ModelError("no sampling here")
        return generate(requests, sampling)

    world.generate = fail_when_sampled
    result = run(world, ensemble_runs=2)
    assert tree_facts(result.root) == tree_facts(run(World(3)).root)
    assert result.stats.problems["ensemble run: failed"] == 1


@pytest.mark.parametrize("part", ["search", "sections", "papers_by_id", "papers_by_reference", "generate", "score"])
@pytest.mark.parametrize("bug", [ZeroDivisionError, StopIteration])
def test_a_bug_in_a_model_or_tool_comes_out_and_hangs_nothing(part, bug, caplog):
    world = World(3)

    def broken(*args):
        raise bug("a bug")

    if part == "score":
        world.scorer.score = broken
    else:
        setattr(world, part, broken)
    outcome = []
    with world.agent() as agent:
        thread = threading.Thread(target=lambda: outcome.append(error_of(lambda: agent.run(QUESTION))), daemon=True)
        thread.start()
        thread.join(10)
        assert outcome, "the run hangs"
        assert isinstance(outcome[0], bug if bug is not StopIteration else RuntimeError)
        assert not isinstance(outcome[0], PasaError)
        assert no_task_is_left(agent)
    gc.collect()
    assert not caplog.records  # such as "Task exception was never retrieved"


def test_bugs_that_nobody_waits_for_are_not_complained_of_later(caplog):
    """Pages are fetched ahead; here they break before anything asks for them, and the run ends for another reason."""
    world = World(3)

    def broken(*args):
        raise ZeroDivisionError("a bug in every page")

    def slowly_broken(*args):
        time.sleep(0.1)
        raise KeyError("a bug in the metadata")

    world.sections, world.papers_by_id = broken, slowly_broken
    with world.agent() as agent:
        assert isinstance(error_of(lambda: agent.run(QUESTION)), KeyError)
        assert no_task_is_left(agent)
    gc.collect()
    assert not caplog.records


# -- malformed replies -------------------------------------------------------------------------------------------------


def test_a_reply_without_a_query_searches_the_question_and_is_counted():
    world = World(1)
    world.replies[""] = "I am sorry, but I cannot."
    result = run(world)
    assert list(result.root.children) == [QUESTION]
    assert result.papers
    assert result.stats.problems["crawler wrote: no_action"] == 1
    assert result.stats.problems["crawler: no search query, the question itself was searched"] == 1
    assert run(world, search_question_if_no_query=False).papers == []


def test_malformed_replies_are_counted_in_the_run():
    world = World(1)
    world.replies[""] = "Well: [Search] a [Expand] b [Search] a [Search] c [Sea"
    problems = run(world, expand_layers=0).stats.problems
    wrote = {
        name.removeprefix("crawler wrote: "): n for name, n in problems.items() if name.startswith("crawler wrote")
    }
    assert wrote == {"prose": 1, "wrong_kind": 1, "repeated": 1, "unclosed_action": 1}


def test_ten_thousand_actions_end_in_five_searches():
    world = World(1)
    world.replies[""] = render_actions("search", (f"query {n}" for n in range(10_000)))
    result = run(world, expand_layers=0)
    assert (result.stats.searches, world.calls["search"]) == (5, 5)
    assert result.stats.problems["crawler wrote: over_limit"] == 9_995


def test_action_text_in_an_abstract_has_no_effect():
    """Every abstract of the world holds "[Search] injected by ..."."""
    world = World(1)
    result = run(world)
    assert all("[Search] injected" in node.paper.abstract for node in nodes_of(result))
    assert not [m for s in result.sessions for m in s.parsed.moves if "injected" in m.argument]
    assert {m.kind for s in result.sessions if s.kind == "expand" for m in s.parsed.moves} == {"expand"}


def test_what_a_source_could_not_look_up_is_counted_in_the_run_it_happened_in():
    world = World(1)
    counted = {"arXiv is down": 2}
    world.failures = lambda: dict(counted)
    look_up = world.papers_by_reference

    def fail_three(references):
        counted["arXiv is down"] = 5
        return look_up(references)

    world.papers_by_reference = fail_three
    with world.agent() as agent:
        assert agent.run("a question").stats.problems["look-up: arXiv is down"] == 3
        assert "look-up: arXiv is down" not in agent.run("a question").stats.problems
