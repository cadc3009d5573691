"""A run's events and papers as the page reads them: plain data, nothing in it but what a run found and did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pasa.events import (
    ActionsTaken,
    Event,
    LayerDone,
    LayerStarted,
    PaperScored,
    PapersFound,
    Problem,
    RunDone,
    RunResult,
    SessionDone,
)
from pasa.export.evidence import evidence
from pasa.export.run_view import of_result
from pasa.paper import Paper
from pasa.result_tree import CITED_BY, SEED_BRANCH, Node, RankedPaper, rank

AUTHORS_TOLD = 8  # of a paper in a live event
DETAIL_CHARACTERS = 400  # of a problem's detail
PROBLEMS_TOLD = 200  # of one run; all are counted in its totals
UNFILED_BRANCH = "Scored when the search ended"  # child key of papers whose layer was not complete by then

Told = dict[str, Any]


class RunTeller:
    """Turns the events of one run into what the page is told of them and into the papers to keep."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}  # title -> key, of every paper scored
        self._scored: dict[str, PaperScored] = {}  # key -> its event
        self._branches: set[tuple[str, str]] = set()  # (parent's key, name) told so far
        self._problems = 0

    def tell(self, event: Event) -> tuple[list[Told], list[Told]]:
        """(events for the page, papers to keep under their keys) of one event."""
        match event:
            case LayerStarted(layer=layer, papers=papers, run=run):
                return [{"type": "layer", "layer": layer, "papers": papers, "run": run}], []
            case LayerDone(layer=layer, new_papers=new, run=run):
                return [{"type": "layer_done", "layer": layer, "new": new, "run": run}], []
            case ActionsTaken(layer=layer, title=title, arguments=arguments):
                told = {"type": "actions", "layer": layer, "title": title, "key": self._keys.get(title, "")}
                return [{**told, "arguments": list(arguments)}], []
            case PapersFound():
                return [self._found(event)], []
            case PaperScored():
                return self._score(event)
            case Problem():
                return self._problem(event), []
            case SessionDone(session=session):
                parent = self._keys.get(session.paper.title, session.paper.key) if session.paper else ""
                branches = [(o.action.argument, [p.key for p in o.new]) for o in session.outcomes]
                return [self._branch(parent, name, session.layer, keys) for name, keys in branches], []
            case RunDone(result=result):
                return self._missing_branches(result.root), self._ranked(result)

    def _found(self, event: PapersFound) -> Told:
        """Papers without a score yet: their keys, and titles for those who watch."""
        parent = self._keys.get(event.parent, "")
        told = {"type": "found", "count": event.count, "by": event.by, "parent": parent}
        return {**told, "papers": [[paper.key, paper.title] for paper in event.papers]}

    def _score(self, event: PaperScored) -> tuple[list[Told], list[Told]]:
        kept = paper_json(event.paper, event.score, event.selected)
        reason = getattr(event.score, "reason", "")
        if reason:
            kept["reason"] = reason
        self._keys[event.paper.title] = kept["key"]
        self._scored[kept["key"]] = event
        told = {name: kept[name] for name in ("key", "title", "arxiv_id", "date", "score", "selected")}
        return [{"type": "paper", **told, "authors": kept["authors"][:AUTHORS_TOLD]}], [kept]

    def _problem(self, event: Problem) -> list[Told]:
        self._problems += 1
        if self._problems > PROBLEMS_TOLD:
            return []
        return [{"type": "problem", "reason": event.reason, "detail": event.detail[:DETAIL_CHARACTERS]}]

    def _branch(self, parent: str, name: str, layer: int, keys: Sequence[str]) -> Told:
        self._branches.add((parent, name))
        return {"type": "branch", "parent": parent, "name": name, "layer": layer, "papers": list(keys)}

    def _missing_branches(self, root: Node) -> list[Told]:
        """Branches of the finished tree that no session told: seeds, citing papers."""
        told = []
        for node in (root, *root.walk()):
            parent = "" if node is root else node.paper.key
            for name, kids in node.children.items():
                if (parent, name) not in self._branches and kids:
                    told.append(self._branch(parent, name, node.depth + 1, [kid.paper.key for kid in kids]))
        return told

    def _ranked(self, result: RunResult) -> list[Told]:
        told = evidence(of_result(result, {}))
        return [ranked_json(one) | {"evidence": told.get(one.paper.key, "")} for one in result.papers]

    def with_unfiled(self, result: RunResult, threshold: float) -> RunResult:
        """The result of a run that was ended early, with the papers that had a score but no place yet."""
        titles = {node.paper.title_key for node in result.root.walk()}
        loose = [one for one in self._scored.values() if one.paper.title_key not in titles]
        if not loose:
            return result
        nodes = [Node(one.paper, 0, f"Search {one.paper.source}".strip(), float(one.score)) for one in loose]
        for one, node in zip(loose, nodes, strict=True):
            if reason := getattr(one.score, "reason", ""):
                node.extra["reason"] = reason
        result.root.children.setdefault(UNFILED_BRANCH, []).extend(nodes)
        return replace(result, papers=rank(result.root, threshold))


