import io
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from clihelp import Cli
from falling import falling, make_falling_store

import ncdiag
from ncdiag.errors import AnalysisError, SpecError, StoreError, UnknownRunError
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs

ONSET = 20 * math.log(100)  # of exp(-epoch / 20) at 0.01


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_falling_store(tmp_path / "runs.db")


def add_twin(store: Path) -> None:
    with open_store(str(store), write=True) as opened:
        import_runs(opened, [falling("twin", depth=5, seed=0, norm=1.1, epochs=110)])


def test_onsets_are_those_of_the_formula(store: Path) -> None:
    table = ncdiag.read_onsets(store).set_index("run")
    assert dict(table["state"]) == dict.fromkeys(table.index[:4], "collapsed") | {"short": "censored"}
    assert table["onset"].iloc[:4].tolist() == pytest.approx([ONSET] * 4)
    assert table["fn_star"].iloc[:4].tolist() == pytest.approx([1.1, 1 / 1.1, 1.2, 1 / 1.2])
    short = table.loc["short"]
    assert (math.isnan(short["onset"]), short["censored_at"], short["depth"]) == (True, 80, 3)


def test_what_counts_as_onset_is_said_as_on_the_command_line(store: Path) -> None:
    at = ncdiag.read_onsets(store, where="seed=0", eps=0.05, rule="first")
    assert (at["run"].tolist(), at["onset"].tolist()) == (["deep-0", "shallow-0"], [60, 60])  # logged after 20 ln 20
    assert ncdiag.read_onsets(store, phase=1)["state"].eq("censored").all()
    with pytest.raises(TypeError, match="epz"):
        ncdiag.read_onsets(store, epz=0.1)  # type: ignore[call-arg]
    with pytest.raises(AnalysisError, match="eps must be"):
        ncdiag.read_onsets(store, eps=-1)


def test_an_analysis_is_what_the_command_prints(store: Path, cli: Cli) -> None:
    for question in ("threshold", "claims", "weight-decay"):
        given = ncdiag.analyze(question, store, by="dataset, arch", level=0.9)
        answer = cli("analyze", question, "--by", "dataset,arch", "--level", "0.9", "--format", "csv", "--store", store)
        printed = pd.read_csv(io.StringIO(answer.out))
        assert list(given) == list(printed)
        for column in ("quantity", "status", "n_runs"):
            assert given[column].tolist() == printed[column].tolist()
        figures = ["estimate", "lo", "hi", "p"]
        np.testing.assert_allclose(given[figures].astype(float), printed[figures].astype(float), rtol=1e-13)
        assert given["warnings"].tolist() == [json.loads(text) for text in printed["warnings"]]


def test_an_analysis_without_results_has_its_columns(store: Path, cli: Cli) -> None:
    answer = cli("analyze", "attractor", "--format", "csv", "--store", store)
    given = ncdiag.analyze("attractor", store)
    assert (list(given), len(given)) == (answer.out.strip().split(","), 0)
    assert given[given["quantity"] == "verdict"].empty


def test_runs_and_epochs_are_those_of_the_filter(store: Path) -> None:
    assert ncdiag.read_runs(store, where="depth=3")["run"].tolist() == ["shallow-0", "shallow-1", "short"]
    epochs = ncdiag.read_epochs(store, where="depth=3 and seed>0")
    assert epochs.groupby("run")["epoch"].max().to_dict() == {"shallow-1": 120, "short": 80}
    assert epochs["nc1"].tolist() == [math.exp(-epoch / 20) for epoch in epochs["epoch"]]


def test_a_forecast_is_what_the_command_prints(store: Path, cli: Cli) -> None:
    found = ncdiag.predict("short", store, level=0.8)
    printed = json.loads(cli("predict", "short", "--level", "0.8", "--format", "json", "--store", store).out)
    assert (found.status, found.onset, found.n_calibration) == ("forecast", printed["onset"], 4)
    assert found.onset == pytest.approx(ONSET)
    assert ncdiag.predict("short", store, level=0.8, by="arch, weight-decay").n_calibration == 4


def test_runs_that_are_not_counted_are_told(store: Path) -> None:
    add_twin(store)
    with pytest.warns(UserWarning, match="1 run has the settings and the seed of another"):
        found = ncdiag.analyze("threshold", store)
    assert found["n_runs"].max() == 5
    assert len(ncdiag.read_onsets(store)) == 6


def test_the_usual_store_is_that_of_the_commands(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCDIAG_STORE", str(store))
    assert len(ncdiag.read_runs()) == 5


def test_any_phase_may_be_asked_for_by_the_word_of_the_command_line(store: Path) -> None:
    assert ncdiag.read_onsets(store, phase="any").equals(ncdiag.read_onsets(store))


def test_bad_input_has_the_errors_of_the_command_line(store: Path) -> None:
    with pytest.raises(StoreError, match=r"none\.db"):
        ncdiag.read_runs(store.with_name("none.db"))
    with pytest.raises(AnalysisError, match="none of the 5 runs fits"):
        ncdiag.read_epochs(store, where="depth=9")
    with pytest.raises(UnknownRunError, match="did you mean short"):
        ncdiag.predict("shor", store)
    with pytest.raises(SpecError, match="threshold"):
        ncdiag.analyze("thresholds", store)
    with pytest.raises(SpecError, match="confidence of the intervals"):
        ncdiag.analyze("threshold", store, level=95)
    with pytest.raises(SpecError, match=r"confidence of the intervals.*not '0\.95'"):
        ncdiag.analyze("threshold", store, level="0.95")  # type: ignore[arg-type]
    with pytest.raises(AnalysisError, match=r"None is any of them; not '2'"):
        ncdiag.analyze("threshold", store, phase="2")  # type: ignore[arg-type]
    with pytest.raises(AnalysisError, match="patience counts evaluations and must be at least 1, not '3'"):
        ncdiag.read_onsets(store, patience="3")  # type: ignore[arg-type]
    with pytest.raises(AnalysisError, match="no column 'datset'"):
        ncdiag.predict("short", store, by=["arch", "datset"])
