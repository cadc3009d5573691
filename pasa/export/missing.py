"""The estimate of what a run missed, as exports and the command line tell it."""

from __future__ import annotations

from pasa.export.run_view import ExportedRun
from pasa.saturation import Estimate, Overlap, curve, describe, estimate, overlap


def estimate_missing(run: ExportedRun) -> tuple[Overlap, Estimate | None]:
    """How the run's selected papers were come by, and how many more there likely are; None where nothing tells."""
    seen = overlap(run.record, {ranked.paper.key for ranked in run.selected})
    return seen, estimate(seen)


def told_of_missing(run: ExportedRun) -> str:
    """The same in a sentence, without a capital and a full stop; "" where the run notes no ways or selected nothing."""
    return describe(*estimate_missing(run)) if run.record.ways and run.selected else ""


def discovery(run: ExportedRun) -> list[tuple[int, int]]:
    """(papers found so far, selected ones among them) after each way to papers, in the order of the run."""
    return curve(run.record, {ranked.paper.key for ranked in run.selected})
