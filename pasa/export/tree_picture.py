"""The crawl as a picture: a row for each search and each paper read, with a dot for every paper it led to.

An element tree of SVG, so that no title can end up as markup; colours are classes of PICTURE_STYLE, so that a page
may forbid inline styles. The same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from pasa.export.run_view import ExportedRun
from pasa.export.tex_text import one_line, readable
from pasa.result_tree import SEED_BRANCH, Node

WIDTH = 720  # user units; a phone scrolls it sideways
EDGE, INDENT = 12, 22
FONT_SIZE, LETTER_WIDTH = 13, 7.0  # mean advance of a sans-serif letter of that size, on the generous side
TEXT_ROW, DOT_ROW, ROW_GAP = 18, 12, 8
DOT, SELECTED_DOT, DOT_STEP = 3.2, 5.0, 12
DOT_LEFT = 16  # from where the row's text begins; left of it runs the line to the rows below
OTHERS_SHOWN = 110  # dots of papers not selected in one row; the others are a number
ROWS_SHOWN = 70  # rows; papers read that led to nothing selected go first where there are more

PICTURE_STYLE = """
.crawl { display: block; width: 100%; min-width: 34rem; height: auto; }
.crawl text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink); }
.crawl .count { fill: var(--faint); font-size: 12px; }
.crawl .root { font-weight: 600; }
.crawl .edge { fill: none; stroke: var(--rule); stroke-width: 1.5; }
.crawl .chosen { fill: var(--c0); }
.crawl .other { fill: none; stroke: var(--faint); stroke-width: 1; opacity: 0.75; }
.crawl a:focus-visible circle, .crawl a:hover circle { stroke: var(--ink); stroke-width: 2; }
"""


@dataclass(frozen=True, slots=True)
class _Row:
    """A search, seed or paper read, and what it led to."""

    label: str
    depth: int  # 1 = right of the question
    led_to: tuple[Node, ...]


def crawl_svg(run: ExportedRun) -> ET.Element:
    """The picture; dots of selected papers link to `#pRANK`."""
    ranks = {ranked.paper.key: ranked.rank for ranked in run.papers if ranked.selected}
    rows, left_out = _shown(list(_rows(run.root)), ranks)
    svg = ET.Element("svg", {"class": "crawl", "role": "group", "aria-label": describe(run)})
    edges = ET.SubElement(svg, "g", {"aria-hidden": "true"})
    top: float = EDGE + FONT_SIZE
    _text(svg, EDGE, top, _cut(run.question, WIDTH - 2 * EDGE), "root")
    top += ROW_GAP
    parents: dict[int, float] = {0: top}
    for row in rows:
        x = EDGE + row.depth * INDENT
        y = top + TEXT_ROW
        above = parents.get(row.depth - 1, top)
        ET.SubElement(edges, "path", {"class": "edge", "d": f"M{x - INDENT + 4} {above}V{y - 5}H{x - 4}"})
        top = _draw_row(svg, row, ranks, x, y)
        parents = {depth: at for depth, at in parents.items() if depth < row.depth} | {row.depth: y + 4}
    if left_out:
        top += TEXT_ROW
        words = "paper read is" if left_out == 1 else "papers read are"
        _text(svg, EDGE + INDENT, top, f"{left_out} more {words} not drawn: nothing they led to was selected.", "count")
    svg.set("viewBox", f"0 0 {WIDTH} {top + EDGE:g}")
    return svg


def describe(run: ExportedRun) -> str:
    """The picture in a sentence."""
    searches = len(run.root.children)
    read = sum(bool(node.children) for node in run.root.walk())
    return (
        f"The crawl: {searches} {'search' if searches == 1 else 'searches'}, {read} papers that led to others, "
        f"{len(run.papers)} papers found, {len(run.selected)} selected."
    )


def _rows(root: Node) -> Iterator[_Row]:
    for branch, kids in root.children.items():
        name = branch.removeprefix(SEED_BRANCH)
        yield _Row(f"seed: {name}" if branch.startswith(SEED_BRANCH) else f"search: {name}", 1, tuple(kids))
        for kid in kids:
            yield from _below(kid, 2)


def _below(node: Node, depth: int) -> Iterator[_Row]:
    """The row of a paper that was read, then those of the papers it led to."""
    led_to = tuple(kid for kids in node.children.values() for kid in kids)
    if led_to:
        sections = ", ".join(node.children)
        yield _Row(f"{readable(node.paper.title)} → {sections}", depth, led_to)
        for kid in led_to:
            yield from _below(kid, depth + 1)


def _shown(rows: list[_Row], ranks: Mapping[str, int]) -> tuple[list[_Row], int]:
    """The rows to draw, and how many are left out: of papers read, those that nothing selected hangs below."""
    if len(rows) <= ROWS_SHOWN:
        return rows, 0
    needed: set[int] = set()
    for at, row in enumerate(rows):
        if row.depth == 1 or any(node.paper.key in ranks for node in row.led_to):
            depth = row.depth + 1
            for above in range(at, -1, -1):  # with the rows it hangs from
                if rows[above].depth < depth:
                    needed.add(above)
                    depth = rows[above].depth
    kept = sorted(needed)
    return [rows[at] for at in kept], len(rows) - len(kept)


def _draw_row(svg: ET.Element, row: _Row, ranks: Mapping[str, int], x: float, y: float) -> float:
    """Draws label and dots; the lowest y they reach."""
    chosen = [node for node in row.led_to if node.paper.key in ranks]
    others = sorted((n for n in row.led_to if n.paper.key not in ranks), key=lambda n: -n.score)
    count = f"{len(row.led_to)} new, {len(chosen)} selected"
    room = WIDTH - EDGE - x - len(count) * LETTER_WIDTH
    _text(svg, x, y, _cut(row.label, room), "")
    _text(svg, WIDTH - EDGE, y, count, "count", anchor="end")
    chosen.sort(key=lambda node: ranks[node.paper.key])
    dots = [*chosen, *others[:OTHERS_SHOWN]]
    per_line = max(1, int((WIDTH - EDGE - x - DOT_LEFT - 4 * LETTER_WIDTH) // DOT_STEP))
    group = ET.SubElement(svg, "g", {"aria-hidden": "true"})
    at = 0
    for at, node in enumerate(dots):
        _dot(svg, group, node, ranks, x + DOT_LEFT + at % per_line * DOT_STEP, y + DOT_ROW + at // per_line * DOT_ROW)
    bottom = y + (DOT_ROW + at // per_line * DOT_ROW if dots else 0)
    if len(others) > OTHERS_SHOWN:
        end = x + DOT_LEFT + (at % per_line + 1) * DOT_STEP
        _text(svg, end, bottom + 4, f"+{len(others) - OTHERS_SHOWN}", "count")
    return bottom + ROW_GAP


def _dot(svg: ET.Element, group: ET.Element, node: Node, ranks: Mapping[str, int], x: float, y: float) -> None:
    rank = ranks.get(node.paper.key)
    name = one_line(f"{node.score:.2f}  {readable(node.paper.title)}")
    place = {"cx": f"{x:g}", "cy": f"{y:g}"}
    if rank is None:
        circle = ET.SubElement(group, "circle", {**place, "r": f"{DOT:g}", "class": "other"})
    else:
        link = ET.SubElement(svg, "a", {"href": f"#p{rank}", "aria-label": name})
        circle = ET.SubElement(link, "circle", {**place, "r": f"{SELECTED_DOT:g}", "class": "chosen"})
    ET.SubElement(circle, "title").text = name


def _text(svg: ET.Element, x: float, y: float, text: str, kind: str, anchor: str = "start") -> None:
    place = {"x": f"{x:g}", "y": f"{y:g}"} | ({"class": kind} if kind else {})
    ET.SubElement(svg, "text", place | ({"text-anchor": anchor} if anchor != "start" else {})).text = text


def _cut(text: str, room: float) -> str:
    letters = max(8, int(room // LETTER_WIDTH))
    text = one_line(text)
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"
