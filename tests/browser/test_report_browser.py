"""The page of zolal trace --report in a real Chromium: in both themes, on a phone, by keyboard, on
paper. Needs Debian's `chromium` and Playwright from PyPI (whose own browsers are not used)."""

import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "trace"))
pytest.importorskip("playwright", reason="Playwright is not installed: pip install playwright")

import traced  # noqa: E402
from playwright.sync_api import expect, sync_playwright  # noqa: E402

from zolal.trace import report  # noqa: E402

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no chromium: apt install chromium")

CONTRAST = """() => {
    const context = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const rgba = colour => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        return context.getImageData(0, 0, 1, 1).data;
    };
    const over = (top, below) => [0, 1, 2].map(
        i => top[i] * top[3] / 255 + below[i] * (1 - top[3] / 255));
    const behind = element => {
        if (!element) return [255, 255, 255];
        const own = rgba(getComputedStyle(element).backgroundColor);
        return own[3] === 255 ? own : over(own, behind(element.parentElement));
    };
    const light = colour => [0.2126, 0.7152, 0.0722].reduce((sum, share, i) => {
        const c = colour[i] / 255;
        return sum + share * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    }, 0);
    const found = [];
    for (const element of document.body.querySelectorAll("*")) {
        const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
        if (!own || !element.checkVisibility() || element.closest("svg")) continue;
        const style = getComputedStyle(element);
        const back = behind(element);
        const front = over(rgba(style.color), back);
        const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) found.push([element.outerHTML.slice(0, 200), ratio]);
    }
    return found;
}"""

CUT_OFF = """() => [...document.querySelectorAll("main *")].filter(element => {
    if (!element.checkVisibility()) return;
    if (element.closest("svg, pre, .wide, .unseen, .bars, .lives")) return;  // they scroll, or cut
    return element.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
}).map(element => element.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The files of a server's page and of an asyncio program's."""
    found = []
    for name, script, send in (("wsgi", traced.WSGI, traced.GET), ("echo", traced.ECHO, b"hi\n")):
        folder = tmp_path_factory.mktemp(name)
        path = folder / "journey.html"
        path.write_text(report.html(traced.record(folder, script, send)))
        found.append(path)
    return found


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--no-proxy-server"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """visit(path, width=, theme=): the page. At the end it has said and asked for nothing."""
    opened = []

    def visit(path, width=1200, theme="light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        opened.append((page, said, asked))
        page.goto(path.as_uri())
        return page

    yield visit
    for page, said, asked in opened:
        assert said == []
        assert all(url.startswith("file:") for url in asked)
        page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1200])
def test_it_can_be_read(pages, visit, theme, width):
    backgrounds = set()
    for path in pages:
        page = visit(path, width, theme)
        page.eval_on_selector_all("details", "all => all.forEach(each => each.open = true)")
        assert page.evaluate(CONTRAST) == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(CUT_OFF) == []
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    (background,) = backgrounds
    is_dark = int(background.partition("(")[2].partition(",")[0]) < 100
    assert is_dark == (theme == "dark")


def test_lines_of_python_stand_beside_their_calls_or_above_them(pages, visit):
    for width, beside in ((1200, True), (360, False)):
        page = visit(pages[0], width)
        lines, steps = (
            page.locator(f".scene {part}").first.bounding_box() for part in (".lines", ".steps")
        )
        assert (lines["x"] + lines["width"] <= steps["x"]) == beside
        assert (lines["y"] + lines["height"] <= steps["y"]) != beside


def test_marks_lie_on_the_lines_of_their_sockets(pages, visit):
    """Each event's mark is at the height of its text."""
    page = visit(pages[0])
    marks = page.locator(".lives circle")
    events = page.locator(".lives li")
    assert marks.count() == events.count() > 10
    for at in range(marks.count()):
        mark, event = marks.nth(at).bounding_box(), events.nth(at).bounding_box()
        assert abs(mark["y"] + mark["height"] / 2 - event["y"] - event["height"] / 2) < 2
        assert mark["x"] > event["x"]


def test_by_keyboard(pages, visit):
    page = visit(pages[0])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.wait_for_url("**#story")
    summary = page.locator("#start details:not([open]) > summary").first
    summary.focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    before = page.locator("#start details[open]").count()
    page.keyboard.press("Enter")
    expect(page.locator("#start details[open]")).to_have_count(before + 1)
    link = page.locator(".lives a").first
    link.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".step:target")).to_have_count(1)


def test_a_box_of_the_timeline_leads_to_its_step(pages, visit):
    page = visit(pages[0])
    # How long each call took is not ours to say: one that is there to be seen and hit.
    boxes = page.locator("#request .bar").all()
    box = max(boxes, key=lambda box: box.bounding_box()["width"])
    step = box.get_attribute("href")
    box.click()
    page.wait_for_url(f"**{step}")
    expect(page.locator(":target .number")).to_have_text(step.removeprefix("#step-"))


def test_on_paper(pages, visit):
    page = visit(pages[0], theme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert page.evaluate(CONTRAST) == []
    assert len(page.pdf(format="A4")) > 20_000
