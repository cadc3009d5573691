"""What a model in training is worth: the Selector's decisions, the Crawler's actions and what its queries find."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pasa.actions import StopReason, read_reply
from pasa.errors import ConfigError
from pasa.evaluation.selector_pairs import pair_of
from pasa.models.base import CrawlRequest, Generator, Sampling, SelectRequest
from pasa.paper import Paper, title_key
from pasa.query import Query
from trl_ext.sft_data import SftRow

SELECT_THRESHOLD = 0.5  # PAPER.md: a paper is selected above it
CURVE_THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
# Of the fit that turns a gain into a score.
RIDGE = 0.01
NEWTON_STEPS = 20

_SECTIONS = "Sections: "
_USER_QUERY = "User Query: "
_QUERY_IN_EXPAND = ("research on `", "`. You need")
# query, most papers, end date -> papers
Search = Callable[[str, int, dt.date | None], Sequence[Paper]]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Precision, recall and F1 of "selected = scored above `threshold`"."""

    threshold: float
    precision: float
    recall: float
    f1: float


def curve_point(scores: Sequence[float], is_answer: Sequence[bool], threshold: float) -> CurvePoint:
    """One point of the curve; precision is 0 where nothing is selected, recall 0 where nothing is an answer."""
    selected = [score > threshold for score in scores]
    hits = sum(s and a for s, a in zip(selected, is_answer, strict=True))
    precision = hits / sum(selected) if any(selected) else 0.0
    recall = hits / sum(is_answer) if any(is_answer) else 0.0
    return CurvePoint(threshold, precision, recall, 2 * precision * recall / (precision + recall) if hits else 0.0)


def area_under_roc(scores: Sequence[float], is_answer: Sequence[bool]) -> float:
    """How often an answer is scored above another paper, ties as half; .5 where one kind is missing."""
    order = sorted(range(len(scores)), key=lambda i: scores[i])
    answers = sum(is_answer)
    others = len(scores) - answers
    if not answers or not others:
        return 0.5
    rank_sum, i = 0.0, 0
    while i < len(order):
        tied = i
        while tied < len(order) and scores[order[tied]] == scores[order[i]]:
            tied += 1
        rank = (i + 1 + tied) / 2  # mean of the ranks i + 1 .. tied
        rank_sum += rank * sum(is_answer[j] for j in order[i:tied])
        i = tied
    return (rank_sum - answers * (answers + 1) / 2) / (answers * others)


def select_requests(rows: Sequence[SftRow], as_chat: bool) -> list[SelectRequest]:
    """What the Scorer is asked; the query is left empty, so that each prompt stands for itself."""
    return [SelectRequest("", "", row.abstract, row.prompt, as_chat) for row in rows]


def pair_requests(rows: Sequence[SftRow]) -> list[SelectRequest]:
    """The same with query and title, for a Scorer that reads those and no prompt. Raises ConfigError."""
    requests = []
    for row in rows:
        pair = pair_of(row.prompt, row.reply)
        if pair is None:
            raise ConfigError(f"objective likelihood: no query and paper in {row.prompt[:60]!r}")
        requests.append(SelectRequest(pair.query, pair.title, pair.abstract, row.prompt))
    return requests


def logistic_fit(values: Sequence[float], is_answer: Sequence[bool], ridge: float = RIDGE) -> tuple[float, float]:
    """(slope, offset) of the p = 1 / (1 + exp(-(slope * value + offset))) that makes the answers most likely.

    Newton's method; `ridge` times half the slope's square is added to the loss, so that separable data have an end.
    """
    slope, offset = 0.0, 0.0
    for _ in range(NEWTON_STEPS):
        chances = [1 / (1 + math.exp(-max(-30.0, min(30.0, slope * value + offset)))) for value in values]
        errors = [p - a for p, a in zip(chances, is_answer, strict=True)]
        weights = [p * (1 - p) for p in chances]
        by_slope = sum(e * v for e, v in zip(errors, values, strict=True)) + ridge * slope
        by_offset = sum(errors)
        ss = sum(w * v * v for w, v in zip(weights, values, strict=True)) + ridge
        so = sum(w * v for w, v in zip(weights, values, strict=True))
        oo = sum(weights) + ridge
        determinant = ss * oo - so * so
        slope -= (oo * by_slope - so * by_offset) / determinant
        offset -= (ss * by_offset - so * by_slope) / determinant
    return slope, offset


