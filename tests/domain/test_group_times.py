import math

import numpy as np
import pytest
from statsmodels.stats.oneway import anova_oneway

from ncdiag.domain.group_times import differ_in_time
from ncdiag.domain.permutations import generator_of
from ncdiag.domain.survival import logrank_of_groups

QUIET = [140.0, 144.0, 147.0, 149.0, 150.0, 151.0, 152.0, 154.0, 157.0, 161.0]
LOUD = [180.0, 180.0, 153.0]  # two of the three have no onset by the budget of 180


def logrank(time, event, group):
    return logrank_of_groups(time, event, group, generator_of(time))


def welch(time, group):
    return float(anova_oneway([np.log(time[group == g]) for g in np.unique(group)], use_var="unequal").pvalue)


def test_a_few_loud_runs_without_an_onset_beside_many_quiet_ones_do_not_show_a_difference():
    """Relabelling takes the three for runs like the twenty, of which none is that late."""
    time, group = np.array([*LOUD, *QUIET, *QUIET]), np.repeat([0, 1, 2], [3, 10, 10])
    event = time < 180
    p, named = differ_in_time(time, event, group)
    assert logrank(time, event, group) < 0.05 < welch(time, group)
    assert p >= welch(time, group) - 1e-12
    assert "Welch" in named
    never = np.where(time == 180, math.inf, time)  # as late as the last epoch of any run
    assert differ_in_time(never, event, group)[0] > 0.05


def test_the_larger_of_both_p_counts():
    time, group = np.array([110.0, 111.0, 112.0, 150.0, 151.0, 152.0, 180.0, 180.0]), np.repeat([0, 1], [3, 5])
    event = time < 180
    assert welch(time, group) < logrank(time, event, group)
    assert differ_in_time(time, event, group)[0] == pytest.approx(logrank(time, event, group))


def test_so_it_does_of_as_many_runs_each():
    """Ten loud runs, of which a budget of 180 cuts three, beside tens with nearly the same mean."""
    loud = [105.0, 120.0, 135.0, 163.0, 164.0, 166.0, 170.0, 180.0, 180.0, 180.0]
    time, group = np.array([*loud, *QUIET, *QUIET]), np.repeat([0, 1, 2], 10)
    event = time < 180
    assert logrank(time, event, group) < 0.05 < welch(time, group)
    assert differ_in_time(time, event, group)[0] > 0.05


def test_where_all_have_an_onset_their_means_are_compared():
    time, group = np.array([120.0, 125.0, *QUIET]), np.repeat([0, 1], [2, 10])
    p, named = differ_in_time(time, np.ones(12, dtype=bool), group)
    assert p >= welch(time, group) - 1e-12
    assert named.startswith("Welch's F of ln onset")


def test_a_group_of_one_run_without_an_onset_takes_no_part():
    time, group = np.array([17.2, 18.4, 18.3, 18.0, 17.4, 19.2, 18.9]), np.array([0, 0, 0, 1, 1, 2, 2])
    without = differ_in_time(time, np.ones(7, dtype=bool), group)
    beside = differ_in_time(np.append(time, 24.0), np.arange(8) < 7, np.append(group, 3))
    assert beside == without
    assert without[0] >= welch(time, group) - 1e-12


@pytest.mark.parametrize("group", [[0, 0, 0, 0, 0], [0, 0, 1, 1, 1], [0, 1, 2, 3, 4]])
def test_nobody_with_an_onset_is_no_test(group):
    p, _ = differ_in_time(np.array([5.0, 6.0, 9.0, 8.0, 7.0]), np.zeros(5, dtype=bool), np.array(group))
    assert math.isnan(p)
