#!/usr/bin/env python
"""Wall time of one run against the same run made the way the public code makes it.

Both crawl the same synthetic world over real HTTP on loopback, where every answer takes 0.3-0.7 s, with scripted models
that answer at once; both must end in the same papers, scores and depths. The public code's way (bytedance/pasa,
2aaa6a9; PAPER.md): a thread per search query that asks arXiv for one paper after the other; pages in 20 threads, all
of them before the Crawler is asked; then 20 threads, each with 60 more, that ask for each cited title and then for its
paper, known or not. Its delay of 0.05 s between arXiv calls is left out, and neither side keeps to arXiv's one request
in 3 s, unless --polite, which slows ours alone: a second figure, to say what keeping the terms costs.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.actions import read_reply, render_actions
from pasa.config import AgentSettings
from pasa.models.base import CrawlRequest, SelectRequest
from pasa.models.scripted import ScriptedGenerator, ScriptedScorer
from pasa.paper import Paper, Reference, Section
from pasa.prompts import expand_request, search_request, select_request
from pasa.runtime import PaperAgent
from pasa.tools.arxiv import ArxivSource
from pasa.tools.base import PaperSource
from pasa.tools.http import HttpClient
from pasa.tools.http_pace import HostLimit
from pasa.tools.pages import HtmlSource
from pasa.tools.serper import SerperSearch
from pasa.tools.service_urls import http_settings
from tests.services import FakeServices

SERVICES = ("serper", "arxiv_api", "arxiv_html", "ar5iv")
LATENCY = (0.3, 0.7)  # seconds, each HTTP answer
QUESTION = "which papers study value-based methods for non-stationary reinforcement learning"
THREADS = 20  # upstream's --threads_num
REFERENCE_THREADS = 3 * THREADS  # upstream's, for each paper
SEARCH_QUERIES, SEARCH_PAPERS, EXPAND_PAPERS, EXPAND_LAYERS = 5, 10, 20, 2
UNLIMITED = HostLimit(min_interval_seconds=0.0, max_connections=256)
TOPICS = ("bandit", "policy", "reward", "planning", "memory", "retrieval", "exploration", "transfer")


def make_world(papers: int, seed: int) -> list[Paper]:
    """Papers of eight topics; each has three sections that cite twelve others each."""
    draw = random.Random(seed)
    titles = [f"{TOPICS[n % len(TOPICS)]} study number {_letters(n)}" for n in range(papers)]
    world = []
    for n, title in enumerate(titles):
        names = ("Introduction", "Related Work", "Experiments")
        cited = {name: draw.sample([t for t in titles if t != title], 12) for name in names}
        sections = tuple(Section(name, tuple(Reference(t) for t in cited[name])) for name in names)
        abstract = f"About {title}, and {TOPICS[draw.randrange(len(TOPICS))]}."
        world.append(Paper(title, abstract, f"2301.{n:05d}", "2023-01-15", sections=sections))
    return world


def _letters(n: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in f"{n:04d}")


def reply_to(request: CrawlRequest, sampling: Any = None) -> str:
    """The scripted Crawler: one query a topic; the sections that review others' work."""
    if request.kind == "search":
        return render_actions("search", [f"{topic} study" for topic in TOPICS[:SEARCH_QUERIES]])
    return render_actions("expand", [name for name in request.section_names if name != "Experiments"])


def score_of(request: SelectRequest) -> float:
    """The scripted Selector: a fixed number for each title."""
    return random.Random(request.title).random()


# -- ours ------------------------------------------------------------------------------------------------------------


def run_ours(services: FakeServices, polite: bool) -> dict[str, tuple[float, int]]:
    """(score, depth) of each paper that our runtime finds."""
    limits = {} if polite else dict.fromkeys(SERVICES, UNLIMITED)
    settings = AgentSettings(EXPAND_LAYERS, SEARCH_QUERIES, SEARCH_PAPERS, EXPAND_PAPERS, threads_num=THREADS)
    with HttpClient(http_settings(services.urls, limits, pool_size=256)) as client:
        arxiv = ArxivSource(client, services.urls.arxiv_api)
        source: PaperSource = HtmlSource(client, arxiv, services.urls.arxiv_html, services.urls.ar5iv)
        engine = SerperSearch(client, services.serper_key, services.urls.serper)
        models = ScriptedGenerator(reply_to), ScriptedScorer(score_of)
        with PaperAgent(*models, engine, source, settings, look_ups_at_once=1 if polite else 8) as agent:
            root = agent.run(QUESTION).root
    return {node.paper.arxiv_id or "": (node.score, node.depth) for node in root.walk()}


# -- the public code's way -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Met:
    """A paper in the public way's queue."""

    paper: Paper
    score: float
    depth: int


