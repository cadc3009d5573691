import dataclasses
import threading
import time

import pytest

from pasa.actions import StopReason, render_actions
from pasa.config import AgentSettings
from pasa.events import PaperScored
from pasa.paper import Paper, title_key
from pasa.query import Query
from pasa.result_tree import Node
from pasa.runtime import PaperAgent
from pasa.tools.base import FailureCount
from tests.world import World, score_of
from trl_ext.session_ppo.environment import make_environment
from trl_ext.session_ppo.hidden import HiddenPapers, hidden_papers
from trl_ext.session_ppo.queries import TrainingQuery
from trl_ext.session_ppo.rewards import RewardSettings, match_scorer
from trl_ext.session_ppo.rollouts import QueryCrawl, Rollouts, RolloutSettings

QUESTIONS = [f"which agents {letter}" for letter in "abcd"]


class Policy:
    """The world's Crawler with token ids: a character a token."""

    name = "policy"

    def __init__(self, world):
        self.world = world

    def generate(self, requests, sampling):
        replies = self.world.generate(requests, sampling)
        return [
            dataclasses.replace(
                reply, prompt_ids=tuple(self.encode([request], 0)[0]), reply_ids=tuple(map(ord, reply.text))
            )
            for request, reply in zip(requests, replies, strict=True)
        ]

    def encode(self, requests, max_new_tokens):
        return [[ord(letter) for letter in request.prompt[-40:]] for request in requests]


def queries(world, hidden=HiddenPapers()):  # noqa: B008 - it is frozen
    golds = frozenset(p.title_key for p in world.papers[:10])
    return [TrainingQuery(Query(text, qid=text[-1]), golds, hidden) for text in QUESTIONS]


def rollouts(world, asked, selector=None, rewards=None, **settings):
    environment = make_environment(world, world, cuts_off=False)
    scorer = match_scorer(world.scorer if selector is None else selector, asked)
    values = {"generation_batch": 3, "search_papers": 6} | settings
    return Rollouts(environment, Policy(world), scorer, RolloutSettings(**values), rewards or RewardSettings())


def run(world, asked=None, seed=1, **settings):
    asked = asked or queries(world)
    made = rollouts(world, asked, **settings)
    try:
        return made.step(asked, seed)
    finally:
        made.close()


def test_a_step_has_four_searches_and_two_rounds_of_six():
    result = run(World())
    layers = [session.layer for session in result.step.sessions]
    assert layers == [0] * 4 + [1] * 6 + [2] * 6
    assert result.step.size == 16
    assert result.metrics["rollout/sessions_missing"] == 0


def test_no_session_comes_twice_and_too_few_papers_make_a_smaller_batch():
    world = World()
    few = set(list(world.pages)[2:])
    world.pages = {title: None if title in few else page for title, page in world.pages.items()}
    result = run(world, expand_sessions=8, rounds=3)
    met = [(s.query_id, s.layer and s.prompt) for s in result.step.sessions]
    assert len(met) == len(set(met))
    assert len(result.step.sessions) < result.step.size == 4 + 3 * 8


@pytest.mark.parametrize("delay", [0.0, 0.004])
def test_the_same_seed_gives_the_same_sessions_whatever_the_timing(delay):
    assert run(World(delay_seconds=delay)).step == run(World()).step
    assert run(World(delay_seconds=delay), seed=2).step != run(World()).step


def test_new_means_new_to_the_query_in_the_order_of_layers_sessions_and_actions():
    """What each action found is gone through again, in the order of the records, with a set of what was met."""
    world = World()
    asked = queries(world)
    made = rollouts(world, asked)
    crawls = []
    made._result = lambda c, agent, seconds: crawls.extend(c)
    made.step(asked, 1)
    made.close()
    for crawl in crawls:
        met = set()
        for session in sorted(crawl.sessions, key=lambda s: s.layer):
            for outcome in session.outcomes:
                new = [p for p in outcome.found if not {p.key, p.title_key} & met]
                assert list(outcome.new) == new
                met |= {key for p in new for key in (p.key, p.title_key)}
    assert any(len(o.new) < len(o.found) for c in crawls for s in c.sessions for o in s.outcomes)