def selector_metrics(scores: Sequence[float], rows: Sequence[SftRow]) -> dict[str, Any]:
    """Precision, recall, F1 at .5, the area under the ROC curve, the best F1 and its threshold, and the curve."""
    is_answer = [row.is_answer for row in rows]
    curve = [curve_point(scores, is_answer, threshold) for threshold in CURVE_THRESHOLDS]
    at_half = curve_point(scores, is_answer, SELECT_THRESHOLD)
    best = max(curve, key=lambda point: point.f1)
    return {
        "precision": at_half.precision,
        "recall": at_half.recall,
        "f1": at_half.f1,
        "auc": area_under_roc(scores, is_answer),
        "best_f1": best.f1,
        "best_threshold": best.threshold,
        "answers": sum(is_answer),
        "pairs": len(rows),
        "curve": [[p.threshold, round(p.precision, 4), round(p.recall, 4), round(p.f1, 4)] for p in curve],
    }


def crawl_request(row: SftRow) -> CrawlRequest:
    """The request that a row's prompt was rendered from (pasa/prompts.py)."""
    if row.kind == "search":
        query = row.prompt.rsplit(_USER_QUERY, 1)[-1].strip()
        return CrawlRequest("search", query, row.prompt)
    before, after = _QUERY_IN_EXPAND
    query = row.prompt.split(before, 1)[-1].split(after, 1)[0]
    return CrawlRequest("expand", query, row.prompt, "", row.abstract, _section_names(row.prompt))


def _section_names(prompt: str) -> tuple[str, ...]:
    try:
        names = json.loads(prompt.rsplit(_SECTIONS, 1)[-1])
    except ValueError:
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


@dataclass(frozen=True)
class GoldSearch:
    """Where queries are searched, and the questions whose answers are looked for."""

    search: Search
    questions: Mapping[str, Query]  # by text
    papers: int  # results taken of each query

    def recall(self, question: str, queries: Sequence[str]) -> float | None:
        """The share of the question's golds among the results of `queries`; None where none are known.

        Only papers of before the question's end date are searched; a gold is found by its title's letters.
        """
        known = self.questions.get(question)
        golds = {title_key(title) for title in known.answer or ()} if known else set()
        if known is None or not golds:
            return None
        found = {paper.title_key for query in queries for paper in self.search(query, self.papers, known.end_date)}
        return len(golds & found) / len(golds)


def crawler_metrics(
    generator: Generator, rows: Sequence[SftRow], max_new_tokens: int, golds: GoldSearch | None = None
) -> dict[str, Any]:
    """How the model's greedy replies do.

    valid: replies that are actions, each of the session's kind, no section that the paper lacks, nothing repeated, no
    other text, and then the stop; section_f1: of the sections chosen against the row's, over expand sessions;
    gold_recall: golds among the results of the queries of a search session, where questions are known.
    """
    requests = [crawl_request(row) for row in rows]
    replies = generator.generate(requests, Sampling(max_new_tokens=max_new_tokens)) if rows else []
    valid: list[bool] = []
    section_f1: list[float] = []
    recalls: list[float] = []
    actions = 0
    for row, request, reply in zip(rows, requests, replies, strict=True):
        parsed = read_reply(reply.text, request.kind, None, request.section_names, reply.finish_reason)
        valid.append(not parsed.problems and parsed.stop is StopReason.STOPPED)
        arguments = [action.argument for action in parsed.moves]
        actions += len(arguments)
        if request.kind == "expand":
            wanted = read_reply(row.reply, "expand", None, request.section_names)
            section_f1.append(_set_f1(set(arguments), {action.argument for action in wanted.moves}))
        elif golds and (recall := golds.recall(request.query, arguments)) is not None:
            recalls.append(recall)
    metrics: dict[str, Any] = {"valid": _mean(valid), "actions": actions / max(1, len(rows)), "sessions": len(rows)}
    if section_f1:
        metrics["section_f1"] = _mean(section_f1)
    if recalls:
        metrics["gold_recall"] = _mean(recalls)
        metrics["gold_questions"] = len(recalls)
    return metrics


def _set_f1(chosen: set[str], wanted: set[str]) -> float:
    """1 where both are empty: to choose nothing was right."""
    if not chosen and not wanted:
        return 1.0
    return 2 * len(chosen & wanted) / (len(chosen) + len(wanted))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The entries that are single numbers: what a tracker draws and a best checkpoint is chosen by."""
    return {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