class PublicWay:
    """The same crawl with the public code's calls and threads."""

    def __init__(self, client: HttpClient, services: FakeServices) -> None:
        self._engine = SerperSearch(client, services.serper_key, services.urls.serper)
        self._arxiv = ArxivSource(client, services.urls.arxiv_api)
        # ar5iv alone; arxiv.org/html came later than the public code
        self._pages = HtmlSource(client, self._arxiv, services.urls.ar5iv, services.urls.ar5iv)
        self._lock = threading.Lock()
        self._touched: set[str] = set()
        self.queue: list[Met] = []

    def run(self) -> None:
        request = search_request(QUESTION)
        queries = [a.argument for a in read_reply(reply_to(request), "search").moves]
        in_threads(self._search, queries, len(queries))
        start = 0
        for depth in range(EXPAND_LAYERS):
            layer = sorted(self.queue[start:], key=lambda met: -met.score)
            start = len(self.queue)
            self._expand(layer if depth == 0 else layer[:EXPAND_PAPERS], depth)

    def _search(self, query: str) -> None:
        for hit in self._engine.search(query, SEARCH_PAPERS):
            if hit.arxiv_id and self._touch(hit.arxiv_id):
                paper = self._arxiv.papers_by_id([hit.arxiv_id])[hit.arxiv_id]
                self._append(paper, 0)

    def _expand(self, layer: Sequence[Met], depth: int) -> None:
        pages: dict[int, tuple[Section, ...]] = {}

        def fetch(place: int) -> None:
            if sections := self._pages.sections(layer[place].paper):
                pages[place] = sections

        in_threads(fetch, range(len(layer)), THREADS)
        chosen = []
        for place in sorted(pages):
            paper, sections = layer[place].paper, {s.name: s for s in pages[place]}
            reply = reply_to(expand_request(QUESTION, paper.title, paper.abstract, list(sections)))
            moves = read_reply(reply, "expand", section_names=list(sections)).moves
            chosen.append([reference.title for move in moves for reference in sections[move.argument].references])
        in_threads(
            lambda titles: in_threads(lambda t: self._cited(t, depth + 1), titles, REFERENCE_THREADS), chosen, THREADS
        )

    def _cited(self, title: str, depth: int) -> None:
        [named] = self._arxiv.papers_by_title([title])  # one call: title -> id
        if named is None or named.arxiv_id is None:
            return
        paper = self._arxiv.papers_by_id([named.arxiv_id])[named.arxiv_id]  # another: id -> paper
        if self._touch(named.arxiv_id):
            self._append(paper, depth)

    def _touch(self, arxiv_id: str) -> bool:
        with self._lock:
            new = arxiv_id not in self._touched
            self._touched.add(arxiv_id)
            return new

    def _append(self, paper: Paper, depth: int) -> None:
        met = Met(paper, score_of(select_request(QUESTION, paper.title, paper.abstract)), depth)
        with self._lock:
            self.queue.append(met)


def in_threads(do: Callable[[Any], None], items: Sequence[Any], threads: int) -> None:
    """Does all items, each thread taking the next one until none is left."""
    waiting, lock, failures = list(items), threading.Lock(), []

    def work() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                item = waiting.pop(0)
            try:
                do(item)
            except Exception as error:  # noqa: BLE001 - told after the join
                failures.append(error)

    crew = [threading.Thread(target=work) for _ in range(min(threads, len(waiting)))]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    if failures:
        raise failures[0]


def run_public_way(services: FakeServices) -> dict[str, tuple[float, int]]:
    """(score, depth) of each paper that the public code's way finds."""
    limits = dict.fromkeys(SERVICES, UNLIMITED)
    with HttpClient(http_settings(services.urls, limits, pool_size=256)) as client:
        way = PublicWay(client, services)
        way.run()
    return {met.paper.arxiv_id or "": (met.score, met.depth) for met in way.queue}


# -- the comparison --------------------------------------------------------------------------------------------------


Found = dict[str, tuple[float, int]]  # arXiv id -> (score, depth)
Timed = tuple[float, int, Found]  # seconds, HTTP requests, papers


def timed(run: Callable[[FakeServices], Found], world: list[Paper]) -> Timed:
    """One run against fresh services."""
    delays = dict.fromkeys(SERVICES, LATENCY)
    with FakeServices(world, delays) as services:
        start = time.perf_counter()
        papers = run(services)
        return time.perf_counter() - start, len(services.received), papers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="of each, in turn (3)")
    parser.add_argument("--papers", type=int, default=400, help="in the world (400)")
    parser.add_argument("--polite", action="store_true", help="ours also under arXiv's terms, once")
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    world = make_world(args.papers, seed=0)
    ours: list[Timed] = []
    public: list[Timed] = []
    for _ in range(args.runs):
        ours.append(timed(lambda s: run_ours(s, polite=False), world))
        public.append(timed(run_public_way, world))
        for name, (seconds, requests, _) in (("ours", ours[-1]), ("public way", public[-1])):
            print(f"{name:10} {seconds:5.1f} s, {requests} requests")
    same = all(o[2] == p[2] for o, p in zip(ours, public, strict=True))
    ratios = [p[0] / o[0] for o, p in zip(ours, public, strict=True)]
    report: dict[str, float | bool] = {
        "ours_seconds": statistics.median(o[0] for o in ours),
        "public_way_seconds": statistics.median(p[0] for p in public),
        "ratio_median": statistics.median(ratios),
        "ours_requests": ours[0][1],
        "public_way_requests": public[0][1],
        "papers": len(ours[0][2]),
        "same_papers_scores_depths": same,
    }
    if args.polite:
        report["ours_polite_seconds"] = timed(lambda s: run_ours(s, polite=True), world)[0]
    for name, value in report.items():
        print(f"{name:28} {value:.2f}" if isinstance(value, float) else f"{name:28} {value}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=2))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
