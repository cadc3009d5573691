"""Runs to export, with what metadata really holds: LaTeX, Unicode, formulas of spreadsheets, markup."""

from __future__ import annotations

from pasa.export.run_view import ExportedRun
from pasa.paper import Paper
from pasa.result_tree import CITED_BY, Node, RankedPaper, rank

HOSTILE = '=1+1</script><script>alert("x")</script> & 100% of $5 _under_ {brace \\ ~ ^ #1 | `tick` *star* [x](y)'
TITLES = (
    "$\\alpha$-Divergence for R\\&D at 5%: BERT and PaSa",
    "Poincar\\'e Embeddings for Learning Hierarchical Representations",
    HOSTILE,
    "大型语言模型综述",
)
AUTHORS = (
    ("Ludwig van Beethoven", "José Martínez Jr.", "Łukasz Kaiser"),
    ("The ATLAS Collaboration", "Smith, John", "Madonna"),
    ("Research and Development Team", 'Anna "Ann" O\'Neil & Sons', "=cmd|' /C calc'!A0"),
    ("李明",),
)


def a_paper(place: int) -> Paper:
    ids = ("2501.10120", "hep-th/9901001", None, "2304.00001")
    dates = ("2025-01-17", None, "1999", "2023-04")
    abstract = f"About {TITLES[place]}\nin two lines."
    return Paper(TITLES[place], abstract, ids[place], dates[place], AUTHORS[place], source="SearchFrom:arxiv")


def a_run() -> ExportedRun:
    """Two papers searched for, one cited by the first, one that cites it; all but the last selected."""
    first, second, cited, citing = (a_paper(place) for place in range(4))
    below = [Node(cited, 1, "Expand SearchFrom:arxiv", 0.8)]
    top = Node(
        first,
        0,
        "Search SearchFrom:arxiv",
        0.9,
        {"Related Work": below, CITED_BY: [Node(citing, 1, "Expand SearchFrom:arxiv", 0.2)]},
    )
    root = Node(
        Paper('which <b>papers</b> & "why"?'),
        -1,
        "Root",
        0.0,
        {"words & <more>": [top, Node(second, 0, "Search SearchFrom:arxiv", 0.7)]},
    )
    record = {"engine": "arxiv", "problems": {"page: no full text": 3}, "settings": {"expand_layers": 2}}
    return ExportedRun(root.paper.title, tuple(rank(root, 0.5)), root, record, "2025-02-01")


def ranked(*papers: Paper) -> list[RankedPaper]:
    return [RankedPaper(place, paper, 0.9, True, 0, ("q",)) for place, paper in enumerate(papers, 1)]