def paper_json(paper: Paper, score: float, selected: bool) -> Told:
    """What is kept of a paper that has a score."""
    return {
        "key": paper.key,
        "title": paper.title,
        "abstract": paper.abstract,
        "arxiv_id": paper.arxiv_id,
        "date": paper.date,
        "authors": list(paper.authors),
        "source": paper.source.removeprefix("SearchFrom:"),
        "score": round(float(score), 4),
        "selected": selected,
    }


def ranked_json(paper: RankedPaper) -> Told:
    """What is kept of a paper of the final ranking: with its place, and the way the crawl came to it."""
    return {
        **paper_json(paper.paper, paper.score, paper.selected),
        "rank": paper.rank,
        "depth": paper.depth,
        "path": list(paper.path),
        **({"reason": paper.reason} if paper.reason else {}),
        "way": way_of(paper.path),
    }


def way_of(path: Sequence[str]) -> str:
    """How the crawl came to a paper: "search", "seed", "citation" (a section cites it), "cited_by" (it cites one).

    "unfiled" where the run was ended before it was known.
    """
    if path == (UNFILED_BRANCH,):
        return "unfiled"
    if len(path) > 1:
        return "cited_by" if path[-1] == CITED_BY else "citation"
    return "seed" if path and path[0].startswith(SEED_BRANCH) else "search"


def partial_tree(question: str, papers: Sequence[Mapping[str, Any]], branches: Sequence[Mapping[str, Any]]) -> Told:
    """The result tree, in upstream's form, of a run that never came to its end: what its events say of it.

    Papers that were scored but not filed yet hang under the question itself.
    """
    nodes = {paper["key"]: _node(paper) for paper in papers}
    root: Told = {**_node({"title": question}), "depth": -1, "source": "Root"}
    hung: set[str] = set()
    for branch in branches:
        parent = nodes.get(branch["parent"]) if branch["parent"] else root
        if parent is None:
            continue
        for key in branch["papers"]:
            if key in nodes and key not in hung:
                hung.add(key)
                nodes[key]["depth"] = parent["depth"] + 1
                nodes[key]["source"] = "Expand" if branch["parent"] else "Search"
                parent["child"].setdefault(branch["name"], []).append(nodes[key])
    loose = [node for key, node in nodes.items() if key not in hung]
    for node in loose:
        root["child"].setdefault(question, []).append({**node, "depth": 0, "source": "Search"})
    root["extra"]["papers"] = {
        paper["key"]: {"authors": list(paper["authors"]), "date": paper["date"]} for paper in papers
    }
    return root


def _node(paper: Mapping[str, Any]) -> Told:
    return {
        "title": paper["title"],
        "arxiv_id": paper.get("arxiv_id") or "",
        "depth": 0,
        "child": {},
        "abstract": paper.get("abstract", ""),
        "sections": "",
        "source": "",
        "select_score": paper.get("score", 0.0),
        "extra": {"reason": paper["reason"]} if paper.get("reason") else {},
    }