def test_rewards_are_those_of_golds_and_of_what_the_selector_selects():
    world = World()
    asked = queries(world)
    result = run(world, asked)
    without = run(world, asked, selector=None, rewards=RewardSettings(alpha=0.0))
    assert all(a.reward == -a.cost for s in without.step.sessions for a in s.actions)
    matched = sum(a.matched for s in result.step.sessions for a in s.actions)
    assert matched > 0
    for session in result.step.sessions:
        for action in session.actions:
            assert action.reward == pytest.approx(1.5 * action.matched - action.cost)
            assert action.matched <= action.new <= action.found
            assert len(action.starts) <= action.new


def test_every_new_paper_with_a_page_is_a_start_and_an_expanded_paper_knows_its_own():
    world = World()
    result = run(world)
    starts = [(start.query_id, start.paper_key) for start in result.step.starts]
    assert len(starts) == len(set(starts))
    pages = {p.key for p in world.papers if world.pages[p.title]}
    assert {key for _, key in starts} <= pages
    for session in result.step.sessions:
        assert (session.start is None) == (session.kind == "search")
        if session.start is not None:
            assert result.step.starts[session.start].prompt_ids == session.prompt_ids
            assert result.step.starts[session.start].query_id == session.query_id
    named = {start for s in result.step.sessions for a in s.actions for start in a.starts}
    assert named == set(range(len(starts)))
    capped = run(world, valued_papers=1)
    assert all(len(a.starts) <= 1 for s in capped.step.sessions for a in s.actions)


def test_the_top_papers_of_all_queries_are_expanded_next_as_upstream_does():
    world = World()
    result = run(world, next_papers="upstream", rounds=1, expand_sessions=3)
    titles = [next(p.title for p in world.papers if f"Title: {p.title}" in s.prompt) for s in result.step.sessions[4:]]
    golds = {p.title for p in world.papers[:10]}
    scores = [1.0 if title in golds else score_of(world.seed, title) for title in titles]
    assert scores == [1.0, 1.0, 1.0]


def test_greedy_crawls_are_the_agents_own():
    """Nothing of the crawl is done twice: what an evaluation finds is what the agent finds."""
    world = World()
    asked = queries(world)
    settings = AgentSettings(search_papers=6, expand_papers=1000)  # all: answers come before others in rollouts
    made = rollouts(world, asked)
    found, _ = made.evaluate(asked, settings)
    found = list(found.values())
    made.close()
    with PaperAgent(world, world.scorer, world, world, settings) as agent:
        results = [agent.run(query.query) for query in asked]
    assert [record["papers"] for record in found] == [float(len(list(r.root.walk()))) for r in results]
    assert [r["actions"] for r in found] == [float(sum(len(s.outcomes) for s in result.sessions)) for result in results]
    golds = {title_key(p.title) for p in world.papers[:10]}
    recalls = [len(golds & {n.paper.title_key for n in result.root.walk()}) / len(golds) for result in results]
    assert [record["crawler_recall"] for record in found] == pytest.approx(recalls)


def test_the_source_paper_is_met_by_no_session():
    world = World()
    met = run(world).step
    paper = next(p for p in world.papers if any(p.key == s.paper_key for s in met.starts))
    hidden = run(world, queries(world, hidden_papers(paper.title, paper.arxiv_id))).step
    assert all(start.paper_key != paper.key for start in hidden.starts)
    assert all(f"Title: {paper.title}" not in session.prompt for session in hidden.sessions)


# -- bad days --------------------------------------------------------------------------------------------------------


def test_while_every_search_fails_there_are_no_sessions_and_it_is_told():
    world = World()
    world.failing_searches = None
    result = run(world)
    assert result.step.sessions == ()
    assert len(result.failures) == 4
    assert "no answer to" in result.failures[0]
    assert result.metrics["rollout/crawls_failed"] == 4


def test_a_session_whose_search_failed_is_not_learnt_from():
    world = World()
    whole = run(world).step
    broken = next(s for s in whole.sessions if s.query_id == "b" and s.kind == "search")
    failing = broken.reply[broken.actions[0].start : broken.actions[0].end].removeprefix("[Search] ")
    world.failing_searches = {failing}
    result = run(world)
    assert result.dropped == {"a search failed": 1}
    assert [s.query_id for s in result.step.sessions if s.kind == "search"] == ["a", "c", "d"]


