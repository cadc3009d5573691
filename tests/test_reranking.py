"""The final scores may use all that the crawl found and who cites whom in it."""

import threading

from pasa.config import AgentSettings
from pasa.events import PaperScored
from pasa.models.base import FoundPapers
from pasa.paper import Paper
from pasa.reranking import Rerank, citations, found_papers
from pasa.result_tree import Node
from pasa.runtime import PaperAgent
from tests.world import World


def agent_with(world: World, rerank: Rerank | None) -> PaperAgent:
    return PaperAgent(world, world.scorer, world, world, AgentSettings(expand_layers=1), rerank=rerank)


def test_every_shown_citation_between_found_papers_is_handed_over_once():
    world = World(seed=3)
    handed_over: list[tuple[int, int]] = []

    def keep(found):
        handed_over.extend(found.citations)
        return list(found.scores)

    with agent_with(world, keep) as agent:
        result = agent.run("a question")
    nodes = list(result.root.walk())
    titles = [node.paper.title for node in nodes]
    expected = {
        (session.paper.title, paper.title)
        for session in result.sessions
        if session.paper
        for outcome in session.outcomes
        for paper in outcome.found
        if paper.title in titles and paper.title != session.paper.title
    }
    assert expected
    assert {(titles[a], titles[b]) for a, b in handed_over} == expected
    assert len(handed_over) == len(set(handed_over))


def test_new_scores_make_the_ranking():
    world = World(seed=3)
    with agent_with(world, None) as agent:
        plain = agent.run("a question")
    with agent_with(world, lambda found: [1 - score for score in found.scores]) as agent:
        turned = agent.run("a question")
    assert [p.paper.key for p in turned.papers] != [p.paper.key for p in plain.papers]
    by_key = {p.paper.key: p.score for p in plain.papers}
    assert all(p.score == 1 - by_key[p.paper.key] for p in turned.papers)
    assert turned.stats.papers_selected == sum(p.score > 0.5 for p in turned.papers)


def test_who_reranks_sees_the_question_every_paper_with_its_score_and_its_place_in_the_first_search():
    world = World(seed=3)
    seen = []

    def keep(found):
        seen.append(found)
        return list(found.scores)

    with agent_with(world, keep) as agent:
        result = agent.run("a question")
    [found] = seen
    nodes = list(result.root.walk())
    assert found.question == "a question"
    assert found.papers == tuple(node.paper for node in nodes)
    assert found.scores == tuple(node.score for node in nodes)
    hits = [paper.key for paper in result.sessions[0].outcomes[0].found]
    assert hits
    by_key = {paper.key: place for paper, place in zip(found.papers, found.hit_places, strict=True)}
    assert {key: place for key, place in by_key.items() if place is not None} == {k: i for i, k in enumerate(hits)}
    assert None in found.hit_places


def test_no_session_shows_no_citation_no_question_and_no_place():
    assert citations([], []) == []
    found = found_papers([Node(Paper("A title"), score=0.4)], [])
    assert found == FoundPapers("", (Paper("A title"),), (0.4,), (), (None,))


def test_a_run_goes_on_while_another_is_ranked():
    world = World(seed=3)
    is_ranked, other_went_on = threading.Event(), threading.Event()
    waited = []

    def slow(found):
        if not is_ranked.is_set():  # the first run to end
            is_ranked.set()
            waited.append(other_went_on.wait(20))
        return list(found.scores)

    with agent_with(world, slow) as agent:
        first = threading.Thread(target=agent.run, args=("a question",))
        first.start()
        assert is_ranked.wait(20)
        agent.run("another question", lambda event: other_went_on.set() if isinstance(event, PaperScored) else None)
        first.join()
    assert waited == [True]
