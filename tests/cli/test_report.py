import base64
import json
import math
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from clihelp import Cli, run_ncdiag
from scipy import stats

from ncdiag.domain.questions import QUESTIONS
from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs


def shared(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="shared">(.*?)</script>', page, flags=re.DOTALL)
    assert found
    return json.loads(found[1])


def test_a_report_is_one_file_with_every_question_and_every_run(store: Path, cli: Cli) -> None:
    answer = cli("report")
    assert (answer.code, answer.out) == (0, "")
    assert re.fullmatch(r"ncdiag: note: report of 5 runs written to report\.html \([\d.]+ [kM]B\)\n", answer.err)
    page = store.with_name("report.html").read_text(encoding="utf-8")
    assert re.findall(r'<section id="([^"]+)" class="question"', page) == list(QUESTIONS)
    assert QUESTIONS[0] == "claims"
    runs = shared(page)["runs"]
    assert [row["run"] for row in runs] == ["deep-0", "deep-1", "shallow-0", "shallow-1", "short"]
    # the geometric mean of the norms at onset, and its interval by Student's t
    logs = np.log([1.1, 1 / 1.1, 1.2, 1 / 1.2])
    lo, hi = np.exp(stats.t.interval(0.95, 3, loc=0, scale=stats.sem(logs)))
    assert [row["band"] for row in runs] == [pytest.approx([lo, 1, hi], rel=1e-3)] * 5
    assert len(re.findall(r'id="curves-\d+"', page)) == 5
    assert "store.db" not in page
    assert "holds one evaluation in" not in page
    assert "again with <code>ncdiag report --store ncdiag.db</code>" in page


def test_a_report_to_stdout_is_nothing_but_the_page(store: Path) -> None:
    asked = ("report", "-o", "-", "--where", "run=deep-0", "--store", str(store))
    done = run_ncdiag(*asked, HOME="/dev/null", MPLBACKEND="no_such_backend")
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = shared(done.stdout)["runs"]
    assert (row["fn_star"], row["band"]) == (1.1, None)  # one run gives no interval
    assert done.stdout.startswith("<!doctype html>")
    assert done.stdout.endswith("</html>")


@pytest.mark.usefixtures("store")
def test_curves_beyond_the_limit_are_thinned_and_that_is_said_at_once_and_on_the_page(cli: Cli) -> None:
    """Four runs of 15 evaluations and one of 8 take 68 x 59 bytes; every fourth from the last stays, and the first."""
    answer = cli("report", "-o", "-", "--max-mb", "0.001")
    assert answer.err == (
        "ncdiag: note: the curves of 5 runs would take more than 0.001 MB; the page holds one evaluation in 4.\n"
        "--where chooses runs, --max-mb allows more, `ncdiag serve` shows all\n"
    )
    curves = re.findall(r'id="curves-\d+">([^<]*)<', answer.out)
    columns = 11
    assert [len(base64.b64decode(text)) / 4 / columns for text in curves] == [5, 5, 5, 5, 3]
    assert answer.out.count("this page holds one evaluation in 4") == 2  # by the curves of all runs, and of each
    assert "ncdiag report --store ncdiag.db --max-mb 0.001" in answer.out
    # The onset is that of all evaluations: NC1 is exp(-(epoch / 33)^1.5), which passes 0.01 at 33 (ln 100)^(2/3).
    assert shared(answer.out)["runs"][0]["onset"] == pytest.approx(33 * 4.605170185988092 ** (2 / 3), rel=0.01)


@pytest.mark.usefixtures("store")
def test_the_options_decide_what_is_in_it(cli: Cli) -> None:
    page = cli("report", "-o", "-", "--where", "depth=5", "--eps", "0.05", "--title", "A <b> & c").out
    assert '<h1 id="title">A &lt;b&gt; &amp; c</h1>' in page
    data = shared(page)
    assert [row["run"] for row in data["runs"]] == ["deep-0", "deep-1"]
    assert data["eps"] == 0.05
    # NC1 is exp(-(epoch / 33)^1.5), which passes 0.05 at 33 (ln 20)^(2/3)
    assert data["runs"][0]["onset"] == pytest.approx(33 * 2.995732273553991 ** (2 / 3), rel=0.02)
    typed = "ncdiag report --store ncdiag.db --where depth=5 --eps 0.05 --title 'A <b> & c'"
    assert typed in unescape(page)
    assert "--title" not in cli("report", "-o", "-").out


def test_a_grid_of_different_phases_is_compared_if_asked_for(cli: Cli, tmp_path: Path) -> None:
    """Of one cell NC1 = exp(-epoch / time) passes 0.01 before the loss is switched, at 5 ln 100, else at 15 ln 100."""
    runs = [
        ImportedRun(
            name=f"{depth}-{width}-{seed}",
            config={"arch": "mlp", "depth": depth, "width": float(width), "dataset": "digits", "seed": seed},
            epochs=tuple(
                EpochRecord(
                    epoch=epoch,
                    phase=1 + (epoch > 40),
                    loss="mse" if epoch > 40 else "ce",
                    feature_norm=depth + seed / 100,
                    nc1=math.exp(-epoch / (5 if depth * width == 320 else 15)),
                )
                for epoch in range(1, 121)
            ),
            source="synthetic.csv",
        )
        for depth in (3, 5)
        for width in (64, 128)
        for seed in range(3)
    ]
    path = str(tmp_path / "mixed.db")
    with open_store(path, write=True) as opened:
        import_runs(opened, runs)
    refused, mixed = (
        cli("report", "-o", "-", "--by", "depth,width", "--store", path, *more).out for more in ((), ("--mix-phases",))
    )
    assert "or accept the mixture with" in refused
    assert "or accept the mixture with" not in mixed
    assert "--by depth,width --mix-phases</code>" in mixed


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("--where", "depth=9"), 2, "none of the 5 runs fits"),
        (("-o", "nowhere/r.html", "--store", "none.db"), 2, "does not exist"),  # before anything is read
        (("-o", "report.pdf"), 2, "report.pdf ends in .pdf; a report is HTML"),
        (("--by", "colour"), 2, "no column 'colour'"),
        (("--store", "none.db"), 3, "no store at"),
    ],
)
def test_what_cannot_be_reported_is_said(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, what: str
) -> None:
    monkeypatch.setattr("ncdiag.report.page.render_report", None)  # at once, not after the work
    answer = cli("report", *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert what in answer.err
    assert not Path("report.html").exists()
