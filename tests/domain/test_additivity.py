"""Published answers: STATISTICS.md section 4 (Tukey), and the analytic cases of its section 5."""

import math

import numpy as np
import pytest

from ncdiag.domain.additivity import judge, list_crossings, ratio_of_ratios, removing_power, tukey_one_df
from ncdiag.domain.interaction import estimate_interaction, grid_of

SENT_RT = [[1.7, 1.9, 2.0], [4.4, 4.5, 5.7], [6.6, 7.4, 10.5]]
MONTGOMERY = [[5, 3, 1], [4, 1, 1], [6, 4, 3], [3, 2, 1], [5, 3, 2]]
PENICILLIN = [[89, 88, 97, 94], [84, 77, 92, 79], [81, 87, 87, 85], [87, 92, 89, 84], [79, 81, 80, 88]]
BOIK = [
    [68, 65, 75, 57, 32, 70],
    [56, 52, 55, 48, 65, 47],
    [40, 51, 52, 36, 49, 45],
    [84, 87, 88, 73, 34, 70],
    [50, 52, 52, 50, 45, 61],
]
MVGH = [[17.6, 10.6, 3.0], [5.6, 5.4, 16.2], [8.9, 4.8, 4.2]]
RDWW = [
    [0.718, 0.732, 0.734, 0.792],
    [0.725, 0.781, 0.725, 0.716],
    [0.704, 1.035, 0.763, 0.758],
    [0.726, 0.765, 0.738, 0.781],
]
DRUGS = [[20, 34, 38, 44], [16, 28, 30, 34], [14, 28, 26, 30], [18, 20, 24, 30], [10, 18, 14, 22]]


@pytest.mark.parametrize(
    ("table", "ss", "ss_error", "statistic", "df2", "p"),
    [
        (SENT_RT, 3.759275, 0.174058, 64.793475, 3, 0.00400457),
        (MONTGOMERY, 0.098522, 1.901478, 0.362694, 7, 0.566003),
        (PENICILLIN, 2.001082, 226 - 2.001082, 0.098268, 11, 0.759782),
        (BOIK, None, None, 19.249873, 19, 0.000316617),
        (MVGH, None, None, 0.030613, 3, 0.872249),
        (RDWW, None, None, 24.006961, 8, 0.00119424),
        (DRUGS, None, None, 9.541628, 11, 0.0103053),
    ],
)
def test_published_tables(table, ss, ss_error, statistic, df2, p):
    found = tukey_one_df(np.array(table, dtype=float))
    assert found.df2 == df2
    assert found.statistic == pytest.approx(statistic, abs=1e-6)
    assert found.p == pytest.approx(p, abs=1e-6)
    if ss is not None:
        assert found.ss == pytest.approx(ss, abs=1e-6)
        assert found.ss_residual - found.ss == pytest.approx(ss_error, abs=1e-6)


def test_the_power_that_removes_the_interaction_as_published():
    found = tukey_one_df(np.array(SENT_RT))
    assert (found.d, found.power) == pytest.approx((0.317122, -0.575), abs=5e-4)
    assert found.ss_residual == pytest.approx(3.9333, abs=1e-4)
    assert tukey_one_df(np.array(DRUGS, dtype=float)).power == pytest.approx(-0.169, abs=5e-4)


def test_a_product_table_is_exactly_additive_on_logs():
    table = np.outer((1.0, 2.0, 4.0), (1.0, 3.0, 9.0))
    raw, log = tukey_one_df(table), tukey_one_df(np.log(table))
    assert (raw.ss, raw.ss_residual) == pytest.approx((1456 / 9, 1456 / 9))
    assert raw.d == pytest.approx(1 / table.mean())
    assert raw.power == pytest.approx(0, abs=1e-12)
    assert (raw.status, log.status) == ("zero_variance", "exactly_additive")
    assert (log.ss, log.ss_residual, log.d, log.power) == (0, 0, 0, 1)
    assert math.isnan(raw.p)
    assert math.isnan(log.p)
    row, column = np.divmod(np.arange(9), 3)
    assert judge(table.reshape(-1), row, column, raw, log, 0.05).verdict == "multiplicative"


def test_a_product_beside_a_constant_is_no_test_of_either_scale():
    """Raw, the product is all there is beside the effects and F is infinite; on logs it is not exact."""
    table = 5 + np.outer((1.0, 2.0, 4.0), (1.0, 3.0, 9.0))
    row, column = np.divmod(np.arange(9), 3)
    raw, log = tukey_one_df(table), tukey_one_df(np.log(table))
    assert (raw.status, log.status) == ("zero_variance", "ok")
    assert judge(table.reshape(-1), row, column, raw, log, 0.05).verdict == "not testable"


def test_a_single_two_by_two_table_tests_nothing():
    found = tukey_one_df(np.array([[1.0, 2.0], [3.0, 9.0]]))
    assert (found.status, found.df2) == ("not_testable", 0)
    assert math.isnan(found.p)


def test_rows_that_do_not_differ_leave_nothing_to_multiply():
    assert tukey_one_df(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])).status == "not_testable"


def cells(means, spread, n=3):
    """n values per cell, lognormal quantiles about the means, which are given as a nested list."""
    means = np.asarray(means, dtype=float)
    row, column = (np.repeat(places, n) for places in np.divmod(np.arange(means.size), means.shape[1]))
    offsets = np.linspace(-1, 1, n) * spread
    return (np.exp(np.log(means).reshape(-1, 1) + offsets)).reshape(-1), row.astype(np.int64), column.astype(np.int64)


