"""configs/agent_upstream.yaml gives what the public code gave in a frozen world (../shared/data/upstream_runs)."""

import gzip
import json
from pathlib import Path

import pytest

from pasa.config import load_settings
from pasa.models.base import Reply
from pasa.paper import Paper, sections_from_titles, title_key
from pasa.query import Query
from pasa.result_tree import Node
from pasa.runtime import PaperAgent
from pasa.tools.base import SearchHit

ROOT = Path(__file__).parents[1]
RUNS = ROOT.parent / "shared" / "data" / "upstream_runs"
pytestmark = pytest.mark.skipif(not RUNS.exists(), reason="../shared/data/upstream_runs is not here")


class Recorded:
    """The frozen world and the scripted models; notes every prompt it is asked."""

    name = "recorded"

    def __init__(self):
        recorded = json.loads(gzip.decompress((RUNS / "recorded.json.gz").read_bytes()))
        self.hits, self.replies, self.scores = recorded["search"], recorded["replies"], recorded["scores"]
        rows = [json.loads(line) for line in gzip.decompress((RUNS / "world.jsonl.gz").read_bytes()).splitlines()]
        papers = [
            Paper(
                r["title"],
                r["abstract"],
                r["arxiv_id"],
                sections=sections_from_titles(r["sections"]),
                source="SearchFrom:local_paper_db",
            )
            for r in rows
        ]
        self.by_id = {p.arxiv_id: p for p in papers}
        self.by_title = {p.title_key: p for p in papers}
        self.asked = set()

    def search(self, query, limit, end_date=None):
        return [SearchHit(arxiv_id=i) for i in self.hits[query][:limit]]

    def papers_by_id(self, arxiv_ids):
        return {i: self.by_id[i] for i in arxiv_ids if i in self.by_id}

    def sections(self, paper):
        return paper.sections

    def papers_by_reference(self, references):
        return [self.by_title.get(title_key(r.title)) for r in references]

    def generate(self, requests, sampling):
        self.asked.update(r.prompt for r in requests)
        return [Reply(self.replies[r.prompt]) for r in requests]

    def score(self, requests):
        self.asked.update(r.prompt for r in requests)
        return [self.scores[r.prompt] for r in requests]


def tree_facts(tree: dict) -> list[tuple]:
    """(title, id, depth, source, score, what its page gave) of every node, in any order."""
    facts, queue = [], [tree]
    while queue:
        node = queue.pop()
        for branch in node["child"].values():
            queue += branch
            facts += [
                (
                    n["title"],
                    n["arxiv_id"],
                    n["depth"],
                    n["source"],
                    n["select_score"],
                    n["extra"].get("expand"),
                    sorted(n["sections"]),
                )
                for n in branch
            ]
    return sorted(facts, key=str)


def parents(tree: dict) -> list[tuple]:
    """(parent title, branch, child titles in order) of the whole tree."""
    found, queue = [], [tree]
    while queue:
        node = queue.pop(0)
        for name, branch in node["child"].items():
            found.append((node["title"], name, [n["title"] for n in branch]))
            queue += branch
    return found


@pytest.fixture(scope="module")
def runs() -> tuple[Recorded, list[Node], list[dict]]:
    world = Recorded()
    settings = load_settings(ROOT / "configs" / "agent_upstream.yaml").agent
    questions = json.loads((RUNS / "questions.json").read_text())
    with PaperAgent(world, world, world, world, settings) as agent:
        roots = [agent.run(Query(q["question"], answer=tuple(q["answer"]))).root for q in questions]
    upstream = [json.loads((RUNS / "trees" / f"{i}.json").read_text()) for i in range(len(questions))]
    return world, roots, upstream


def test_same_papers_scores_depths_and_sources(runs):
    _, roots, upstream = runs
    for ours, theirs in zip(roots, upstream, strict=True):
        assert tree_facts(ours.to_dict()) == tree_facts(theirs)


def test_same_tree_branch_by_branch(runs):
    _, roots, upstream = runs
    for ours, theirs in zip(roots, upstream, strict=True):
        assert parents(ours.to_dict()) == parents(theirs)


def test_same_root_records(runs):
    _, roots, upstream = runs
    for ours, theirs in zip(roots, upstream, strict=True):
        for key in ("touch_ids", "crawler_recall_papers", "recall_papers"):
            assert sorted(ours.extra[key]) == sorted(theirs["extra"][key]), key
        assert ours.extra["answer"] == theirs["extra"]["answer"]


def test_same_prompts_to_the_letter(runs):
    world, _, _ = runs
    assert world.asked == world.replies.keys() | world.scores.keys()


def test_papers_settings_differ_from_the_public_code(runs):
    """The recorded runs would not come out the same under configs/agent.yaml, so the test above can fail."""
    world, _, _ = runs
    settings = load_settings(ROOT / "configs" / "agent.yaml").agent
    question = json.loads((RUNS / "questions.json").read_text())[0]["question"]
    with PaperAgent(world, world, world, world, settings) as agent, pytest.raises(KeyError):
        agent.run(question)
