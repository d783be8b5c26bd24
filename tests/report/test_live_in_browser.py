"""An open page that follows a server, whose runs grow and whose store cannot always be read."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from browser import console, open_browser, set_window, wait_for
from handmade import make_report, make_row, pack

from ncdiag.errors import StoreError
from ncdiag.report.contents import Report
from ncdiag.report.page import render_answers, render_report
from ncdiag.report.server import ReportServer

pytestmark = pytest.mark.slow

# Bodies of which one is a whole number of columns of four-byte floats, so that it could be taken for an epoch.
TROUBLES = ["the store is busy: another process locks it", "the store is busy: another process locks it!"]
LABELS = "return [...document.querySelectorAll('#run-charts .plot')].map(plot => plot.getAttribute('aria-label'))"
STALE = "document.getElementById('stale').checkVisibility()"
EPOCHS = "return [...Charts.drawn].map(chart => [...chart.data[0]])"


class Growing:
    """A source of runs that all have NC1 = 1 / epoch, and a norm that is the number of the run."""

    def __init__(self) -> None:
        self.epochs = {1: 3, 2: 5}
        self.trouble = ""
        self.asked: list[tuple[int, int]] = []

    def report(self) -> Report:
        rows = [
            make_row(number, epochs_done=last, status="running", unfinished=True)
            for number, last in self.epochs.items()
        ]
        return make_report(rows, {}, live=True)

    def page(self) -> str:
        return render_report(self.report())

    def runs(self) -> str:
        return json.dumps({"runs": self.report().runs})

    def answers(self) -> str:
        return render_answers(self.report())

    def curves(self, run_id: int, after: int) -> bytes | None:
        if self.trouble:
            raise StoreError(self.trouble)
        self.asked.append((run_id, after))
        if run_id not in self.epochs:
            return None
        epochs = [epoch for epoch in range(1, self.epochs[run_id] + 1) if epoch > after]
        return pack(epoch=epochs, nc1=[1 / epoch for epoch in epochs], feature_norm=[run_id] * len(epochs))


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with open_browser() as opened:
        set_window(opened, width=1000, height=700)
        yield opened


@pytest.fixture
def source() -> Growing:
    return Growing()


@pytest.fixture
def url(driver: Any, source: Growing) -> Iterator[str]:
    with ReportServer(source, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.url
        driver.get("about:blank")
        server.shutdown()
        thread.join()


def text(driver: Any, element: str) -> str:
    return str(driver.execute_script("return document.getElementById(arguments[0]).textContent", element))


def open_run(driver: Any, url: str, number: int) -> None:
    driver.get(f"{url}#run-{number}")
    wait_for(driver, f"document.getElementById('run-page').dataset.run === '{number}'")
    wait_for(driver, "Charts.drawn.size === 2")


def open_all(driver: Any, url: str) -> None:
    driver.get(url)
    driver.execute_script("document.documentElement.style.scrollBehavior = 'auto'; scrollTo(0, 1e6)")
    wait_for(driver, "Charts.drawn.size === 2")
    driver.execute_script("scrollTo(0, 1e6)")


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_says_why_there_are_no_curves_is_not_taken_for_them(
    driver: Any, source: Growing, url: str, trouble: str
) -> None:
    assert {len(body.encode()) % 44 for body in TROUBLES} == {43, 0}  # of eleven columns
    open_run(driver, url, 1)
    before = driver.execute_script(LABELS)
    source.trouble, source.epochs[1] = trouble, 4
    wait_for(driver, STALE)
    assert text(driver, "stale") == f"T{trouble[1:]}; what is shown is from before."
    assert driver.execute_script(LABELS) == before
    cells = "[...document.querySelectorAll('#runs-table td[data-key=epochs]')].map(cell => cell.textContent)"
    assert driver.execute_script(f"return {cells}") == ["4", "5"]  # which the server said before
    source.trouble = ""
    wait_for(driver, f"!{STALE}")
    assert driver.execute_script(EPOCHS) == [[1, 2, 3, 4]] * 2
    assert source.asked == [(1, -1), (1, 3)]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_run_that_cannot_be_had_says_so_and_comes_later(driver: Any, source: Growing, url: str, trouble: str) -> None:
    console(driver)
    source.trouble = trouble
    driver.get(f"{url}#run-2")
    wait_for(driver, "document.getElementById('run-note').checkVisibility()")
    wait_for(driver, "document.getElementById('run-note').textContent")
    assert text(driver, "run-note") == f"The curves of this run cannot be had: {trouble}. Trying again."
    source.trouble = ""
    wait_for(driver, "Charts.drawn.size === 2")
    assert text(driver, "run-note") == ""
    assert driver.execute_script(EPOCHS) == [[1, 2, 3, 4, 5]] * 2
    assert not [message for message in console(driver) if "503" not in message]


def test_all_curves_that_cannot_be_had_come_later(driver: Any, source: Growing, url: str) -> None:
    source.trouble = TROUBLES[0]
    driver.get(url)
    driver.execute_script("document.getElementById('all-title').scrollIntoView({behavior: 'instant'})")
    wait_for(driver, "document.getElementById('all-note').textContent")
    assert text(driver, "all-note") == f"The curves cannot be had: {TROUBLES[0]}. Trying again."
    source.trouble = ""
    wait_for(driver, "Charts.drawn.size === 2")
    assert text(driver, "all-note").startswith("2 runs. ")


def test_all_curves_stay_in_place_while_runs_grow(driver: Any, source: Growing, url: str) -> None:
    open_all(driver, url)
    driver.execute_script(
        "window.figures = [...document.querySelectorAll('#all-charts figure')]; window.top_ = scrollY;"
        "window.heights = new Set(); new MutationObserver(() => heights.add(document.body.scrollHeight))"
        ".observe(document.getElementById('all-charts'), {childList: true, subtree: true})"
    )
    source.epochs[2] = 6
    wait_for(driver, "[...Charts.drawn].every(chart => chart.data[0].length === 6)")
    assert driver.execute_script("return figures.every(figure => figure.isConnected) && scrollY === top_")
    source.epochs[3] = 7
    wait_for(driver, "Charts.drawn.size === 2 && [...Charts.drawn].every(chart => chart.data.length === 4)")
    assert driver.execute_script("return scrollY - top_") >= 0  # the table has a row more
    assert driver.execute_script("return Math.min(...heights) >= top_ + innerHeight")
    assert text(driver, "all-note").startswith("3 runs. ")
    driver.find_element("id", "filter").send_keys("run-3")
    wait_for(driver, "Charts.drawn.size === 2 && [...Charts.drawn].every(chart => chart.data.length === 2)")
    assert driver.execute_script(EPOCHS) == [[1, 2, 3, 4, 5, 6, 7]] * 2


def test_a_zoom_stays_while_a_run_grows(driver: Any, source: Growing, url: str) -> None:
    open_run(driver, url, 2)
    driver.execute_script(
        "const f = document.getElementById('from-epoch'); f.value = 3; f.dispatchEvent(new Event('change'))"
    )
    wait_for(driver, "[...Charts.drawn].every(chart => chart.scales.x.min === 3)")
    source.epochs[2] = 6
    wait_for(driver, "[...Charts.drawn].every(chart => chart.data[0].length === 6)")
    ranges = driver.execute_script("return [...Charts.drawn].map(chart => [chart.scales.x.min, chart.scales.x.max])")
    assert ranges == [[3, 5]] * 2
    driver.execute_script("location.hash = 'run-1'")
    wait_for(driver, "document.getElementById('run-page').dataset.run === '1'")
    assert driver.execute_script("return document.getElementById('from-epoch').value") == ""


def test_epochs_that_were_discarded_go_from_the_charts(driver: Any, source: Growing, url: str) -> None:
    open_run(driver, url, 2)
    source.epochs[2] = 2
    wait_for(driver, "[...Charts.drawn].every(chart => chart.data[0].length === 2)")


def test_a_run_may_come_and_go_while_its_page_is_open(driver: Any, source: Growing, url: str) -> None:
    driver.get(f"{url}#run-3")
    wait_for(driver, "document.getElementById('run-title').textContent === 'No such run'")
    source.epochs[3] = 2
    wait_for(driver, "Charts.drawn.size === 2")
    del source.epochs[3]
    wait_for(driver, "document.getElementById('run-title').textContent === 'No such run'")
    assert driver.execute_script("return Charts.drawn.size") == 0
