"""One rule for every family: a test that could not be made is listed with it, and is no member."""

import math
from functools import partial

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from ncdiag.analysis.attractor import attractor_family
from ncdiag.analysis.families import with_holm
from ncdiag.analysis.leads import lead_family
from ncdiag.analysis.regularities import _corrected
from ncdiag.analysis.tournament import forecast_family
from ncdiag.domain.result import Result

NAN = math.nan
PS = [0.03, NAN, 0.004, 0.02, NAN, 0.6]


def test_holm_within_each_family_and_nowhere_else():
    results = [Result(question="q", quantity="b" if i == 2 else "a", group={}, p=p) for i, p in enumerate(PS)]
    found = with_holm(results, lambda result: result.quantity if result.quantity == "a" else None)
    assert found[2] is results[2]
    others = [found[place] for place in (0, 3, 5)]
    assert [one.extra["p_holm"] for one in others] == pytest.approx(multipletests([0.03, 0.02, 0.6], method="holm")[1])
    assert {one.extra["family"] for one in (found[0], found[1], found[3])} == {3}
    assert math.isnan(found[1].extra["p_holm"])


@pytest.mark.parametrize(
    ("correct", "quantity", "extra"),
    [
        (partial(with_holm, family_of=lead_family), "skill", {"primary": True, "held_out": "run"}),
        (partial(with_holm, family_of=forecast_family), "skill", {"primary_test": True, "held_out": "run"}),
        (partial(with_holm, family_of=attractor_family), "verdict", {}),
        (lambda results: _corrected(results, 0.05), "valley", {"p_min": 0.0}),
    ],
)
def test_every_family_leaves_out_what_could_not_be_tested_and_lists_it(correct, quantity, extra):
    results = [Result(question="q", quantity=quantity, group={"pair": i}, p=p, extra=extra) for i, p in enumerate(PS)]
    found = correct(results)
    ps = np.array(PS)
    tested = ~np.isnan(ps)
    corrected = np.array([one.extra["p_holm"] for one in found])
    assert corrected[tested] == pytest.approx(multipletests(ps[tested], method="holm")[1])
    assert np.isnan(corrected[~tested]).all()
    assert {one.extra["family"] for one in found} == {4}
    assert [one.group["pair"] for one in found] == list(range(6))
