"""Measurements that no line of a chart shows, as a browser draws them."""

from pathlib import Path

import pytest
from browser import go_to_run, open_browser, set_window

from ncdiag.cli.app import run
from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs

pytestmark = pytest.mark.slow

# How many strokes of colour stand side by side in a chart: one for a whole curve, and one for each dot.
STROKES = """
const chart = [...Charts.drawn].find(chart => chart.name.startsWith(arguments[0]));
const { left, top, width, height } = chart.bbox;
const pixels = chart.ctx.getImageData(left, top, width, height);
const coloured = Array(pixels.width).fill(false);
for (let at = 0; at < pixels.data.length; at += 4) {
  const [r, g, b, alpha] = pixels.data.slice(at, at + 4);
  if (alpha > 100 && Math.max(r, g, b) - Math.min(r, g, b) > 60) coloured[at / 4 % pixels.width] = true;
}
return coloured.filter((here, place) => here && !coloured[place - 1]).length;
"""


def test_what_was_measured_now_and_then_is_drawn_as_dots(tmp_path: Path) -> None:
    often = [{"epoch": epoch, "feature_norm": 9.0 - epoch / 10} for epoch in range(1, 31)]
    seldom = [{"nc1": 1.0 - row["epoch"] / 100} if row["epoch"] % 10 == 0 else {} for row in often]
    epochs = tuple(EpochRecord(**said, **more) for said, more in zip(often, seldom, strict=True))
    single = (EpochRecord(epoch=1, feature_norm=9.0, nc1=0.9),)
    path = tmp_path / "seldom.db"
    with open_store(str(path), write=True) as store:
        runs = [ImportedRun(name="seldom", config={}, epochs=epochs, source="a.csv")]
        runs.append(ImportedRun(name="single", config={}, epochs=single, source="b.csv"))
        stored = import_runs(store, runs).runs
    assert run(["report", "--store", str(path), "-o", str(tmp_path / "seldom.html")]) == 0
    with open_browser() as driver:
        set_window(driver, width=1440)
        driver.get((tmp_path / "seldom.html").as_uri())
        found = []
        for one in stored:
            go_to_run(driver, one.id, charts=2)
            found.append([driver.execute_script(STROKES, title) for title in ("Feature norm", "NC1")])
    assert found == [[1, 3], [1, 1]]
