"""A report of runs that are made up, as a browser shows it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from browser import console, go_to_run, open_browser, set_window, wait_for
from handmade import make_report, make_row, pack

from ncdiag.report.contents import Report
from ncdiag.report.page import render_report

pytestmark = pytest.mark.slow

CELLS = "return [...document.querySelectorAll(arguments[0])].map(cell => cell.textContent)"
READY = "performance.getEntriesByName('ncdiag-ready').length === 1"


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with open_browser() as opened:
        set_window(opened, width=1440)
        yield opened


@pytest.fixture
def show(driver: Any, tmp_path: Path) -> Callable[..., None]:
    """Open a page of a report in the browser, where an address has a part after its # there."""

    def opened(report: Report, part: str = "") -> None:
        page = tmp_path / "report.html"
        page.write_text(render_report(report), encoding="utf-8")
        driver.get("about:blank")
        driver.get(page.as_uri() + part)
        wait_for(driver, READY)

    return opened


def text(driver: Any, element: str) -> str:
    return str(driver.execute_script("return document.getElementById(arguments[0]).textContent", element))


def shown_facts(driver: Any) -> Mapping[str, str]:
    names = driver.execute_script(CELLS, "#run-facts dt")
    return dict(zip(names, driver.execute_script(CELLS, "#run-facts dd"), strict=True))


def test_whole_numbers_are_written_as_they_are_and_what_was_measured_with_four_digits(
    driver: Any, show: Callable[..., None]
) -> None:
    config = {"seed": 12346, "data": {"subset_seed": 2**31 - 1}, "lr": 0.00123456}
    rows = [
        make_row(1, seed=12345, epochs_done=12345, feature_norm=1234.56, nc1=2e8),
        make_row(2, seed=12346, epochs_done=12346, facts={"config": config, "seconds": 1234.56}),
        make_row(3, seed=2**31 - 2),
        make_row(4, seed=2**31 - 1),
    ]
    curves = pack(epoch=[12345, 12346], feature_norm=[12345.67, 30000], nc1=[2e8, 0.5])
    show(make_report(rows, {2: curves}))
    seeds = ["12345", "12346", "2147483646", "2147483647"]
    assert driver.execute_script(CELLS, "#runs-table td[data-key=seed]") == seeds
    assert driver.execute_script(CELLS, "#runs-table td[data-key=epochs]")[:2] == ["12345", "12346"]
    assert driver.execute_script(CELLS, "#runs-table td[data-key=fn]")[0] == "1235"
    assert driver.execute_script(CELLS, "#runs-table td[data-key=nc1]")[0] == "2e8"
    driver.find_element("id", "filter").send_keys("2147483646")
    assert text(driver, "shown") == "1 of 4 runs"
    go_to_run(driver, 2, charts=2)
    facts = shown_facts(driver)
    assert facts == {"seconds": "1235", "seed": "12346", "data.subset_seed": "2147483647", "lr": "0.00123456"}
    driver.execute_script("document.getElementById('run-values').open = true")
    wait_for(driver, "document.querySelectorAll('#values-table tbody tr').length === 2")
    assert driver.execute_script(CELLS, "#values-table tbody th") == ["12345", "12346"]
    assert driver.execute_script(CELLS, "#values-table tbody td") == ["12350", "2e8", "30000", "0.5"]


@pytest.mark.parametrize(
    ("state", "going", "in_table", "in_words"),
    [
        ("censored", False, "– censored", "no onset by the end"),
        ("censored", True, "– none yet", "no onset yet"),
        ("unconfirmed", False, "– unconfirmed", "below the threshold at the end, too briefly to count"),
        ("unconfirmed", True, "– unconfirmed", "below the threshold, too briefly to count yet"),
        ("no_data", True, "–", "not evaluated yet"),
        ("no_data", False, "– no data", "the metric was not measured"),
        (None, True, "–", "not evaluated yet"),
    ],
)
def test_of_a_run_that_goes_on_no_end_is_told(
    driver: Any, show: Callable[..., None], state: str | None, going: bool, in_table: str, in_words: str
) -> None:
    status = "running" if going else "done"
    show(make_report([make_row(1, state=state, status=status, unfinished=going)], {}))
    assert driver.execute_script(CELLS, "#runs-table td[data-key=onset]") == [in_table]
    driver.find_element("id", "filter").send_keys("censored")
    assert text(driver, "shown") == f"{int('censored' in in_table)} of 1 runs"
    go_to_run(driver, 1, charts=0)
    assert text(driver, "run-lead").startswith(f"{status}, 0 epochs; {in_words}.")


def test_the_head_of_a_run_says_nothing_twice(driver: Any, show: Callable[..., None]) -> None:
    condition = "mlp, mnist, depth 5, width 512, relu, wd 1e-4"
    show(make_report([make_row(1, arch="mlp", depth=5, width=512, dataset="mnist", condition=condition)], {}), "#run-1")
    assert text(driver, "run-lead").startswith("mlp 5x512, mnist, relu, wd 1e-4: done")


def test_the_skip_link_leads_to_the_contents_of_the_page_that_is_open(driver: Any, show: Callable[..., None]) -> None:
    show(make_report([make_row(1)], {}), "#run-1")
    wait_for(driver, "document.getElementById('run-page').dataset.run === '1'")
    driver.execute_script("document.querySelector('.skip').click()")
    assert driver.execute_script("return [document.activeElement.id, location.hash]") == ["main", "#run-1"]
    assert driver.execute_script("return document.getElementById('run-page').checkVisibility()")
    driver.execute_script("location.hash = 'runs'")
    wait_for(driver, "document.getElementById('overview-page').checkVisibility()")
    driver.execute_script("document.querySelector('.skip').click()")
    assert driver.execute_script("return [document.activeElement.id, location.hash]") == ["main", "#runs"]


def test_an_address_that_is_none_opens_the_overview(driver: Any, show: Callable[..., None]) -> None:
    console(driver)
    show(make_report([make_row(1)], {}), "#%E0%A4%A")  # waits for the end of the script
    assert driver.execute_script("return document.getElementById('overview-page').checkVisibility()")
    assert console(driver) == []


INKED = """
return [...document.querySelectorAll(arguments[0])].map(canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.some((value, at) => at % 4 === 3 && value > 0);
});
"""


@pytest.mark.parametrize(("part", "charts"), [("#run-1", 4), ("#top", 2)])
def test_paper_has_every_chart_though_the_window_did_not_show_it(
    driver: Any, show: Callable[..., None], part: str, charts: int
) -> None:
    set_window(driver, width=500, height=300)
    columns = {name: [0.5, 0.25] for name in ("feature_norm", "nc1", "nc3", "nc4")}
    rows = [make_row(number, epochs_done=2) for number in range(1, 30)]
    show(make_report(rows, {number: pack(epoch=[1, 2], **columns) for number in range(1, 30)}), part)
    assert driver.execute_script("return Charts.drawn.size") < charts
    driver.execute_cdp_cmd("Page.printToPDF", {})
    assert driver.execute_script(INKED, "canvas") == [True] * charts
    set_window(driver, width=1440)
