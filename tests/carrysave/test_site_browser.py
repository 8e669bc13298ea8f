# SPDX-License-Identifier: Apache-2.0
"""The report site of the committed tables in headless Chromium."""

import csv
import io
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from carrysave.hw import catalogue
from carrysave.sim.trace import products_of
from carrysave.site import build_site

ROOT = Path(__file__).parents[2]
TABLES = ("resources.csv", "accuracy.csv", "arrays.csv", "energy.csv", "mixed.csv", "estimator.csv",
          "digits.json")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)
PAGES = ("index.html", "units/index.html", "units/mixpe-w4a8.html", "units/array-int8.html",
         "formats/index.html", "formats/e4m3.html", "engines.html", "mixed.html", "findings.html",
         "ledger.html", "figures.html")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, and the rows of its table of resources."""
    folder = tmp_path_factory.mktemp("site")
    reports = folder / "reports"
    # A copy: the tables may be measured into meanwhile.
    shutil.copytree(ROOT / "reports" / "units", reports / "units")
    for name in TABLES:
        if (ROOT / "reports" / name).exists():
            shutil.copy(ROOT / "reports" / name, reports)
    build_site(folder / "site", reports=reports, builds=folder / "build")
    return folder / "site"


def table(path):
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def resources(site):
    """Rows of the table, and what has its energy alone as a row of CMOS gates."""
    rows = table(site.parent / "reports/resources.csv")
    known = {(row["unit"], row["lanes"]) for row in rows if row["family"] == "gates"}
    only = {(row["unit"], row["lanes"]) for row in table(site.parent / "reports/energy.csv")}
    return rows + [{"unit": unit, "lanes": lanes, "family": "gates", "dsp_allowed": "0"}
                   for unit, lanes in sorted(only - known)]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM)
        yield found
        found.close()


@pytest.fixture
def visit(browser, site):
    """``visit(path, **of the context)``: a page; nothing may go wrong in it, nothing be fetched."""
    wrong, contexts = [], []

    def run(path, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
        page.on("request", lambda request: request.url.startswith(("file:", "data:", "blob:"))
                or wrong.append(f"request: {request.url}"))
        page.goto(f"file://{site}/{path}")
        if path.startswith("index.html"):
            page.wait_for_selector("#plot .main-svg")
        return page

    yield run
    for context in contexts:
        context.close()
    assert not wrong


def kind(name):
    from carrysave.characterise import ARRAYS
    from carrysave.hw import catalogue

    return "array" if name in ARRAYS else catalogue.get(name).room


def wanted(rows, *, families=("ecp5",), kinds=("pe",), dsp=("0",), **columns):
    return [row for row in rows if row["family"] in families and row["dsp_allowed"] in dsp
            and kind(row["unit"]) in kinds
            and all(row[name] == value for name, value in columns.items())]


def shown(page):
    """Cells of the table's rows."""
    return page.eval_on_selector_all(
        "#rows tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))")


def drawn(page):
    """Names of the units of the points."""
    return page.evaluate("plot.data.flatMap(trace => trace.customdata ?? [])")


def dot(page, unit):
    """Where the point of a unit is on the screen."""
    return page.evaluate("""unit => {
        const {_fullLayout: layout, data: traces} = document.getElementById("plot");
        const box = document.getElementById("plot").getBoundingClientRect();
        for (const trace of traces) {
            const k = (trace.customdata ?? []).indexOf(unit);
            if (k < 0) continue;
            const at = (axis, value) => axis._offset + axis.d2p(value);
            return [box.left + at(layout.xaxis, trace.x[k]),
                    box.top + at(layout.yaxis, trace.y[k])];
        }
    }""", unit)


# What it shows.

def test_rows_are_those_of_the_table(visit, resources, compared):
    page, expected = visit("index.html"), wanted(resources)
    rows = shown(page)
    assert len(expected) >= 10
    assert sorted((row[0], row[4]) for row in rows) == sorted(
        (row["unit"], row["lanes"]) for row in expected)
    number = page.locator("#rows thead th").all_inner_texts().index("LUT4")
    assert [row[number].replace("\u202f", "") for row in rows] == [
        row["lut4"] for row in expected]
    assert page.inner_text("#count").startswith(f"{len(rows)} rows, {len(drawn(page))} of them")
    for order in "ascending", "descending":
        page.locator("#rows thead button", has_text="LUT4 per product").click()
        numbers = [float(row[6].replace("\u202f", "")) for row in shown(page)]
        assert numbers == sorted(numbers, reverse=order == "descending") and len(numbers) > 1
        assert page.locator(f"#rows th[aria-sort={order}]").count() == 1
    compared(len(rows))


FILTERS = [
    (lambda page: page.get_by_label("iCE40").check(), {"families": ("ecp5", "ice40")}),
    (lambda page: page.get_by_label("ECP5").uncheck(), {"families": ()}),
    (lambda page: page.get_by_label("DSP blocks").select_option("yes"), {"dsp": ("1",)}),
    (lambda page: page.get_by_label("Kind").select_option("decode"), {"kinds": ("decode",)}),
    (lambda page: page.get_by_label("Lanes").select_option("32"), {"lanes": "32"}),
    (lambda page: page.get_by_label("Search").fill("MULTIPLIER w8a8"), {"unit": "multiplier-w8a8"}),
    (lambda page: page.get_by_label("Cost, across").select_option("nand2-product"),
     {"families": ("gates",)}),
]


