import numpy as np
import pandas as pd

from ncdiag.analysis.pair_curves import EpochTable, pair_curves


def table():
    rows = [
        ("b", 20, 2, 4.0),
        ("a", 1, 1, 1.0),
        ("b", 10, 1, np.nan),
        ("b", 5, 1, 2.0),
        ("c", 3, 1, -1.0),
        ("a", 2, 1, np.inf),
    ]
    frame = pd.DataFrame(rows, columns=["run", "epoch", "phase", "value"])
    return EpochTable(frame.astype({"epoch": "Int64", "phase": "Int64"}))


def test_runs_come_in_the_order_asked_without_what_is_not_a_positive_number():
    found = pair_curves(table(), ["b", "c", "a", "unknown"]).curves("value")
    assert np.array_equal(found.epoch, [[5, 20], [np.nan] * 2, [1, np.nan], [np.nan] * 2], equal_nan=True)
    assert found.log[0].tolist() == np.log([2, 4]).tolist()
    assert np.isinf(found.log[1:, 1]).all()
    assert found.switched.tolist() == [[False, True], [False] * 2, [False] * 2, [False] * 2]


def test_the_first_epoch_at_a_level():
    found = pair_curves(table(), ["a", "b", "c"]).first_at("value", 2.0)
    assert found.tolist()[:2] == [2, 5]
    assert np.isnan(found[2])
