"""The report as a browser shows it: a store with hostile names, opened from disk in a headless Chromium."""

import math
import sqlite3
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import console, go_to_run, open_browser, requests, set_window, wait_for
from falling import falling, make_falling_store

from ncdiag.cli.app import run
from ncdiag.domain.records import ImportedRun
from ncdiag.report.contents import Report
from ncdiag.report.page import render_report
from ncdiag.report.runs import LATEST, as_text
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.imports import import_runs
from ncdiag.store.runs import list_runs

pytestmark = pytest.mark.slow

ATTACK = "<script>alert(1)</script>"
END_SCRIPT = "</script><img src=https://example.org/x onerror=alert(2)>\u2028&amp;"
# The contrast of two colours by WCAG 2: from 1, none, to 21, black on white.
CONTRAST = """
const part = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const light = text => { const [r, g, b] = text.match(/[\\d.]+/g).map(v => part(v / 255));
  return 0.2126*r + 0.7152*g + 0.0722*b; };
const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (!/, 0\\)$/.test(c)) return c; } return "rgb(255, 255, 255)"; };
const all = "p, a[href], th, td, caption, dt, dd, h1, h2, h3, li, button, input, label, summary, code, kbd, b";
return [...document.querySelectorAll(all)]
  .filter(e => e.checkVisibility() && e.textContent.trim())
  .map(e => { const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), `${e.tagName}.${e.className} ${e.textContent}`]; });
"""
DRAWN = "return Object.fromEntries([...Charts.drawn].map(c => [c.name, c.data.map(d => [...d])]))"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with collapsed and censored runs, and with every text that comes from outside as hostile as can be."""
    path = make_falling_store(tmp_path_factory.mktemp("report") / "runs.db")
    plain = falling("evil", depth=7, seed=0, norm=2.0)
    config = {**plain.config, "dataset": END_SCRIPT, "notes": ATTACK, END_SCRIPT: ATTACK}
    with open_store(str(path), write=True) as opened:
        import_runs(opened, [ImportedRun(name="evil", config=config, epochs=plain.epochs, source=END_SCRIPT)])
    with sqlite3.connect(path) as connection:  # no command gives a run such a name; another program could
        connection.execute("UPDATE runs SET name = ? WHERE name = 'evil'", (ATTACK,))
    connection.close()
    return path


@pytest.fixture(scope="module")
def page(store: Path) -> str:
    target = store.with_name("report.html")
    assert run(["report", "--store", str(store), "-o", str(target)]) == 0
    return target.as_uri()


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def opened(driver: Any, page: str) -> Any:
    """The page, opened anew in a window of a desktop."""
    set_window(driver, width=1440)
    driver.get("about:blank")
    console(driver), requests(driver)
    driver.get(page)
    wait_for(driver, "performance.getEntriesByName('ncdiag-ready').length === 1")
    return driver


def show_everything(driver: Any) -> None:
    """Open every part of the page, and scroll to where the curves of all runs are drawn."""
    driver.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    driver.execute_script("document.getElementById('all-title').scrollIntoView({behavior: 'instant'})")
    wait_for(driver, "Charts.drawn.size === 2")


def ids(store: Path) -> dict[str, int]:
    with open_store(str(store)) as opened:
        return {run.name: run.id for run in list_runs(opened)}


def test_nothing_is_wrong_and_no_request_leaves(opened: Any, page: str, store: Path) -> None:
    show_everything(opened)
    images = "[...document.images].map(i => i.complete && i.naturalWidth > 100)"
    wait_for(opened, f"{images}.every(Boolean)")
    assert len(opened.execute_script(f"return {images}")) >= 2
    go_to_run(opened, ids(store)[ATTACK], charts=3)
    assert console(opened) == []
    asked = [url.partition("#")[0] for url in requests(opened)]
    assert [url for url in asked if not url.startswith("data:")] == [page]


def test_a_request_that_tried_to_leave_would_be_stopped_and_noticed(opened: Any) -> None:
    """Without this, a log that had come to record nothing would look like a page that asks for nothing."""
    opened.execute_script("new Image().src = 'https://example.org/x.png'; document.body.append('x')")
    wait_for(opened, "true")
    stopped = opened.execute_async_script(
        "const done = arguments[0]; addEventListener('securitypolicyviolation', e => done(e.violatedDirective));"
        "fetch('https://example.org/').catch(() => {});"
    )
    assert stopped == "connect-src"
    assert any("img-src" in message for message in console(opened))


def test_a_script_that_got_into_the_page_would_not_run(opened: Any) -> None:
    opened.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.broken = 1'; document.body.append(s);"
    )
    assert opened.execute_script("return window.broken") is None


def test_texts_from_outside_stay_texts(opened: Any, store: Path) -> None:
    names = opened.execute_script(
        "return [...document.querySelectorAll('#runs-table tbody th')].map(c => c.textContent)"
    )
    assert ATTACK in names
    texts = opened.execute_script("return document.getElementById('answers').textContent")
    assert "onerror=alert(2)" in texts  # the data set's name, in the pages of the questions
    show_everything(opened)
    go_to_run(opened, ids(store)[ATTACK], charts=3)
    assert opened.execute_script("return document.getElementById('run-title').textContent") == ATTACK
    facts = opened.execute_script("return document.getElementById('run-facts').textContent")
    assert ATTACK in facts
    assert END_SCRIPT in facts
    strange = (
        "return document.querySelectorAll('main script, main img[onerror], main img:not([src^=\"data:\"])').length"
    )
    assert opened.execute_script(strange) == 0


def test_every_run_has_its_curves(opened: Any, store: Path) -> None:
    with open_store(str(store)) as read:
        expected = {
            run.id: {
                "Feature norm": [[e.epoch, e.feature_norm] for e in list_epochs(read, run.id)],
                "NC1, within / between classes (log)": [[e.epoch, e.nc1] for e in list_epochs(read, run.id)],
            }
            for run in list_runs(read)
        }
    assert len(expected) == 6
    for run_id, curves in expected.items():
        go_to_run(opened, run_id, charts=3)  # feature norm, NC1 and accuracy were measured
        drawn = opened.execute_script(
            "return [...document.querySelectorAll('#run-charts figure')].map(f => f.querySelector('b').textContent)"
        )
        assert drawn == ["Feature norm", "NC1, within / between classes (log)", "Accuracy"]
        data = opened.execute_script(DRAWN)
        for name, pairs in curves.items():
            epochs, values = data[name]
            assert epochs == [epoch for epoch, _ in pairs]
            assert values == pytest.approx([value for _, value in pairs], rel=2**-23)


def test_the_curves_of_all_runs_are_those_of_the_store(opened: Any, store: Path) -> None:
    show_everything(opened)
    names = opened.execute_script(
        "return [...document.querySelectorAll('#all-charts figure b')].map(b => b.textContent)"
    )
    assert names == ["Feature norm (log)", "NC1 (log)"]
    epochs, *curves = opened.execute_script(DRAWN)["NC1 (log)"]
    assert len(curves) == 6
    assert epochs == list(range(10, 130, 10))
    # NC1 is exp(-epoch / 20) in all runs; the one that is called short ends at epoch 80
    ended = [curve for curve in curves if curve[-1] is None]
    assert len(ended) == 1
    assert ended[0][:8] == pytest.approx([math.exp(-epoch / 20) for epoch in range(10, 90, 10)], rel=2**-23)


def test_of_thousands_of_runs_the_chart_draws_the_first_and_the_page_of_each_has_its_curves(
    driver: Any, tmp_path: Path
) -> None:
    packed = as_text(np.array([[1, 2, 3], *[[0.3, 0.2, 0.1]] * 8], dtype="<f4").tobytes())
    columns = ("run", "status", "arch", "depth", "width", "dataset", "weight_decay", "seed", "epochs_done")
    columns += ("epochs_planned", "state", "onset", "lo", "hi", "fn_star", *LATEST, "band")
    row = dict.fromkeys(columns) | {"epochs_done": 3, "condition": "", "phases": [], "facts": {}}
    report = Report(
        **dict.fromkeys(("title", "store", "made", "rule", "command"), "x"),
        eps=0.01,
        notes=[],
        sections=[],
        runs=[row | {"id": number, "run": f"r{number}"} for number in range(1, 1203)],
        curves=dict.fromkeys(range(1, 1203), packed),
        every=7,
    )
    page = tmp_path / "many.html"
    page.write_text(render_report(report), encoding="utf-8")
    set_window(driver, width=1440)
    driver.get(page.as_uri())
    wait_for(driver, "performance.getEntriesByName('ncdiag-ready').length === 1")
    assert "one evaluation in 7" in driver.execute_script("return document.getElementById('thinned').textContent")
    driver.execute_script("document.getElementById('all-title').scrollIntoView({behavior: 'instant'})")
    wait_for(driver, "Charts.drawn.size === 2")
    note = driver.execute_script("return document.getElementById('all-note').textContent")
    assert note.startswith("The first 1000 of 1202 runs.")
    assert [len(data) for data in driver.execute_script(DRAWN).values()] == [1001, 1001]
    go_to_run(driver, 1202, charts=7)


def test_the_onset_is_written_and_drawn(opened: Any, store: Path) -> None:
    go_to_run(opened, ids(store)["deep-0"], charts=3)
    # NC1 passes 0.01 at 20 ln 100 = 92.1, where the norm is 1.1
    lead = opened.execute_script("return document.getElementById('run-lead').textContent")
    assert "collapsed at epoch 92, with fn* 1.1" in lead
    label = opened.execute_script("return document.querySelector('#run-charts .plot').getAttribute('aria-label')")
    assert label == (
        "Feature norm. from 1.1 at epoch 10 to 1.1 at epoch 120, smallest 1.1 at epoch 10. Onset at epoch 92."
    )


def test_what_is_drawn_around_the_curves_is_explained(opened: Any, store: Path) -> None:
    go_to_run(opened, ids(store)["deep-0"], charts=3)
    told = opened.execute_script("return document.getElementById('marks').textContent")
    assert all(word in told for word in ("phase", "onset", "threshold", "fn*"))
    assert opened.execute_script("return [...Charts.drawn].map(c => c.axes[0].label)") == ["epoch"] * 3


def test_on_paper_every_curve_is_dark_though_the_screen_was(opened: Any, store: Path) -> None:
    """What a dark screen shows in white would not be seen on paper."""
    set_window(opened, width=1000, dark=True)
    go_to_run(opened, ids(store)["deep-0"], charts=3)
    opened.execute_script("window.drawings = 0; [...Charts.drawn][0].hooks.draw.push(() => window.drawings++)")
    set_window(opened, width=1000, dark=True, media="print")
    wait_for(opened, "window.drawings > 0")
    names = [*(f"--c{n}" for n in range(1, 8)), "--onset"]
    hexes = opened.execute_script(
        "const style = getComputedStyle(document.documentElement);"
        "return arguments[0].map(name => style.getPropertyValue(name).trim())",
        names,
    )
    assert all(sum(int(color[at : at + 2], 16) for at in (1, 3, 5)) < 2 * 255 for color in hexes)


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_the_page_is_never_wider_than_the_window(opened: Any, store: Path, width: int) -> None:
    set_window(opened, width=width, height=800)
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    show_everything(opened)
    assert opened.execute_script(f"return {overflow}") == 0
    go_to_run(opened, ids(store)[ATTACK], charts=3)
    assert opened.execute_script(f"return {overflow}") == 0
    wait_for(opened, "[...Charts.drawn].every(c => c.root.getBoundingClientRect().right <= innerWidth)")


@pytest.mark.parametrize("width", [360, 390])
def test_a_phone_shows_the_verdict_of_every_claim(opened: Any, width: int) -> None:
    set_window(opened, width=width, height=800)
    edges = opened.execute_script(
        "return [...document.querySelectorAll('#claims > .scroll td[data-verdict]')]"
        ".map(cell => { const text = document.createRange(); text.selectNodeContents(cell);"
        " return text.getBoundingClientRect().right; })"
    )
    assert len(edges) >= 9
    assert max(edges) <= width


def cells(driver: Any, key: str) -> list[str]:
    return driver.execute_script(
        f"return [...document.querySelectorAll('#runs-table tbody td[data-key={key}]')].map(c => c.textContent)"
    )


def test_the_table_sorts_and_filters_by_keyboard(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    def press(*keys: str) -> None:
        opened.switch_to.active_element.send_keys(*keys)

    headings = "[...document.querySelectorAll('#runs-table thead th')]"
    find = f"{headings}.find(h => h.textContent === 'fn*')"
    opened.execute_script(f"{find}.querySelector('button').focus()")
    press(Keys.ENTER)
    assert opened.execute_script(f"return {find}.getAttribute('aria-sort')") == "ascending"
    assert cells(opened, "fnstar") == ["0.8333", "0.9091", "1.1", "1.2", "2", "–"]
    press(Keys.SPACE)
    assert opened.execute_script(f"return {find}.getAttribute('aria-sort')") == "descending"
    assert cells(opened, "fnstar") == ["2", "1.2", "1.1", "0.9091", "0.8333", "–"]
    press("/")
    wait_for(opened, "document.activeElement.id === 'filter'")
    press("epochs<100")
    assert opened.execute_script("return document.getElementById('shown').textContent") == "1 of 6 runs"
    assert cells(opened, "epochs") == ["80"]
    press(Keys.CONTROL, "a")
    press("deep collapsed")
    assert len(cells(opened, "epochs")) == 2


def test_charts_zoom_and_read_out_by_keyboard(opened: Any, store: Path) -> None:
    go_to_run(opened, ids(store)["deep-0"], charts=3)
    opened.execute_script("document.querySelector('#run-charts .plot').focus()")
    from selenium.webdriver.common.keys import Keys

    active = opened.switch_to.active_element
    active.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert opened.execute_script("return document.getElementById('readout').textContent") == (
        "Feature norm, epoch 20: 1.1"
    )
    active.send_keys("+")
    ranges = "return [...Charts.drawn].map(c => [c.scales.x.min, c.scales.x.max])"
    wait_for(opened, "[...Charts.drawn].every(c => c.scales.x.max < 120)")
    zoomed = opened.execute_script(ranges)
    assert zoomed[0] == zoomed[1] == zoomed[2]
    active.send_keys("0")
    wait_for(opened, "[...Charts.drawn].every(c => c.scales.x.max === 120)")
    opened.execute_script(
        "const f = document.getElementById('from-epoch'); f.value = 50; f.dispatchEvent(new Event('change'))"
    )
    wait_for(opened, "[...Charts.drawn].every(c => c.scales.x.min === 50 && c.scales.x.max === 120)")


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out_from_its_ground(opened: Any, store: Path, dark: bool) -> None:
    """WCAG AA asks for a contrast of 4.5."""
    set_window(opened, width=1440, dark=dark)
    show_everything(opened)
    ground = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
    found = opened.execute_script(CONTRAST)
    assert len(found) > 100
    assert [entry for entry in found if entry[0] < 4.5] == []
    go_to_run(opened, ids(store)["deep-0"], charts=3)
    assert [entry for entry in opened.execute_script(CONTRAST) if entry[0] < 4.5] == []


def test_the_switch_overrules_the_system(opened: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    button = opened.find_element("id", "theme")
    button.click()
    assert button.get_attribute("aria-label") == "Colours: light"
    button.click()
    assert opened.execute_script(f"return {ground}") == "rgb(20, 23, 27)"
    set_window(opened, width=1440, media="print")
    assert opened.execute_script(f"return {ground}") == "rgb(255, 255, 255)"  # nobody wants a black sheet of paper
    assert not opened.execute_script("return document.querySelector('.top').checkVisibility()")
    set_window(opened, width=1440)
    button.click()
    assert button.get_attribute("aria-label") == "Colours: as the system"


def test_a_screen_reader_finds_its_way(opened: Any) -> None:
    """Landmarks, one heading of the first level, no level left out, and a name for every table, chart and control."""
    show_everything(opened)
    count = "return document.querySelectorAll(arguments[0]).length"
    assert [opened.execute_script(count, tag) for tag in ("header", "nav#contents", "main", "footer")] == [1] * 4
    levels = opened.execute_script(
        "return [...document.querySelectorAll('h1,h2,h3,h4')].filter(h => h.checkVisibility()).map(h => +h.tagName[1])"
    )
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert opened.execute_script(count, "table:not(dd table):not(:has(caption))") == 0
    assert opened.execute_script(count, "th:not([scope])") == 0
    assert opened.execute_script(count, "img:not([alt]), .plot:not([aria-label]), input:not(:is([id]))") == 0
    unnamed = "return [...document.querySelectorAll('input')].filter(i => !i.labels.length).length"
    assert opened.execute_script(unnamed) == 0
    assert opened.execute_script("return document.documentElement.lang") == "en"