def test_filters(visit, resources, compared):
    page = visit("index.html")
    every = shown(page)
    for choose, given in FILTERS:
        choose(page)
        found = shown(page)
        assert sorted(row[0] for row in found) == sorted(
            row["unit"] for row in wanted(resources, **given))
        assert found != every and page.evaluate("location.hash"), given
        if given == FILTERS[-1][1]:
            page.reload()  # the address holds the view
            page.wait_for_selector("#plot .main-svg")
            assert shown(page) == found
        page.get_by_role("button", name="Reset", exact=True).click()
        page.wait_for_function("location.hash === ''")
        assert shown(page) == every
        compared(len(found) + 1)


def test_filter_by_format(visit, resources, compared):
    from carrysave.hw import catalogue

    page = visit("index.html#kind=pe")
    page.get_by_label("Number format").select_option("mxfp4")
    with_it = {row["unit"] for row in wanted(resources)
               if "mxfp4" in catalogue.get(row["unit"]).build().formats.values()}
    assert {row[0] for row in shown(page)} == with_it != set()
    page.get_by_label("Number format").select_option("class:Block")
    assert {row[0] for row in shown(page)} >= with_it
    assert all(unit.endswith("-dot") for unit, *_ in shown(page))
    compared(len(with_it))


def test_hover_then_click(visit, compared):
    page = visit("index.html")
    page.mouse.move(*dot(page, "multiplier-w8a8"))
    label = page.wait_for_selector(".hoverlayer .hovertext")
    text = label.text_content()
    assert "multiplier-w8a8" in text and "int8 × int8" in text and "LUT4" in text
    page.mouse.click(*dot(page, "multiplier-w8a8"))
    page.wait_for_url("**/units/multiplier-w8a8.html")
    assert page.inner_text("h1") == "multiplier-w8a8"
    page.get_by_role("link", name="In the explorer").click()
    page.wait_for_selector("#plot .main-svg")
    assert {row[0] for row in shown(page)} == {"multiplier-w8a8"}
    page.get_by_role("link", name="multiplier-w8a8").first.click()
    assert page.inner_text("h1") == "multiplier-w8a8"
    compared(1)


def test_downloads(visit, resources, compared):
    page = visit("index.html#family=ice40&q=w4a8")
    with page.expect_download() as found:
        page.get_by_role("button", name="Download CSV").click()
    assert found.value.suggested_filename == "carrysave.csv"
    rows = list(csv.DictReader(io.StringIO(found.value.path().read_text(encoding="utf-8"))))
    expected = [row for row in wanted(resources, families=("ice40",)) if "w4a8" in row["unit"]]
    for name in "unit", "lanes", "family", "dsp_allowed", "lut4", "ff", "command":
        assert [row[name] for row in rows] == [row[name] for row in expected], name
    for row, source in zip(rows, expected, strict=True):
        own = catalogue.get(row["unit"]).build()
        products = products_of(own) * int(row["lanes"]) / own.lanes
        assert float(row["lut4-product"]) == round(int(source["lut4"]) / products, 3)
        assert row["qsnr"] == "" or float(row["qsnr"]) > 0
    with page.expect_download() as found:
        page.get_by_role("button", name="Download SVG").click()
    svg = ElementTree.fromstring(found.value.path().read_text(encoding="utf-8"))
    marks = [mark for mark in svg.iter() if "plotly-customdata" in mark.get("class", "")]
    assert len(marks) == len(drawn(page))
    compared(len(rows))


# How it looks.

def test_controls_have_names_in_light_and_dark(visit, compared):
    page, seen = visit("index.html", color_scheme="light"), []
    controls = page.locator("form :is(select, input, button):visible, .buttons button")
    names = controls.evaluate_all("all => all.map(e => (e.labels?.[0] ?? e).innerText.trim())")
    assert all(names) and len(names) >= 12
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "To the content"
    for scheme in "light", "dark", "light":
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("plot.layout.paper_bgcolor === getComputedStyle("
                               "document.documentElement).getPropertyValue('--paper').trim()")
        seen.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        paper = page.evaluate("getComputedStyle(plot.querySelector('.main-svg')).backgroundColor")
        assert paper == seen[-1]
    assert seen == ["rgb(255, 255, 255)", "rgb(17, 22, 28)", "rgb(255, 255, 255)"]
    compared(len(seen))


@pytest.mark.parametrize("path", PAGES)
def test_phone(visit, path):
    page = visit(path, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("innerWidth") == 390
    assert page.inner_text("h1")


def test_a_tap_shows_the_row(visit, compared):
    page = visit("index.html", viewport={"width": 390, "height": 844}, has_touch=True,
                 is_mobile=True)
    assert not page.get_by_label("Kind").is_visible()
    page.get_by_text("Filters").click()
    assert page.get_by_label("Kind").is_visible()
    page.locator("#plot").scroll_into_view_if_needed()
    page.touchscreen.tap(*dot(page, "multiplier-w8a8"))
    page.get_by_role("link", name="multiplier-w8a8: open its page").click()
    assert page.inner_text("h1") == "multiplier-w8a8"
    compared(1)


def test_all_links_lead_somewhere(site, compared):
    from html.parser import HTMLParser

    links = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attrs):
            links.extend((path, value) for name, value in attrs
                         if name in ("href", "src") and tag != "use" and value)

    for path in site.rglob("*.html"):
        Links().feed(path.read_text(encoding="utf-8"))
    for path, link in links:
        target = link.partition("#")[0]
        assert link.startswith("data:") or not target or (path.parent / target).is_file(), link
    compared(len(links))
