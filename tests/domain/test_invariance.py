import math

import numpy as np
import pytest
from scipy import stats

from ncdiag.domain.equivalence import MARGIN
from ncdiag.domain.invariance import check_invariance

CONDITION = np.repeat(np.arange(4), [3, 3, 2, 4])


def sample(sd: float, shifts: tuple[float, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sd, len(CONDITION)) + np.array(shifts)[CONDITION]


def test_each_condition_is_tested_against_the_mean_of_the_means():
    """Two one-sided t-tests of a contrast whose conditions each have their own variance (Welch, Satterthwaite)."""
    logs = sample(0.03, (0, 0.02, -0.03, 0.01))
    samples = [logs[c == CONDITION] for c in range(4)]
    within, beyond = [], []
    for condition in range(4):
        weights = [(c == condition) - 1 / 4 for c in range(4)]
        distance = sum(w * np.mean(sample) for w, sample in zip(weights, samples, strict=True))
        parts = [w**2 * np.var(sample, ddof=1) / len(sample) for w, sample in zip(weights, samples, strict=True)]
        df = sum(parts) ** 2 / sum(p**2 / (len(sample) - 1) for p, sample in zip(parts, samples, strict=True))
        p_low, p_high = (stats.t.sf((MARGIN + side * distance) / math.sqrt(sum(parts)), df) for side in (1, -1))
        within.append(max(p_low, p_high))
        beyond.append(2 * min(1 - p_low, 1 - p_high))
    found = check_invariance(logs, CONDITION, 0.95)
    assert found.p == pytest.approx(max(map(float, within)))
    assert found.p_beyond == pytest.approx(min(1, 4 * min(map(float, beyond))))
    means = np.array([logs[c == CONDITION].mean() for c in range(4)])
    assert found.estimate == pytest.approx(np.abs(means - means.mean()).max())
    assert found.distances == pytest.approx(means - means.mean())
    assert found.furthest == np.abs(means - means.mean()).argmax()


@pytest.mark.parametrize("sd", [0.01, 0.04, 0.08])
def test_the_bound_is_within_the_margin_exactly_when_p_is_below_five_percent(sd):
    for seed in range(20):
        found = check_invariance(sample(sd, (0, 0.02, -0.02, 0), seed), CONDITION, 0.95)
        assert (found.hi < MARGIN) == (found.p < 0.05)
        assert (found.lo > MARGIN) == (found.p_beyond < 0.05)
        assert found.lo <= found.estimate <= found.hi


def test_conditions_far_apart_are_told_from_equal_ones():
    assert check_invariance(sample(0.02, (0, 0, 0, 0)), CONDITION, 0.95).p < 0.05
    apart = check_invariance(sample(0.02, (0, 0, 0, 0.5)), CONDITION, 0.95)
    assert apart.p > 0.9
    assert apart.p_beyond < 0.001
    assert apart.furthest == 3


@pytest.mark.parametrize(
    ("logs", "condition", "status"),
    [
        ([0.1, 0.2, 0.3], [0, 0, 0], "too_few"),
        ([0.1, 0.2, 0.3], [0, 1, 2], "too_few"),
        ([], [], "too_few"),
        ([0.1, 0.1, 0.3, 0.3], [0, 0, 1, 1], "zero_variance"),
    ],
)
def test_without_noise_to_compare_with_there_is_no_test(logs, condition, status):
    found = check_invariance(np.array(logs, dtype=float), np.array(condition, dtype=np.int64), 0.95)
    assert found.status == status
    assert math.isnan(found.p)
    assert math.isnan(found.hi)


def test_a_condition_of_one_run_is_not_shown_to_differ():
    """A single run five times off: what the others show of themselves is all that may refute."""
    logs = sample(0.03, (0, 0.02, -0.03, 0.01))
    alone = check_invariance(np.append(logs, math.log(5)), np.append(CONDITION, 4), 0.95)
    without = check_invariance(logs, CONDITION, 0.95)
    assert (alone.furthest, alone.sizes[4]) == (4, 1)
    assert alone.p_beyond == pytest.approx(without.p_beyond)
    assert alone.lo == pytest.approx(without.lo)
    assert alone.p > 0.9  # nor is it shown to be alike


def test_the_condition_named_is_the_furthest_of_those_that_are_shown():
    """The last one varies more, so that its p is larger than that of the one before."""
    quiet, loud = np.array([-0.003, 0.0, 0.003]), np.array([-0.03, 0.0, 0.03])
    logs = np.concatenate([quiet, quiet, quiet - 0.6, loud + 0.7])
    found = check_invariance(logs, np.repeat(np.arange(4), 3), 0.95)
    assert found.p_beyond < 0.01
    assert (found.beyond, found.furthest) == (3, 3)


@pytest.mark.parametrize("factor", [1.0, 2.0, 3.0, 1e-3])
def test_of_two_conditions_as_far_from_their_mean_the_first_is_named_whatever_rounding_says(factor):
    logs = np.log(factor * np.array([1.1, 1.3, 1.7, 0.9]))
    assert check_invariance(logs, np.array([0, 0, 0, 1]), 0.95).furthest == 0


def test_two_runs_of_the_condition_show_it():
    logs = np.concatenate([sample(0.03, (0, 0.02, -0.03, 0.01)), np.log([5.0, 5.1])])
    found = check_invariance(logs, np.append(CONDITION, [4, 4]), 0.95)
    assert found.p_beyond < 0.01
    assert (found.furthest, found.sizes[found.beyond] > 1) == (4, True)


@pytest.mark.parametrize("apart", [0.05, 0.3])
def test_two_conditions_are_beyond_the_margin_where_they_differ_by_more_than_twice_as_much(apart):
    first, second = np.array([0.0, 0.02, -0.01]), apart + np.array([0.01, -0.03])
    found = check_invariance(np.append(first, second), np.array([0, 0, 0, 1, 1]), 0.95)
    above = stats.ttest_ind(second - 2 * MARGIN, first, equal_var=False, alternative="greater").pvalue
    assert found.p_beyond == pytest.approx(min(1, 4 * above))


def test_one_condition_with_several_runs_has_nothing_to_differ_from():
    found = check_invariance(np.array([0.0, 0.01, -0.01, 1.0]), np.array([0, 0, 0, 1]), 0.95)
    assert math.isnan(found.p_beyond)
    assert found.lo == 0


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_the_bound_follows_the_level(level):
    for seed in range(20):
        found = check_invariance(sample(0.03, (0, 0.02, -0.02, 0), seed), CONDITION, level=level)
        assert (found.hi < MARGIN) == (found.p < 1 - level)
        assert (found.lo > MARGIN) == (found.p_beyond < 1 - level)