def test_a_reference_or_a_score_that_failed_costs_the_sessions_that_depend_on_it():
    world = World()
    whole = run(world).step
    title = next(p.title for p in world.papers if p.key == whole.starts[0].paper_key)
    world.failing_scores = {title}
    result = run(world, queries(world)[1:])
    assert not any(start.paper_key == whole.starts[0].paper_key for start in result.step.starts)
    world.failing_scores = set()
    world.failing_references = {r.title for page in world.pages.values() for s in page or () for r in s.references}
    result = run(world)
    assert result.dropped["a cited paper could not be looked up"] > 0
    assert all(a.found == 0 for s in result.step.sessions if s.kind == "expand" for a in s.actions)


def test_a_result_that_could_not_be_looked_up_costs_its_search_session():
    world = World()
    world.failing_ids = {paper.arxiv_id for paper in world.papers if paper.arxiv_id}
    result = run(world)
    assert result.failed_calls["metadata"] > 0
    assert result.metrics["rollout/calls_failed"] == sum(result.failed_calls.values())
    kept = [session for session in result.step.sessions if session.kind == "search"]
    assert len(kept) + result.dropped["a search failed"] == len(QUESTIONS)
    assert result.dropped["a search failed"] > 0


def test_look_ups_lost_from_a_batch_cost_the_sessions_that_depend_on_them():
    """Sources count such as failures and tell of the papers as of unknown ones."""

    class Losing(World):
        losing = frozenset({"id", "reference"})
        lost = FailureCount()

        def papers_by_id(self, arxiv_ids):
            found = super().papers_by_id(arxiv_ids)
            if "id" not in self.losing:
                return found
            self.lost.add("requests", len(found))
            return {}

        def papers_by_reference(self, references):
            found = super().papers_by_reference(references)
            if "reference" not in self.losing:
                return found
            self.lost.add("requests", sum(paper is not None for paper in found))
            return [None] * len(found)

    world = Losing()
    world.losing = {"reference"}
    result = run(world)
    assert result.dropped["a cited paper could not be looked up"] > 0
    kept = [session for session in result.step.sessions if session.kind == "expand"]
    assert all(a.found == 0 for s in kept for a in s.actions)
    world = Losing()
    world.losing = {"id"}
    result = run(world)
    assert result.dropped["a search failed"] > 0
    assert result.failed_calls["metadata"] > 0
    world = Losing()
    world.losing = set()
    assert run(world).step == run(World()).step


def test_pages_and_replies_that_failed_are_counted():
    world = World()
    world.failing_pages = set(world.pages)
    assert run(world).failed_calls.keys() == {"page"}
    world = World()
    world.failing_replies = set(world.pages)
    result = run(world)
    assert result.failed_calls["crawler"] > 0
    assert {session.kind for session in result.step.sessions} == {"search"}


def test_a_score_that_is_no_number_costs_the_sessions_that_depend_on_it():
    world = World()
    score = world.scorer.score
    world.scorer.score = lambda requests: [float("nan") for _ in score(requests)]
    assert run(world).dropped["the Selector failed"] > 0


def test_a_policy_that_fails_is_told_and_a_bug_is_raised():
    world = World()
    world.failing_replies = None
    result = run(world)
    assert (len(result.failures), result.step.sessions) == (4, ())
    world.generate = lambda requests, sampling: 1 / 0
    with pytest.raises(ZeroDivisionError):
        run(world)


def test_replies_without_actions_are_sessions_that_earn_nothing():
    world = World()
    world.replies[""] = "let me think about it"
    result = run(world)
    assert [s.stop for s in result.step.sessions] == [StopReason.NO_ACTION] * 4
    assert all(s.actions == () for s in result.step.sessions)


# -- speed -----------------------------------------------------------------------------------------------------------


