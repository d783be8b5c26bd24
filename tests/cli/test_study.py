"""The study's table comes out of the study's data, by the commands that its page gives."""

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


def test_the_data_stays_small():
    assert sum(file.stat().st_size for file in STUDY.rglob("*.gz")) < 20e6
