"""The study's table comes out of the study's data, by the commands that its page gives."""

import json
from pathlib import Path

import pytest
from clihelp import ROOT, Cli

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
