import base64
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from falling import falling

from ncdiag.analysis.onsets import onset_table
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.report.runs import CURVES, LATEST, UNREAD, as_text, keep_every, packed_curves, run_rows, thin_out
from ncdiag.store.engine import open_store
from ncdiag.store.frames import epochs_frame, runs_frame
from ncdiag.store.imports import import_runs


def frames(path: Path, *runs: ImportedRun) -> tuple[pd.DataFrame, pd.DataFrame]:
    with open_store(str(path), write=True) as store:
        import_runs(store, runs)
        return runs_frame(store), epochs_frame(store)


def strange(**values: float) -> ImportedRun:
    epochs = (EpochRecord(epoch=3, phase=1), EpochRecord(epoch=5, phase=2, loss="mse", **values))
    return ImportedRun(name="strange", config={"arch": "mlp"}, epochs=epochs, source="made.csv")


def test_columns_are_packed_as_float32_in_little_endian_order(tmp_path: Path) -> None:
    _, epochs = frames(tmp_path / "a.db", falling("one", depth=5, seed=0, norm=1.1), strange(nc1=1e-30))
    packed = packed_curves(epochs)
    assert set(packed) == {1, 2}
    values = np.frombuffer(base64.b64decode(as_text(packed[1])), dtype="<f4").reshape(len(CURVES), 12)
    named = dict(zip(CURVES, values, strict=True))
    assert named["epoch"].tolist() == list(range(10, 130, 10))
    # NC1 is exp(-epoch / 20), rounded to 24 bits
    assert named["nc1"] == pytest.approx([math.exp(-epoch / 20) for epoch in range(10, 130, 10)], rel=2**-24)
    assert np.isnan(named["nc4"]).all()
    other = np.frombuffer(packed[2], dtype="<f4").reshape(len(CURVES), 2)
    assert other[0].tolist() == [3, 5]
    assert math.isnan(other[CURVES.index("nc1"), 0])
    assert other[CURVES.index("nc1"), 1] == pytest.approx(1e-30)


def test_a_value_beyond_float32_is_infinite_and_one_that_was_not_finite_stays(tmp_path: Path) -> None:
    _, epochs = frames(tmp_path / "a.db", strange(nc1=1e300, feature_norm=math.inf, nc3=math.nan))
    named = dict(zip(CURVES, np.frombuffer(packed_curves(epochs)[1], dtype="<f4").reshape(-1, 2), strict=True))
    assert named["nc1"][1] == named["feature_norm"][1] == math.inf
    assert math.isnan(named["nc3"][1])


def test_as_many_evaluations_are_kept_as_have_room() -> None:
    # eleven columns of four bytes, and base64 writes three bytes as four: 176 bytes for three evaluations
    assert keep_every(3000, 176_000) == 1
    assert keep_every(3001, 176_000) == 2
    assert keep_every(4_000_000, 50e6) == 5
    assert keep_every(0, 1) == 1


def test_thinned_curves_keep_their_first_and_last_evaluation(tmp_path: Path) -> None:
    runs = [falling("long", depth=5, seed=0, norm=1.1), falling("short", depth=5, seed=1, norm=1, epochs=50)]
    _, epochs = frames(tmp_path / "a.db", *runs)
    kept = thin_out(epochs, 5).groupby("run")["epoch"].apply(list).to_dict()
    assert kept == {"long": [10, 20, 70, 120], "short": [10, 50]}
    assert thin_out(epochs, 1).equals(epochs)
    assert thin_out(epochs.iloc[:0], 3).empty


def test_without_epochs_nothing_is_packed(tmp_path: Path) -> None:
    _, epochs = frames(tmp_path / "a.db", strange())
    assert packed_curves(epochs.iloc[:0]) == {}


def test_a_row_has_what_the_table_and_the_page_of_a_run_show(tmp_path: Path) -> None:
    runs, epochs = frames(tmp_path / "a.db", falling("one", depth=5, seed=0, norm=1.1), strange(nc1=math.inf))
    onsets = onset_table(runs, epochs, OnsetRule())
    one, other = run_rows(onsets, epochs, conditions=["deep", ""], bands={1: (1.0, 1.1, 1.2)})
    assert (one["id"], one["run"], one["status"], one["width"], one["epochs_done"]) == (1, "one", "done", 128, 120)
    assert one["onset"] == pytest.approx(20 * math.log(100))  # where exp(-epoch / 20) is 0.01
    assert (one["state"], one["lo"], one["hi"], one["fn_star"]) == ("collapsed", 90, 100, 1.1)
    assert one["nc1"] == pytest.approx(math.exp(-6))
    assert one["phases"] == [[10, "CE"], [40, "MSE"]]  # the norm falls from epoch 40, the last under CE, to 50
    assert (one["condition"], one["band"]) == ("deep", [1.0, 1.1, 1.2])
    assert one["facts"]["source"] == "synthetic.csv"
    assert one["facts"]["config"]["depth"] == 5
    assert "reason" not in one["facts"]
    assert one["unfinished"] is False
    assert other["phases"] == [[3, "phase 1"], [3, "MSE"]]  # of phase 1 there is one evaluation
    assert (other["band"], other["onset"], other["seed"]) == (None, None, None)
    assert other["nc1"] == "inf"  # which JSON cannot hold as a number
    json.dumps([one, other], allow_nan=False)


def test_the_columns_that_take_the_epochs_are_the_unread_and_the_latest(tmp_path: Path) -> None:
    run = falling("one", depth=5, seed=0, norm=1.1)
    tested = tuple(replace(epoch, test_accuracy=0.9) for epoch in run.epochs)
    runs, epochs = frames(tmp_path / "a.db", replace(run, epochs=tested))
    (read,), (unread,) = (
        run_rows(onset_table(runs, found, OnsetRule()), found, conditions=[condition], bands=bands)
        for found, condition, bands in ((epochs, "deep", {1: (1.0, 1.1, 1.2)}), (epochs.iloc[:0], "", {}))
    )
    assert {name for name in read if read[name] != unread[name]} == {*UNREAD, *LATEST}


@pytest.mark.parametrize(("status", "unfinished"), [("pending", True), ("running", True), ("done", False)])
def test_a_row_says_whether_training_can_go_on(tmp_path: Path, status: str, unfinished: bool) -> None:
    runs, epochs = frames(tmp_path / "a.db", falling("one", depth=5, seed=0, norm=1.1))
    onsets = onset_table(runs, epochs, OnsetRule()).assign(status=status)
    assert run_rows(onsets, epochs, conditions=[""], bands={})[0]["unfinished"] is unfinished
