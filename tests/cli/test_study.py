"""The study's table comes out of the study's data, by the commands that its page gives."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from clihelp import ROOT, Cli

from ncdiag.analysis.branches import is_rescaled
from ncdiag.analysis.courses import run_courses
from ncdiag.analysis.onsets import onset_table
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.domain.own_course import BEFORE_SLOWING, BEFORE_STEADY, HORIZON, READINGS, read_course
from ncdiag.store.engine import open_store
from ncdiag.store.frames import epochs_frame, runs_frame

STUDY = ROOT / "docs/study"


@pytest.mark.slow
@pytest.mark.parametrize("part", ["digits", "subset"])
def test_the_claims_table_is_reproduced_to_the_last_digit(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
):
    store = tmp_path / f"{part}.db"
    monkeypatch.chdir(STUDY)
    assert cli("import", f"{part}/epochs.csv.gz", "--manifest", f"{part}/runs.csv.gz", "--store", store).code == 0
    answer = cli("analyze", "claims", "--store", store)
    printed = answer.out.split("\n\nWhat to train")[0]
    assert printed in (STUDY / "README.md").read_text(encoding="utf-8")
    assert printed.count("\n") > 40


@pytest.mark.slow
def test_the_grid_is_reproduced_to_the_last_digit(cli: Cli, tmp_path: Path):
    printed = analyzed(cli, tmp_path / "grid.db", "additivity").rstrip("\n")
    assert printed in (STUDY / "README.md").read_text(encoding="utf-8")
    assert printed.count("\n") > 20


def test_the_norm_of_the_decisive_cell_is_what_the_page_says(cli: Cli, tmp_path: Path):
    (fn_star, *_) = json.loads(analyzed(cli, tmp_path / "cell.db", "threshold", "--format", "json"))["results"]
    assert f"**fn\\* = {fn_star['estimate']:.2f}**" in (STUDY / "README.md").read_text(encoding="utf-8")


def analyzed(cli: Cli, store: Path, *question: str) -> str:
    """Import the part of the study that a store is called after, and give what `analyze` prints of it."""
    folder = STUDY / store.stem
    done = cli("import", folder / "epochs.csv.gz", "--manifest", folder / "runs.csv.gz", "--store", store)
    assert done.code == 0, done.err
    return cli("analyze", *question, "--store", store).out


def test_the_data_stays_small():
    assert sum(file.stat().st_size for file in STUDY.rglob("*.gz")) < 20e6


@pytest.mark.slow
def test_what_a_run_alone_says_came_out_as_the_page_says(cli: Cli, tmp_path: Path):
    """Ask every run of the study, when NC1 first was as near, what its own course says, and count what happened."""
    asked: dict[tuple[str, float], list[tuple[float, float, bool]]] = {}
    for part in ("digits", "subset", "grid", "cell"):
        store = tmp_path / f"{part}.db"
        analyzed(cli, store, "threshold")
        with open_store(str(store)) as opened:
            runs = runs_frame(opened)
            epochs = epochs_frame(opened, runs["run_id"].tolist())
        table = onset_table(runs, epochs, OnsetRule())
        table = table[~is_rescaled(table) & table["state"].isin(["collapsed", "censored"])]
        courses = run_courses(epochs, "nc1")
        table["until"] = table["onset"].fillna(table["last_epoch"])
        for run, arch, until, state in table[["run", "arch", "until", "state"]].itertuples(index=False):
            curve = courses[run].curves["nc1"]
            for times in (10, 5, 3, 2):
                near = np.flatnonzero(curve.log <= math.log(times * 0.01))
                collapsed = state == "collapsed"
                if not len(near) or ((now := float(curve.epoch[near[0]])) >= until and collapsed):
                    continue
                own = read_course(courses[run], "nc1", now=now, log_level=math.log(0.01))
                if not math.isnan(own.steady):
                    said = [min(reading, HORIZON * now) for reading in (own.steady, own.slowing)]  # as it is told
                    for key in ((arch, 0), ("all", times), ("all", 0)):
                        asked.setdefault(key, []).append((until / said[0], until / said[1], collapsed))
    page = (ROOT / "docs/statistics.md").read_text(encoding="utf-8")
    for (arch, times), outcomes in asked.items():
        steady, slowing = collapsed_before(outcomes)
        who = arch if arch != "all" else f"{times} eps" if times else "all"
        assert re.search(rf"\| {who} +\| {len(outcomes)} +\| {steady:.0%} +\| {slowing:.0%} +\|", page), (
            f"| {who} | {len(outcomes)} | {steady:.0%} | {slowing:.0%} |"
        )
    found = [round(share, 2) for share in collapsed_before(asked["all", 0])]
    assert [len(asked["all", 0]), *found] == [READINGS, BEFORE_STEADY, BEFORE_SLOWING]


def collapsed_before(outcomes: list[tuple[float, float, bool]]) -> list[float]:
    """Give the shares that collapse before each of two readings, by Kaplan and Meier on the part of it that had passed.

    A run that ended before a reading came due counts until then: of what became of it nobody knows.
    """
    *parts, collapsed = np.array(outcomes).T
    shares = []
    for part in parts:
        left = 1.0
        for at in np.unique(part[(collapsed > 0) & (part < 1 - 1e-9)]):
            left *= 1 - np.sum((part == at) & (collapsed > 0)) / np.sum(part >= at)
        shares.append(float(1 - left))
    return shares
