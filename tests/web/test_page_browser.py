"""The page in a real browser: Debian's chromium, driven by Playwright, on the demo library."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pasa.paper import Paper
from pasa.tools.base import SearchHit
from tests.web.page_server import OneAgent, demo_agent, page_server
from tests.world import World

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test installs it")
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright  # noqa: E402

CHROMIUM = Path("/usr/bin/chromium")
if not CHROMIUM.exists():
    pytest.skip(f"no {CHROMIUM}: apt-get install chromium runs the browser tests", allow_module_level=True)

# As root and without network: without these, chromium looks for its services at every start.
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
QUESTION = "Which works train language models with reinforcement learning to use a search engine or other tools?"
TOKEN = "a-token-of-the-tests-0123456789"
WAIT_MS = 20_000
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with page_server(demo_agent(), tmp_path_factory.mktemp("page"), at_once=4) as running:
        yield running.address


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens an address in a browser of its own; at the end nothing may have gone wrong there or gone elsewhere."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def opened(address: str, wait_for: str = "html[data-ready]", **settings: Any) -> Page:
        context = browser.new_context(viewport=settings.pop("viewport", {"width": 1300, "height": 900}), **settings)
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        origin = "/".join(address.split("/")[:3])
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
        page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda asked: None if asked.url.startswith((origin, "blob:")) else wrong.append(asked.url))
        page.goto(address)
        page.wait_for_selector(wait_for)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def ask(page: Page, question: str = QUESTION) -> None:
    page.get_by_label("Your question").fill(question)
    page.get_by_role("button", name="Search", exact=True).click()
    page.wait_for_url(re.compile("/runs/"))


def is_in_state(page: Page, *states: str) -> None:
    expect(page.locator("#state")).to_have_text(re.compile("|".join(states)), timeout=WAIT_MS)


def titles(page: Page) -> list[str]:
    return page.locator("#results h3").all_text_contents()


def scores(page: Page) -> list[float]:
    return [float(text) for text in page.locator("#results .score .value").all_text_contents()]


@pytest.fixture(scope="module")
def done(browser: Browser, server: str) -> str:
    """The address of a run that has ended."""
    page = browser.new_page()
    page.goto(server)
    page.wait_for_selector("html[data-ready]")
    ask(page)
    is_in_state(page, "done")
    address = page.url
    page.close()
    return address


# -- asking and watching -----------------------------------------------------------------------------------------------


class Gate:
    """Holds a model's calls from the `after`th on until it is opened."""

    def __init__(self, after: int) -> None:
        self._left = after
        self._open = threading.Event()

    def __call__(self, first: Any) -> None:
        self._left -= 1
        if self._left < 0:
            self._open.wait(30)

    def open(self) -> None:
        self._open.set()