def verdict(means, spread, n=3):
    values, row, column = cells(means, spread, n)
    raw, log = estimate_interaction(values, row, column), estimate_interaction(np.log(values), row, column)
    return judge(values, row, column, raw, log, 0.05)


def test_the_four_verdicts():
    assert verdict([[1, 2], [3, 4]], 0.05).verdict == "additive"
    assert verdict([[1, 3], [4, 12]], 0.05).verdict == "multiplicative"
    removable = verdict([[1.052, 0.9], [5.867, 1.515]], 0.05)
    assert removable.verdict == "removable"
    assert removable.power < 0
    assert removable.p_power > 0.05
    for unit in (1, 100):
        crossing = verdict([[unit, 3 * unit], [3 * unit, unit]], 0.05)
        assert crossing.verdict == "crossover"
        assert crossing.crossings == (((0, 1), (0, 1), "rows"), ((0, 1), (0, 1), "columns"))


def test_no_power_is_said_to_remove_a_reversed_order_from_single_values():
    """At the power that Tukey's test suggests it finds nothing by construction; a test of any shape does."""
    row, column = np.divmod(np.arange(16), 4)
    found = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        logs = np.add.outer(generator.normal(0, 0.3, 4), np.sort(generator.normal(0, 0.4, 4)))
        logs[3] = logs[3, ::-1]
        values = np.exp(logs + generator.normal(0, 0.01, (4, 4)))
        raw, log = tukey_one_df(values), tukey_one_df(np.log(values))
        found.append(judge(values.reshape(-1), row, column, raw, log, 0.05))
    assert "removable" not in [one.verdict for one in found]
    named = [one for one in found if one.verdict == "neither"]
    assert named
    assert all(one.reversals for one in named)


def test_a_power_that_makes_single_values_add_removes_their_interaction():
    row, column = np.divmod(np.arange(16), 4)
    noise = np.random.default_rng(0).normal(0, 0.002, (4, 4))
    values = (np.add.outer((1.0, 1.3, 1.5, 2.0), (0.2, 0.5, 0.6, 1.1)) * np.exp(noise)) ** -2.0
    raw, log = tukey_one_df(values), tukey_one_df(np.log(values))
    found = judge(values.reshape(-1), row, column, raw, log, 0.05)
    assert (found.verdict, found.reversals) == ("removable", 0)
    assert found.power == pytest.approx(-0.5, abs=0.1)


def test_a_crossover_within_the_noise_is_none():
    values, row, column = cells([[1.0, 1.01], [1.3, 1.0]], 0.1)
    assert list_crossings(np.log(values), row, column, 0.05) == ()


def test_a_part_of_the_grid_without_one_of_its_cells_shows_no_crossover():
    values, row, column = cells([[2.0, 3.0, 4.0], [5.0, 6.0, 7.0]], 0.01)
    kept = (row == 0) | (column < 2)
    assert list_crossings(np.log(values[kept]), row[kept], column[kept], 0.05) == ()


def test_the_power_found_makes_the_cells_add():
    """Squares that add: the power 2 must remove what logs and raw values keep."""
    values, row, column = cells(np.sqrt([[1.0, 5.0], [9.0, 13.0]]), 0.02)
    power, p = removing_power(values, row, column, 0.05)
    assert p > 0.05
    assert power == pytest.approx(2, abs=0.5)
    values, row, column = cells(np.sqrt([[1.0, 5.0, 8.0], [9.0, 13.0, 16.0]]), 0.005)
    kept = (row == 0) | (column < 2)  # Tukey's suggestion needs every cell, the search does not
    power, p = removing_power(values[kept], row[kept], column[kept], 0.05)
    assert p > 0.05
    assert power == pytest.approx(2, abs=0.5)


def test_a_power_at_which_nothing_is_left_within_cells_removes_nothing():
    """The largest cell has equal values: at the sixth power F is 10^10 and more, or there is no test at all."""
    for means, found in (([[1, 2], [4, 100]], False), ([[1, 2], [2, 300]], True)):
        values, row, column = cells(means, 0.02)
        values[row + column == 2] = means[1][1]
        power, p = removing_power(values, row, column, 0.05)
        assert (p > 0.05) == found
        assert power < 0


def test_three_rows_that_no_power_makes_add():
    found = verdict([[1, 2, 4], [2, 8, 8.1], [16, 17, 40]], 0.001)
    assert found.verdict == "neither"


def test_the_published_ratio_of_ratios():
    values, row, column = cells([[1.0, 1.0], [5.58, 1.68]], 0.08)
    found = ratio_of_ratios(np.log(values), grid_of(row, column), (0, 1), (0, 1), 0.95)
    assert found.estimate == pytest.approx(3.321429, abs=1e-6)
    one = np.array([0, 1, 4, 7, 10])  # one degree of freedom, and t is 6366
    wide = ratio_of_ratios(np.log(values[one]), grid_of(row[one], column[one]), (0, 1), (0, 1), 0.9999)
    assert wide.lo < wide.estimate < wide.hi
    assert found.lo < found.estimate < found.hi
    alone = ratio_of_ratios(np.log(values[:3]), grid_of(row[:3], column[:3]), (0, 1), (0, 1), 0.95)
    assert math.isnan(alone.estimate)


def test_single_values_have_a_ratio_without_limits():
    logs = np.log([1.0, 1.0, 5.58, 1.68])
    found = ratio_of_ratios(logs, grid_of(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])), (0, 1), (0, 1), 0.95)
    assert found.estimate == pytest.approx(5.58 / 1.68)
    assert math.isnan(found.lo)
