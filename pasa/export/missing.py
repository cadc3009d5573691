"""The estimate of what a run missed, as exports and the command line tell it."""

from __future__ import annotations

from pasa.export.run_view import ExportedRun
from pasa.saturation import BEST, Estimate, Overlap, curve, describe, estimate, overlap


def estimate_missing(run: ExportedRun) -> tuple[Overlap, Estimate | None]:
    """How the run's best papers were come by, and what share was found; None where nothing tells."""
    best = overlap(run.record, {ranked.paper.key for ranked in run.papers[:BEST]})
    return best, estimate(best)


def told_of_missing(run: ExportedRun) -> str:
    """The same in a sentence, without a capital and a full stop; "" where the run notes no ways or selected nothing."""
    if not run.record.ways or not run.selected:
        return ""
    return describe(*estimate_missing(run), len(run.selected))


def discovery(run: ExportedRun) -> list[tuple[int, int]]:
    """(papers found so far, selected ones among them) after each way to papers, in the order of the run."""
    return curve(run.record, {ranked.paper.key for ranked in run.selected})
