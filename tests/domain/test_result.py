import json
import math

import numpy as np

from ncdiag.domain.result import Result


def test_extra_figures_stand_beside_the_others():
    result = Result(question="threshold", quantity="fn_star", group={"arch": "mlp"}, estimate=1.5, extra={"mean": 2.0})
    found = result.to_dict()
    assert (found["estimate"], found["mean"], found["group"]) == (1.5, 2.0, {"arch": "mlp"})
    assert "extra" not in found


def test_what_is_not_defined_is_missing_and_what_is_unbounded_is_infinite():
    found = Result(question="q", quantity="x", group={}, hi=math.inf).to_dict()
    assert found["estimate"] is None
    assert found["p"] is None
    assert found["hi"] == math.inf


def test_numpy_values_become_plain_ones():
    extra = {"n": np.int64(3), "each": ({"x": np.float64(0.5), "y": np.float64(math.nan)},)}
    found = Result(question="q", quantity="x", group={"depth": np.int64(5)}, extra=extra).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False))["each"] == [{"x": 0.5, "y": None}]
    assert type(found["n"]) is int
    assert type(found["group"]["depth"]) is int
