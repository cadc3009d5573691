"""Crawlers beside each other on held-out queries: crawled as training evaluates, source papers hidden."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from pasa.evaluation.statistics import PairedTest, paired_test
from pasa.models.hf_loading import Dtype, load_checkpoint
from trl_ext.session_ppo.environment import Environment, open_environment
from trl_ext.session_ppo.generation import PolicyGenerator
from trl_ext.session_ppo.queries import TrainingQuery, read_training_queries, tell_unhidden
from trl_ext.session_ppo.rewards import MatchScorer, match_scorer
from trl_ext.session_ppo.rollouts import HELD_OUT, Rollouts
from trl_ext.session_ppo.run_settings import PpoRun
from trl_ext.session_ppo.training import selector_of

_DTYPES: dict[str, Dtype] = {"true": "bfloat16", "false": "float32", "auto": "auto"}
Records = dict[str, dict[str, float]]  # query id -> HELD_OUT


@dataclass(frozen=True)
class Difference:
    """One Crawler less another, by metric, on the queries that both could crawl."""

    queries: int
    tests: dict[str, PairedTest]


@dataclass(frozen=True)
class Comparison:
    """What each Crawler found, and how it differs from the first on the queries that both could crawl."""

    records: dict[str, Records]
    failed: dict[str, Counter[str]]  # calls, by what was asked

    def means(self) -> dict[str, dict[str, float]]:
        """Of each Crawler over its queries; {} where none could be crawled."""
        return {
            name: {metric: fmean(r[metric] for r in records.values()) for metric in HELD_OUT} if records else {}
            for name, records in self.records.items()
        }

    def differences(self) -> dict[str, Difference]:
        """Of each Crawler but the first: it less the first."""
        [(_, first), *others] = self.records.items()
        return {name: _difference(records, first) for name, records in others}


def _difference(ours: Records, theirs: Records) -> Difference:
    both = [query for query in ours if query in theirs]
    if not both:
        return Difference(0, {})
    tests = {m: paired_test([ours[q][m] for q in both], [theirs[q][m] for q in both]) for m in HELD_OUT}
    return Difference(len(both), tests)


def compare(
    run: PpoRun, crawlers: Mapping[str, str], tell: Callable[[str], None], keep: Callable[[Comparison], None]
) -> Comparison:
    """Crawls `run.run.queries` with each of `crawlers` (name -> checkpoint), one after the other; `keep` after each.

    Environment, Selector, rewards and the crawl (`eval_...`) are those of the run. Raises UserErrors.
    """
    comparison = Comparison({}, {})
    with open_environment(run.tools, run.rollouts.agent(), run.run.date_cut_off, run.run.call_budget) as environment:
        queries = read_training_queries(Path(run.run.queries), run.run.max_queries, environment.library)
        tell_unhidden(queries, environment.cuts_off, tell)
        judge = selector_of(run, environment) if run.rewards.selector_reward else None
        scorer = match_scorer(judge, queries)
        tell(f"environment: {environment.description}; matches: {scorer.name}; {len(queries)} queries")
        for name, path in crawlers.items():
            found, failed = _crawl(run, environment, scorer, queries, path, tell)
            comparison.records[name], comparison.failed[name] = found, failed
            keep(comparison)
            means = comparison.means()[name]
            told = ", ".join(f"{metric} {value:.3f}" for metric, value in means.items())
            tell(f"{name}: {told or 'no query could be crawled'}")
            if failed:
                tell(f"{name}: failed: {', '.join(f'{what} {times}' for what, times in sorted(failed.items()))}")
    return comparison


def _crawl(
    run: PpoRun,
    environment: Environment,
    scorer: MatchScorer,
    queries: Sequence[TrainingQuery],
    path: str,
    tell: Callable[[str], None],
) -> tuple[Records, Counter[str]]:
    """As many queries at once as make a batch of the model.

    With bf16 an adapter is added to bfloat16 weights, as run_paper_agent.py has it; training computes it beside them.
    """
    gc.collect()  # the Crawler before goes first: its threads and it hold each other
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    loaded = load_checkpoint(path, run.models.device, _DTYPES[run.run.bf16], run.models.attention)
    if loaded.prompt_limit < run.rollouts.longest_prompt:
        tell(f"{path} reads prompts of at most {loaded.prompt_limit} tokens, as it was trained on")
    writer = PolicyGenerator(loaded, run.rollouts.generation_batch, run.rollouts.max_prompt_tokens)
    rollouts = Rollouts(environment, writer, scorer, run.rollouts, run.rewards)
    found: Records = {}
    failed: Counter[str] = Counter()
    at_once = max(run.rollouts.generation_batch, run.rollouts.search_sessions)
    try:
        for at in range(0, len(queries), at_once):
            records, lost = rollouts.evaluate(queries[at : at + at_once], run.held_out_agent())
            found |= records
            failed += lost
    finally:
        rollouts.close()
    return found, failed
