"""The paper library: papers on disk, found by arXiv id, by title and by words."""

from pasa.library.build import BuildProgress, BuildReport, build_library
from pasa.library.library import Library, ScoredPaper

__all__ = ["BuildProgress", "BuildReport", "Library", "ScoredPaper", "build_library"]