def test_prompts_go_longest_first_in_batches_and_searches_overlap_the_next_batch():
    world = World()
    under_way, seen = threading.Event(), []

    class Slow(Policy):
        def generate(self, requests, sampling):
            replies = super().generate(requests, sampling)
            time.sleep(0.05)
            seen.append(([len(r.prompt) for r in requests], under_way.is_set()))
            return replies

    search = world.search
    world.search = lambda *args: (under_way.set(), search(*args))[1]
    asked = queries(world)
    environment = make_environment(world, world, cuts_off=False)
    settings = RolloutSettings(generation_batch=2, rounds=0)
    made = Rollouts(environment, Slow(world), match_scorer(world.scorer, asked), settings, RewardSettings())
    made.step(asked, 1)
    made.close()
    assert [len(lengths) for lengths, _ in seen] == [2, 2]
    assert [searching for _, searching in seen] == [False, True]
    lengths = [length for lengths, _ in seen for length in lengths]
    assert lengths == sorted(lengths, reverse=True)


def test_pages_of_papers_found_are_fetched_while_the_next_round_is_written():
    world, asked = World(), queries(World())
    fetched: set[str] = set()
    sections = world.sections
    world.sections = lambda paper: (fetched.add(paper.title), sections(paper))[1]
    run(world, asked, rounds=0)
    of_searches, there_in_time = fetched.copy(), []

    class Patient(Policy):
        def generate(self, requests, sampling):
            ends = time.monotonic() + 5
            while requests[0].kind == "expand" and not fetched >= of_searches and time.monotonic() < ends:
                time.sleep(0.01)
            there_in_time.append(fetched >= of_searches)
            return super().generate(requests, sampling)

    fetched.clear()
    environment = make_environment(world, world, cuts_off=False)
    settings = RolloutSettings(search_papers=6, rounds=1)
    made = Rollouts(environment, Patient(world), match_scorer(world.scorer, asked), settings, RewardSettings())
    made.step(asked, 1)
    made.close()
    assert there_in_time == [False, True]


def test_a_step_fetches_each_page_once_and_none_that_nobody_needs():
    world, frugal = World(), World()
    run(world)
    run(frugal, valued_papers=0)
    assert frugal.calls["page"] < world.calls["page"] <= len(world.papers)


def test_only_pages_of_papers_that_are_drawn_or_valued_are_fetched():
    world = World()
    some_page = next(page for page in world.pages.values() if page)
    world.pages = {title: page or some_page for title, page in world.pages.items()}
    run(world, valued_papers=0, rounds=1, expand_sessions=6)
    assert world.calls["page"] <= 6


def test_the_reward_of_a_held_out_crawl_charges_what_was_written_in_vain_as_training_does():
    world, rewards = World(), RewardSettings(alpha=0.0, search_cost=0.25)
    world.replies[""] = render_actions("search", ["which agents a", "which agents a", "other agents"])
    [asked, *_] = queries(world)
    made = rollouts(world, [asked], rewards=rewards)
    found, _ = made.evaluate([asked], AgentSettings(expand_layers=0))
    trained = made.step([asked], 1).step
    made.close()
    assert found[asked.id]["actions"] == 2
    assert found[asked.id]["reward"] == pytest.approx(-0.75)
    assert sum(a.reward for s in trained.sessions if s.kind == "search" for a in s.actions) == pytest.approx(-0.75)


def test_an_agents_error_is_the_crawls_failure():
    world = World()
    world.failing_scores = None
    result = run(world, asked=[dataclasses.replace(q, golds=frozenset({"none"})) for q in queries(world)])
    assert result.step.sessions == ()
    assert all("no score" in line for line in result.failures)


def test_a_paper_that_was_scored_as_another_record_has_its_score_in_the_queue(monkeypatch):
    """Two engines know it, one of them without its id; which record is scored first is a matter of time."""
    made, [asked, *_] = rollouts(World(), queries(World())), queries(World())
    crawl = QueryCrawl(asked, made.environment, made._workers, AgentSettings(), lambda: None)
    crawl._hear(PaperScored(Paper("Ice"), 0.9, False))
    crawl.nodes = [Node(Paper("Ice", arxiv_id="2401.00001"), score=0.9)]
    assert crawl.record().scores["2401.00001"] == 0.9
    crawl.close()
    made.close()