def test_papers_and_tree_grow_while_it_searches_and_a_reload_goes_on(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    agents, gate = demo_agent(), Gate(1)
    _, crawler, selector = agents.slow
    crawler.before = gate  # the searches are written and carried out, the first paper's page waits
    selector.each_seconds = 0.005
    with page_server(agents, tmp_path) as running:
        page = open_page(running.address)
        ask(page)
        expect(page.locator("#results .paper").nth(9)).to_be_visible()
        assert page.locator("#tree .dots .dot:not(.pending)").count() >= 10
        is_in_state(page, "searching")
        expect(page.get_by_role("button", name="Stop and keep results")).to_be_visible()
        before = titles(page)
        page.reload()
        expect(page.locator("#results .paper").nth(9)).to_be_visible()
        assert set(titles(page)) >= set(before)
        assert page.locator("#steps [aria-current=step]").inner_text().startswith("Citations 1")
        gate.open()
        is_in_state(page, "done")
        assert len(set(titles(page))) >= len(before)
        assert page.locator("#tree .read").count() >= 1
        assert page.locator("#tree .dot.pending").count() == 0
        assert scores(page) == sorted(scores(page), reverse=True)
        page.get_by_role("tab", name="Activity").click()
        expect(page.locator("#log")).to_contain_text(
            re.compile("began.*Writing searches.*Searched.*Layer 1.*Read.*done")
        )


def test_stop_keeps_what_was_found(open_page: Callable[..., Page], tmp_path: Path) -> None:
    agents, gate = demo_agent(), Gate(1)
    agents.slow[1].before = gate
    with page_server(agents, tmp_path) as running:
        page = open_page(running.address)
        ask(page)
        expect(page.locator("#results .paper").nth(9)).to_be_visible()
        found = set(titles(page))
        page.get_by_role("button", name="Stop and keep results").click()
        is_in_state(page, "stopped")
        expect(page.get_by_role("button", name="Stop and keep results")).to_be_hidden()
        assert set(titles(page)) >= found
        gate.open()


def test_who_waits_sees_the_place_in_the_queue_and_failures_say_why(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    world, gate = World(3), threading.Event()
    world.failing_searches = None
    call = world.call
    world.call = lambda kind, *rest: (gate.wait(20), call(kind, *rest))[1]  # type: ignore[method-assign]
    with page_server(OneAgent(world.agent()), tmp_path, at_once=1) as running:
        first, second = open_page(running.address), open_page(running.address)
        ask(first, "the first?")
        ask(second, "the second?")
        expect(second.locator("#state")).to_have_text("waiting, next in line")
        gate.set()
        is_in_state(second, "failed")
        expect(second.locator("#run-error")).to_contain_text("no answer to")
        world.failing_searches = set()
        second.get_by_role("button", name="Run again").click()
        is_in_state(second, "done")


def test_a_page_that_is_open_takes_up_again_when_the_server_is_back(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    agents, gate = demo_agent(), Gate(1)
    agents.slow[1].before = gate
    with page_server(agents, tmp_path) as running:
        page = open_page(running.address)
        ask(page)
        expect(page.locator("#results .paper").nth(9)).to_be_visible()
        found, port = set(titles(page)), int(running.address.rsplit(":", 1)[1])
        threading.Timer(0.2, gate.open).start()
        running.end()
    expect(page.locator("#run-error")).to_contain_text("connection was lost")
    with page_server(demo_agent(), tmp_path, port=port) as running:
        is_in_state(page, "interrupted")
        expect(page.locator("#run-error")).to_contain_text("can be run again")
        assert set(titles(page)) >= found
        page.get_by_role("button", name="Run again").click()
        is_in_state(page, "done")


# -- reading -----------------------------------------------------------------------------------------------------------


def test_a_run_is_shared_by_its_address_with_its_filters(
    open_page: Callable[..., Page], done: str, server: str
) -> None:
    page = open_page(done)
    everything = titles(page)
    page.get_by_label("Words in title or abstract").fill("reinforcement")
    page.get_by_label("Sort by").select_option("new")
    page.get_by_text("More filters").click()
    page.get_by_label("Selected only").check()
    shown = titles(page)
    assert 0 < len(shown) < len(everything)
    assert "words=reinforcement" in page.url
    other = open_page(page.url)
    assert titles(other) == shown
    expect(other.get_by_role("button", name="Delete")).to_be_hidden()
    other.get_by_role("link", name="History").click()
    other.get_by_role("link", name=QUESTION).first.click()
    expect(other.locator("#run-title")).to_have_text(QUESTION)
    other.go_back()
    expect(other.get_by_role("heading", name="History")).to_be_visible()


def test_filters_and_orders_do_what_they_say(open_page: Callable[..., Page], done: str) -> None:
    page = open_page(done)
    page.get_by_text("More filters").click()
    page.locator("#f-score").fill("0.4")
    assert scores(page)
    assert min(scores(page)) >= 0.4
    page.locator("#f-clear").click()
    page.get_by_label("Year from").fill("2024")
    page.locator("#f-to").fill("2024")
    dates = page.locator("#results .date").all_text_contents()
    assert dates
    assert {date[:4] for date in dates} == {"2024"}
    page.locator("#f-clear").click()
    page.get_by_label("Found by").select_option("citation")
    assert page.locator("#results .paper").count() >= 1
    found = page.locator("#results .found").all_text_contents()
    assert all("cited by" in text for text in found)
    page.get_by_label("Words in title or abstract").fill("no paper has such words")
    expect(page.locator("#nothing")).to_have_text("No paper passes these filters.")
    page.locator("#f-clear").click()
    page.get_by_label("Sort by").select_option("title")
    assert titles(page) == sorted(titles(page), key=str.casefold)


def test_a_paper_shows_its_abstract_and_its_way_from_the_question(open_page: Callable[..., Page], done: str) -> None:
    page = open_page(done)
    page.get_by_text("More filters").click()
    page.get_by_label("Found by").select_option("citation")
    paper = page.locator("#results .paper").first
    paper.get_by_text("Abstract and path").click()
    expect(paper.get_by_text("What speaks for it")).to_be_visible()
    expect(paper.locator(".reason")).to_contain_text("holds “")
    steps = paper.locator(".path li").all_text_contents()
    assert steps[0].startswith("Your question: ")
    assert steps[1].startswith("Searched: ")
    assert steps[2].startswith("Found: ")
    assert steps[3].startswith("Read its section: ")
    assert steps[-1] == "This paper"
    links = {link.inner_text(): link.get_attribute("href") for link in paper.locator(".links a").all()}
    assert links["PDF"].startswith("https://arxiv.org/pdf/")
    assert all(link.get_attribute("rel") == "noopener noreferrer" for link in paper.locator("a").all())


def test_what_is_ticked_is_exported(open_page: Callable[..., Page], done: str) -> None:
    page = open_page(done)
    boxes = page.get_by_role("checkbox", name=re.compile("^Tick: "))
    boxes.nth(0).check()
    boxes.nth(2).check()
    assert page.locator("#export-which").input_value() == "ticked"
    page.locator("#export-format").select_option("ris")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert download.value.suggested_filename.endswith(".ris")
    expected = titles(page)
    assert re.findall(r"^TI  - (.*?)\r?$", text, re.MULTILINE) == [expected[0], expected[2]]


def test_a_title_in_the_tree_leads_to_its_paper(open_page: Callable[..., Page], done: str) -> None:
    page = open_page(done)
    page.get_by_label("Words in title or abstract").fill("hides everything else")
    page.locator("#tree .branch summary").first.click()
    button = page.locator("#tree .tree-papers button").first
    title = button.inner_text()
    button.click()
    assert page.evaluate("document.activeElement.textContent") == title


# -- everybody ---------------------------------------------------------------------------------------------------------


def test_it_goes_by_keyboard_alone(open_page: Callable[..., Page], server: str) -> None:
    page = open_page(server)
    assert page.evaluate("document.activeElement.id") == "question"
    page.keyboard.type("UCB for non-stationary bandits?")
    page.keyboard.press("Enter")
    is_in_state(page, "done")
    page.wait_for_function("document.activeElement.id == 'run-title'")  # once the papers are there
    page.locator("#tab-crawl").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-log"
    expect(page.locator("#panel-log")).to_be_visible()
    expect(page.locator("#panel-crawl")).to_be_hidden()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.id") == "tab-about"
    page.goto(server)
    page.wait_for_selector("html[data-ready]")
    page.locator("body").press("Shift+Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    skip.focus()
    expect(skip).to_be_in_viewport()


def test_a_wrong_setting_is_told_beside_the_form_and_has_the_focus(open_page: Callable[..., Page], server: str) -> None:
    page = open_page(server)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("Write a question first.")
    page.get_by_label("Your question").fill("papers?")
    page.get_by_text("Settings", exact=True).click()
    page.get_by_label("Stop after seconds").fill("999999")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#ask-error")).to_contain_text("“Stop after seconds” is '999999'")
    assert page.evaluate("document.activeElement.id") == "max_seconds"
    page.get_by_label("Stop after seconds").fill("")
    page.get_by_label("Layers of citations to follow").select_option("0")
    page.get_by_label("Start from these papers too").fill("1706.03762")
    page.get_by_role("button", name="Search", exact=True).click()
    page.wait_for_url(re.compile("/runs/"))


def test_a_screen_reader_is_told_little_while_it_searches_and_that_it_ended(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    with page_server(demo_agent(each_seconds=0.01), tmp_path) as running:
        page = open_page(running.address)
        page.evaluate(
            """() => { window.said = []; new MutationObserver(() =>
            window.said.push(document.getElementById('announcer').textContent))
            .observe(document.getElementById('announcer'), {childList: true, characterData: true, subtree: true}); }"""
        )
        ask(page)
        is_in_state(page, "done")
        page.wait_for_function("window.said.length && window.said.at(-1).startsWith('The search ended')")
        assert page.evaluate("window.said.length") <= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_that_keeps_anybody_out(browser: Browser, server: str, done: str, scheme: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe: make test installs it").Axe()
    with browser.new_context(color_scheme=scheme, bypass_csp=True) as context:  # axe is put into the page as a script
        page = context.new_page()
        for address in (server, f"{server}/history", f"{done}?words=tool", f"{server}/runs/none"):
            page.goto(address)
            page.wait_for_selector("html[data-ready]")
            for summary in page.locator("main summary:visible").all()[:5]:
                summary.click()
            found = axe.run(page).response["violations"]
            assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == [], address


@pytest.mark.parametrize("width", [320, 390])
def test_it_fits_a_phone(open_page: Callable[..., Page], server: str, done: str, width: int) -> None:
    page = open_page(server, **{**PHONE, "viewport": {"width": width, "height": 844}})
    for address in (server, f"{server}/history", done):
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        assert page.evaluate("document.documentElement.scrollWidth") == width, address
    expect(page.locator("#panel-results")).to_be_visible()
    page.get_by_role("tab", name="Crawl").tap()
    expect(page.locator("#panel-crawl")).to_be_visible()
    expect(page.locator("#panel-results")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator("#tree .branch summary").first.tap()
    page.locator("#tree .tree-papers button").first.tap()
    expect(page.locator("#panel-results")).to_be_visible()


def test_colours_follow_the_system_or_the_choice_that_was_made(open_page: Callable[..., Page], server: str) -> None:
    page = open_page(server, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Colours").click()
    light = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == light


# -- what papers say ---------------------------------------------------------------------------------------------------

HOSTILE = '<img src=x onerror=alert(1)><script>alert(2)</script>"><a href="javascript:alert(3)">x</a>'


class HostileEngine:
    """Finds papers whose every field is an attack."""

    name = "hostile"

    def search(self, query: str, limit: int, end_date: Any = None) -> list[SearchHit]:
        bad = Paper(HOSTILE, f"{HOSTILE} ${{7*7}}", "javascript:alert(4)", "<b>2024", (HOSTILE,), source=HOSTILE)
        odd = Paper("\u202egnirts desrever\u202c " + "W" * 300, "", None, None)
        return [SearchHit(None, paper.title, paper) for paper in (bad, odd)][:limit]


def test_nothing_that_a_paper_or_a_question_says_becomes_markup(open_page: Callable[..., Page], tmp_path: Path) -> None:
    agents = demo_agent(expand_layers=1)
    agents.slow[0]._inner = HostileEngine()
    with page_server(agents, tmp_path) as running:
        page = open_page(running.address)
        ask(page, f"tools {HOSTILE}?")
        is_in_state(page, "done")
        expect(page.locator("#run-title")).to_have_text(f"tools {HOSTILE}?")
        assert HOSTILE in titles(page)
        for summary in page.locator("#results summary, #tree summary").all():
            summary.click()
        for tab in ("Activity", "Details"):
            page.get_by_role("tab", name=tab).click()
        page.goto(f"{running.address}/history")
        expect(page.locator(".run-link")).to_have_text(f"tools {HOSTILE}?")
        page.go_back()
        assert page.locator("main img, main script, a[href^='javascript']").count() == 0
        hosts = page.evaluate("[...document.querySelectorAll('#results a')].map((a) => new URL(a.href).host)")
        assert set(hosts) <= {"arxiv.org", "scholar.google.com"}


# -- token -------------------------------------------------------------------------------------------------------------


def test_the_token_is_asked_for_once_and_never_stands_in_an_address(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    with page_server(demo_agent(), tmp_path, token=TOKEN) as running:
        page = open_page(running.address, wait_for="dialog[open]")
        page.get_by_role("textbox", name="Token").fill("wrong")
        page.get_by_role("button", name="Open").click()
        expect(page.locator("#login-error")).to_be_visible()
        page.get_by_role("textbox", name="Token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("html[data-ready]")
        ask(page)
        is_in_state(page, "done")
        assert TOKEN not in page.url
        assert TOKEN not in page.content()
        page.reload()
        is_in_state(page, "done")
        expect(page.get_by_role("dialog")).to_be_hidden()
