import math

import numpy as np
import pytest

from ncdiag.analysis.invariance import invariance_results
from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.terms import Terms
from ncdiag.domain.invariance import check_invariance
from ncdiag.domain.onset_rule import OnsetRule


def result_of(make_frames, make_run, norms, rates=None):
    runs = {
        f"{c}-{s}": make_run((rates or [20, 21, 22, 23])[c] + 0.1 * s, norm=norm, weight_decay=10.0**-c)
        for c, seeds in enumerate(norms)
        for s, norm in enumerate(seeds)
    }
    (found,) = invariance_results(onset_table(*make_frames(runs), OnsetRule()), Terms())
    return found


def test_the_conditions_are_those_of_the_pair(make_frames, make_run):
    norms = np.exp(np.random.default_rng(0).normal(0, 0.02, (4, 3)))
    found = result_of(make_frames, make_run, norms)
    expected = check_invariance(np.log(norms).ravel(), np.repeat(np.arange(4), 3), 0.95)
    assert (found.estimate, found.lo, found.hi) == pytest.approx((expected.estimate, expected.lo, expected.hi))
    assert found.p == pytest.approx(expected.p)
    assert found.extra["verdict"] == "supported"
    assert (found.n_runs, found.n_conditions) == (12, 4)
    assert [row["condition"] for row in found.extra["conditions"]][:2] == ["weight_decay=1", "weight_decay=0.1"]
    means = np.log(norms).mean(axis=1)
    assert [row["distance"] for row in found.extra["conditions"]] == pytest.approx(means - means.mean())
    furthest = int(np.abs(means - means.mean()).argmax())
    assert (found.extra["furthest"], found.extra["furthest_runs"]) == (f"weight_decay={10.0**-furthest:g}", 3)
    assert found.extra["p_rate"] < 0.05


def test_a_condition_with_another_norm_refutes_it(make_frames, make_run):
    norms = np.exp(np.random.default_rng(0).normal(0, 0.02, (4, 3))) * np.array([[1], [1], [1], [2]])
    found = result_of(make_frames, make_run, norms)
    assert found.extra["verdict"] == "refuted"
    assert found.extra["furthest"] == "weight_decay=0.001"


def test_a_distance_that_may_be_chance_does_not_refute_it(make_frames, make_run):
    norms = np.exp(np.random.default_rng(0).normal(0, 0.02, (4, 3))) * np.array([[1], [1], [1], [1.17]])
    expected = check_invariance(np.log(norms).ravel(), np.repeat(np.arange(4), 3), 0.95)
    assert 0.05 < expected.p_beyond < 0.1
    assert result_of(make_frames, make_run, norms).extra["verdict"] == "inconclusive"


def test_conditions_with_one_onset_do_not_change_the_rate(make_frames, make_run):
    norms = np.exp(np.random.default_rng(0).normal(0, 0.02, (3, 4)))
    rates = [20.0, 20.0, 20.0]
    found = result_of(make_frames, make_run, norms, rates)
    assert found.extra["p_rate"] > 0.5
    assert found.extra["rate_lacks"] == ""


@pytest.mark.parametrize("never", [False, True])
def test_runs_of_a_condition_with_one_onset_are_no_noise_to_compare_conditions_with(make_frames, make_run, never):
    rates = {1e-4: (90.0 if never else 20.0,) * 3, 1e-3: (90.0 if never else 24.0,) * 3, 1e-2: (22.0,)}
    runs = {
        f"{decay:g}-{s}": make_run(rate, weight_decay=decay, norm=1 + s / 100)
        for decay, seeds in rates.items()
        for s, rate in enumerate(seeds)
    }
    (found,) = invariance_results(onset_table(*make_frames(runs), OnsetRule()), Terms())
    assert math.isnan(found.extra["p_rate"])
    assert found.extra["rate_lacks"].startswith("no two runs of a condition differ in their onset")


