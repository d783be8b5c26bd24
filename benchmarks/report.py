"""How large a report is, how long it takes to write, and how long a browser takes until it can be used.

    python benchmarks/report.py [RUNS] [EPOCHS]

Makes a store of so many runs in a temporary folder (500 of 400 epochs if nothing is said), writes the report of it, and
opens that from disk in Debian's headless Chromium. Seconds of a core are those that other work beside does not lengthen
much; times in the browser are counted from the start of the navigation.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

from ncdiag.cli.app import run
from ncdiag.domain.records import EpochRecord, ImportedRun, Plain
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs

LOOKS = 5
READY = "return performance.getEntriesByName('ncdiag-ready')[0]?.startTime"
# From the click on a run until its first charts are drawn, and from the way back until all curves of all runs are.
OPEN_RUN = """
const done = arguments[0], start = performance.now();
location.hash = 'run-7';
(function look() { Charts.drawn.size ? done(performance.now() - start) : requestAnimationFrame(look); })();
"""
DRAW_ALL = """
const done = arguments[0], start = performance.now();
location.hash = 'runs';
setTimeout(() => document.getElementById('all-title').scrollIntoView({behavior: 'instant'}), 50);
(function look() { document.querySelectorAll('#all-charts canvas').length > 1
  ? done(performance.now() - start - 50) : requestAnimationFrame(look); })();
"""
FILTER = """
const start = performance.now(), filter = document.getElementById('filter');
filter.value = 'wd=0.0001 collapsed';
filter.dispatchEvent(new Event('input'));
return performance.now() - start;
"""


def make_run(number: int, epochs: int, noise: np.random.Generator) -> ImportedRun:
    arch, dataset = (("mlp", "digits"), ("mlp", "mnist"), ("resnet20", "mnist"), ("resnet20", "cifar10"))[number % 4]
    speed = np.exp(noise.normal(0, 0.3)) / 40
    jitter = np.exp(noise.normal(0, 0.05, (9, epochs)))
    records = tuple(
        EpochRecord(
            epoch=epoch,
            phase=1 if epoch <= epochs // 3 else 2,
            loss="ce" if epoch <= epochs // 3 else "mse",
            train_loss=float(np.exp(-epoch / 60) * jitter[0, epoch - 1]),
            train_accuracy=float(1 - np.exp(-epoch / 20) / 2),
            test_accuracy=float(0.97 - np.exp(-epoch / 20) / 2),
            feature_norm=float((1.5 + 20 * np.exp(-epoch * speed)) * jitter[1, epoch - 1]),
            nc1=float(np.exp(-epoch * speed) * jitter[2, epoch - 1]),
            nc2_equiangular=float(0.05 + np.exp(-epoch / 90) / 3 * jitter[3, epoch - 1]),
            nc3=float(0.1 + np.exp(-epoch / 90) / 2 * jitter[4, epoch - 1]),
            nc4=float(np.exp(-epoch / 15) / 9 * jitter[5, epoch - 1]),
        )
        for epoch in range(1, epochs + 1)
    )
    decay = (1e-5, 5e-5, 1e-4, 5e-4)[number // 4 % 4]
    config: dict[str, Plain | None] = {
        "arch": arch,
        "dataset": dataset,
        "depth": 5,
        "width": 512.0,
        "seed": number,
        "weight_decay": decay,
    }
    return ImportedRun(name=f"made-{number}", config=config, epochs=records, source="made.csv")


def main() -> None:
    runs, epochs = (int(text) for text in (sys.argv[1:] + ["500", "400"][len(sys.argv) - 1 :]))
    noise = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        store, page = Path(folder) / "runs.db", Path(folder) / "report.html"
        with open_store(str(store), write=True) as opened:
            import_runs(opened, [make_run(number, epochs, noise) for number in range(runs)])
        start, busy = time.monotonic(), time.process_time()
        if run(["report", "--store", str(store), "-o", str(page)]):
            sys.exit("no report was written")
        busy, taken_in_all = time.process_time() - busy, time.monotonic() - start
        print(f"{runs} runs of {epochs} epochs: written in {busy:.1f} s of a core, {taken_in_all:.1f} s in all")
        options = webdriver.ChromeOptions()
        for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(option)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
        driver.set_script_timeout(120)
        names = ("until it can be used", "a run opened", "all curves drawn", "filtered")
        taken = []
        for _ in range(LOOKS):
            driver.get("about:blank")
            driver.get(page.as_uri())
            ready = WebDriverWait(driver, 120).until(lambda d: d.execute_script(READY))
            opened_in, drawn = (driver.execute_async_script(script) for script in (OPEN_RUN, DRAW_ALL))
            taken.append((ready, opened_in, drawn, driver.execute_script(FILTER)))
        driver.quit()
        for name, times in zip(names, zip(*taken, strict=True), strict=True):
            print(f"{name}: median {np.median(times):.0f} ms, from {min(times):.0f} to {max(times):.0f}")


if __name__ == "__main__":
    main()
