import math

import numpy as np
import pytest
import statsmodels.api as sm

from ncdiag.domain.equivalence import MARGIN
from ncdiag.domain.invariance import check_invariance

CONDITION = np.repeat(np.arange(4), [3, 3, 2, 4])


def sample(sd: float, shifts: tuple[float, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sd, len(CONDITION)) + np.array(shifts)[CONDITION]


def test_each_condition_is_tested_against_the_mean_of_the_means():
    """Oracle: one-sided t-tests of contrasts in a regression on indicators of the conditions."""
    logs = sample(0.03, (0, 0.02, -0.03, 0.01))
    fit = sm.OLS(logs, (CONDITION[:, None] == np.arange(4)).astype(float)).fit()
    within, beyond = [], []
    for condition in range(4):
        contrast = (np.arange(4) == condition) - 1 / 4
        below, above = (fit.t_test((contrast, side * MARGIN)) for side in (-1, 1))
        p_low = 1 - below.pvalue / 2 if below.tvalue < 0 else below.pvalue / 2
        p_high = 1 - above.pvalue / 2 if above.tvalue > 0 else above.pvalue / 2
        within.append(max(p_low, p_high))
        beyond.append(2 * min(1 - p_low, 1 - p_high))
    found = check_invariance(logs, CONDITION)
    assert found.p == pytest.approx(max(map(float, within)))
    assert found.p_beyond == pytest.approx(min(1, 4 * min(map(float, beyond))))
    means = np.array([logs[c == CONDITION].mean() for c in range(4)])
    assert found.estimate == pytest.approx(np.abs(means - means.mean()).max())
    assert found.distances == pytest.approx(means - means.mean())
    assert found.furthest == np.abs(means - means.mean()).argmax()


@pytest.mark.parametrize("sd", [0.01, 0.04, 0.08])
def test_the_bound_is_within_the_margin_exactly_when_p_is_below_five_percent(sd):
    for seed in range(20):
        found = check_invariance(sample(sd, (0, 0.02, -0.02, 0), seed), CONDITION)
        assert (found.hi < MARGIN) == (found.p < 0.05)
        assert (found.lo > MARGIN) == (found.p_beyond < 0.05)
        assert found.lo <= found.estimate <= found.hi


def test_conditions_far_apart_are_told_from_equal_ones():
    assert check_invariance(sample(0.02, (0, 0, 0, 0)), CONDITION).p < 0.05
    apart = check_invariance(sample(0.02, (0, 0, 0, 0.5)), CONDITION)
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
    found = check_invariance(np.array(logs, dtype=float), np.array(condition, dtype=np.int64))
    assert found.status == status
    assert math.isnan(found.p)
    assert math.isnan(found.hi)