def test_a_condition_of_one_run_is_named_and_does_not_change_the_rate(make_frames, make_run):
    """It collapses at half the epoch of the others, which do not differ."""
    rates = {1e-4: [20.0, 20.4, 19.6], 1e-3: [20.2, 19.8, 20.1], 1e-2: [10.0]}
    runs = {
        f"{decay:g}-{s}": make_run(rate, weight_decay=decay, norm=1 + s / 100)
        for decay, seeds in rates.items()
        for s, rate in enumerate(seeds)
    }
    (found,) = invariance_results(onset_table(*make_frames(runs), OnsetRule()), Terms())
    assert found.extra["p_rate"] > 0.5
    assert found.warnings == (
        "1 condition has a single run: that such a run is alike takes it to vary as the runs of the others do",
    )
    del runs["0.0001-1"], runs["0.0001-2"]
    (found,) = invariance_results(onset_table(*make_frames(runs), OnsetRule()), Terms())
    assert math.isnan(found.extra["p_rate"])
    assert found.warnings[0].startswith("2 conditions have a single run: ")


@pytest.mark.parametrize(
    ("norms", "says"),
    [
        ([], "one condition"),
        ([[1.0, 1.1]], "one condition"),
        ([[1.0], [1.1]], "one run in every condition"),
        ([[1.0], [1.1], [1.2]], "one run in every condition"),
    ],
)
def test_what_is_missing_is_said(make_frames, make_run, norms, says):
    found = result_of(make_frames, make_run, norms or [[1.0]], None if norms else [90.0])
    assert (found.status, found.extra["verdict"], found.n_conditions) == ("too_few", "not testable", len(norms))
    assert (found.extra["beyond"], found.extra["beyond_runs"]) == (None, 0)
    assert (found.extra["furthest"], found.extra["furthest_runs"], found.extra["conditions"]) == (None, 0, [])
    assert math.isnan(found.p)
    assert found.warnings[0].startswith(says)


def test_runs_without_an_onset_say_that_their_condition_is_slow(make_frames, make_run):
    """10 of 10 runs collapse under one decay, 1 of 10 under the other: the onsets alone are 10 against 1."""
    rates = {1e-4: [20 + s / 10 for s in range(10)], 1e-3: [21.5, *[90.0] * 9]}
    runs = {
        f"{decay:g}-{s}": make_run(rate, weight_decay=decay, norm=1 + s / 100)
        for decay, seeds in rates.items()
        for s, rate in enumerate(seeds)
    }
    (found,) = invariance_results(onset_table(*make_frames(runs), OnsetRule()), Terms())
    assert found.extra["p_rate"] <= 0.001
    assert "logrank" in found.method


def test_a_run_that_says_nothing_of_when_has_no_part_in_the_onsets(make_frames, make_run):
    runs = {f"{c}-{s}": make_run(20.0 + 2 * c + 0.1 * s, depth=3 + c) for c in range(3) for s in range(3)}
    early = {**make_run(depth=3), "epoch": list(range(200)), "nc1": [1e-3] * 200}
    found, expected = (
        invariance_results(onset_table(*make_frames(each), OnsetRule()), Terms())[0].extra["p_rate"]
        for each in ({**runs, "early": early}, runs)
    )
    assert found == expected


@pytest.mark.parametrize(("seeds", "warned"), [(3, True), (2, False)])
def test_a_condition_of_two_runs_beside_larger_ones_is_named_where_the_onset_differs(
    make_frames, make_run, seeds, warned
):
    rates = {1e-4: [20.0, 20.4], 1e-3: [30.0, 30.6, 29.4][:seeds], 1e-2: [24.0, 24.4, 23.6][:seeds]}
    runs = {
        f"{decay:g}-{s}": make_run(rate, weight_decay=decay, norm=1 + s / 100)
        for decay, each in rates.items()
        for s, rate in enumerate(each)
    }
    (found,) = invariance_results(onset_table(*make_frames(runs), OnsetRule()), Terms(level=0.9))
    assert found.extra["p_rate"] <= 0.1
    said = ["1 condition has two runs: if these vary more than the others, a difference in onset is found too easily"]
    assert list(found.warnings) == (said if warned else [])
