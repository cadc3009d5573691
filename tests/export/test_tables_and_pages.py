"""CSV, Markdown and the HTML report: nothing of a paper's text becomes a formula, markup or a request."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pasa.export.csv_table import COLUMNS, safe_cell, to_csv
from pasa.export.formats import export
from pasa.export.html_page import to_html
from pasa.export.markdown import plain
from pasa.export.run_view import ExportedRun
from pasa.export.tex_text import one_line
from pasa.export.tree_picture import OTHERS_SHOWN, ROWS_SHOWN, crawl_svg
from pasa.paper import Paper
from pasa.result_tree import Node, rank
from tests.export.runs import HOSTILE, TITLES, a_run, ranked

CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


# -- CSV ---------------------------------------------------------------------------------------------------------------


def test_csv_holds_every_paper_and_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(a_run(), a_run().papers))))
    assert [row["title"] for row in rows] == [TITLES[0], TITLES[1 + 1], TITLES[1], TITLES[3]] or rows[1]["title"][
        0
    ] == "'"
    assert (rows[0]["authors"], rows[0]["date"]) == (
        "Ludwig van Beethoven; José Martínez Jr.; Łukasz Kaiser",
        "2025-01-17",
    )
    assert [row["selected"] for row in rows] == ["true", "true", "true", "false"]
    assert rows[1]["how_found"] == f'search "words & <more>" > cited by {TITLES[0]} in Related Work'


@given(st.text(st.one_of(st.sampled_from("=+-@\t\r\n\"',; 1A"), st.characters(codec="utf-8")), max_size=30))
@example("\n=1")
@example("＝1")
@settings(max_examples=80)
def test_no_cell_begins_a_formula_and_each_comes_back(text: str) -> None:
    [_, row] = csv.reader(io.StringIO(to_csv(a_run(), ranked(Paper(text)))))
    cell = row[COLUMNS.index("title")]
    assert not re.match(r"[\s=+\-@＝＋－＠]", cell)
    assert cell.removeprefix("'") == one_line(text).removeprefix("'")
    assert safe_cell(-0.5) == -0.5


# -- Markdown ----------------------------------------------------------------------------------------------------------


@given(st.text(st.one_of(st.sampled_from("#*_[]()<>`!|\\~&;$1.-+ \n\tab"), st.characters(codec="utf-8")), max_size=40))
@example("1. a")
@example("- a")
@example("&amp;")
@example("[x](javascript:alert(1))")
@settings(max_examples=80)
def test_any_text_shows_in_markdown_as_it_is(text: str) -> None:
    page = BeautifulSoup(MarkdownIt().render(f"# {plain('x' + text)}\n\n{plain(text)}\n"), "lxml")
    assert page.h1 is not None
    assert one_line(page.h1.get_text()) == one_line("x" + text)
    assert {tag.name for tag in page.find_all(True)} <= {"html", "body", "h1", "p"}
    assert one_line(page.p.get_text() if page.p else "") == one_line(text)


def test_markdown_lists_the_selected_papers_with_links() -> None:
    page = BeautifulSoup(MarkdownIt().render(export(a_run(), "markdown")), "lxml")
    assert len(page.select("ol > li")) == 3
    assert [a["href"] for a in page.find_all("a")][:2] == [
        "https://arxiv.org/abs/2501.10120",
        "https://arxiv.org/pdf/2501.10120",
    ]


# -- HTML --------------------------------------------------------------------------------------------------------------


def page_of(run: ExportedRun) -> BeautifulSoup:
    return BeautifulSoup(export(run, "html"), "lxml")


def test_the_page_asks_nothing_of_any_other_place_and_runs_only_its_own_script() -> None:
    page = page_of(a_run())
    policy = page.find("meta", attrs={"http-equiv": True})["content"]
    for kind, element in (("style-src", page.style), ("script-src", page.script)):
        digest = base64.b64encode(hashlib.sha256(element.string.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert len(page.find_all("script")) == 1
    assert not page.find_all(["img", "link", "iframe", "object", "embed", "base"])
    assert not [
        tag for tag in page.find_all(True) for name in tag.attrs if name in ("src", "style") or name[:2] == "on"
    ]


def test_the_page_shows_each_paper_as_text() -> None:
    page = page_of(a_run())
    items = page.select("#list > li")
    assert [item["data-selected"] for item in items] == ["yes", "yes", "yes", "no"]
    assert [item["data-way"] for item in items] == ["search", "citation", "search", "citation"]
    assert items[1].h3.get_text() == f"2. {HOSTILE}"
    assert page.h1.get_text() == 'which <b>papers</b> & "why"?'
    assert {a["href"].split("/")[2] for a in page.select("#list a")} == {"arxiv.org"}


def test_every_control_has_a_name_and_every_link_a_target() -> None:
    page = page_of(a_run())
    assert all(control.find_parent("label") for control in page.select("input, select"))
    ids = {tag["id"] for tag in page.find_all(id=True)}
    inside = [a["href"][1:] for a in page.find_all("a") if a["href"].startswith("#")]
    assert len(inside) == 3 + 3  # sections, and the dots of selected papers
    assert set(inside) <= ids
    assert page.html["lang"] == "en"
    assert [h.name for h in page.find_all(re.compile("^h[1-3]$"))][:3] == ["h1", "h2", "h3"]


def test_the_same_run_gives_the_same_page_and_none_of_its_papers_is_a_page_too() -> None:
    assert to_html(a_run(), a_run().papers) == to_html(a_run(), a_run().papers)
    nothing = ExportedRun("q", (), Node(Paper("q")), {})
    assert "No paper was found." in page_of(nothing).get_text()


def test_a_large_crawl_is_drawn_within_bounds() -> None:
    def papers(name: str, count: int, score: float) -> list[Node]:
        return [
            Node(Paper(f"{name} {n} " + "abcdefghij"[n % 10] * (n // 10)), 0, "Search x", score) for n in range(count)
        ]

    found = papers("found", 300, 0.1)
    for place, node in enumerate(found):
        node.children = {"Introduction": papers(f"cited by {'x' * place}", 1, 0.9 if place == 7 else 0.2)}
    root = Node(Paper("q"), children={"words": found})
    picture = crawl_svg(ExportedRun("q", tuple(rank(root, 0.5)), root, {}))
    labels = [text.text or "" for text in picture.iter("text")]
    assert f"+{300 - OTHERS_SHOWN}" in labels
    assert len(labels) < 2 * ROWS_SHOWN
    assert any("299 more papers" in label for label in labels)
    assert len(list(picture.iter("a"))) == 1


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not here: apt-get install chromium")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=list(CHROMIUM_FLAGS))
        yield browser.new_page(viewport={"width": 390, "height": 800})
        browser.close()


def test_a_browser_filters_sorts_and_makes_no_request(browser_page: Any, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text(export(a_run(), "html"), encoding="utf-8")
    said: list[str] = []
    browser_page.on("console", lambda message: said.append(message.text))
    browser_page.on("pageerror", lambda error: said.append(str(error)))
    browser_page.on("request", lambda request: said.append(request.url))
    browser_page.goto(report.as_uri())

    def titles() -> list[str]:
        return [item.inner_text()[:4] for item in browser_page.locator("#list h3:visible").all()]

    assert browser_page.inner_text("#shown") == "3 of 4 papers shown"
    browser_page.uncheck("[name=selected]")
    assert len(titles()) == 4
    browser_page.select_option("[name=sort]", "newest")
    assert titles()[1] == "4. 大"
    browser_page.fill("[name=to]", "2000")
    assert [title[0] for title in titles()] == ["3", "2"]
    browser_page.fill("[name=words]", "no such words")
    assert titles() == []
    browser_page.locator("a[href='#p1']").focus()
    browser_page.keyboard.press("Enter")  # a dot leads to its paper, filtered out or not
    browser_page.locator("#list h3:visible").wait_for()  # the page hears of it after the key press is over
    assert [title[0] for title in titles()] == ["1"]
    assert browser_page.evaluate("document.documentElement.scrollWidth") == 390
    assert said == [report.as_uri()]
