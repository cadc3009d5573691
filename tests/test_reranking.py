"""The final scores may use who cites whom among the papers found."""

from pasa.config import AgentSettings
from pasa.reranking import Rerank, citations
from pasa.runtime import PaperAgent
from tests.world import World


def agent_with(world: World, rerank: Rerank | None) -> PaperAgent:
    return PaperAgent(world, world.scorer, world, world, AgentSettings(expand_layers=1), rerank=rerank)


def test_every_shown_citation_between_found_papers_is_handed_over_once():
    world = World(seed=3)
    handed_over: list[tuple[int, int]] = []

    def keep(scores, pairs):
        handed_over.extend(pairs)
        return list(scores)

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
    with agent_with(world, lambda scores, pairs: [1 - score for score in scores]) as agent:
        turned = agent.run("a question")
    assert [p.paper.key for p in turned.papers] != [p.paper.key for p in plain.papers]
    by_key = {p.paper.key: p.score for p in plain.papers}
    assert all(p.score == 1 - by_key[p.paper.key] for p in turned.papers)
    assert turned.stats.papers_selected == sum(p.score > 0.5 for p in turned.papers)


def test_no_session_shows_no_citation():
    assert citations([], []) == []
