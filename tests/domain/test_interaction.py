"""Published answers: STATISTICS.md section 4; statsmodels is the oracle for unbalanced grids."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from ncdiag.domain.interaction import contrast, estimate_interaction, eta_squared, grid_of
from ncdiag.domain.permutations import generator_of

# Tooth growth of guinea pigs (Crampton 1947) and breaks of yarn (Tippett 1950), as R has them.
TOOTH = {
    ("VC", 0.5): [4.2, 11.5, 7.3, 5.8, 6.4, 10.0, 11.2, 11.2, 5.2, 7.0],
    ("VC", 1.0): [16.5, 16.5, 15.2, 17.3, 22.5, 17.3, 13.6, 14.5, 18.8, 15.5],
    ("VC", 2.0): [23.6, 18.5, 33.9, 25.5, 26.4, 32.5, 26.7, 21.5, 23.3, 29.5],
    ("OJ", 0.5): [15.2, 21.5, 17.6, 9.7, 14.5, 10.0, 8.2, 9.4, 16.5, 9.7],
    ("OJ", 1.0): [19.7, 23.3, 23.6, 26.4, 20.0, 25.2, 25.8, 21.2, 14.5, 27.3],
    ("OJ", 2.0): [25.5, 26.4, 22.4, 24.5, 24.8, 30.9, 26.4, 27.3, 29.4, 23.0],
}
WARP = {
    ("A", "L"): [26, 30, 54, 25, 70, 52, 51, 26, 67],
    ("A", "M"): [18, 21, 29, 17, 12, 18, 35, 30, 36],
    ("A", "H"): [36, 21, 24, 18, 10, 43, 28, 15, 26],
    ("B", "L"): [27, 14, 29, 19, 29, 31, 41, 20, 44],
    ("B", "M"): [42, 26, 19, 16, 39, 28, 21, 39, 29],
    ("B", "H"): [20, 21, 24, 17, 13, 15, 15, 16, 28],
}
# Head circumferences of three fetuses by four observers (Altman 1991, table 12.6).
HEADS = [
    [(14.3, 14.0, 14.8), (13.6, 13.6, 13.8), (13.9, 13.7, 13.8), (13.8, 14.7, 13.9)],
    [(19.7, 19.9, 19.8), (19.8, 19.3, 19.8), (19.5, 19.8, 19.5), (19.8, 19.6, 19.8)],
    [(13.0, 12.6, 12.9), (12.4, 12.8, 12.5), (12.8, 12.7, 12.5), (13.0, 12.9, 13.8)],
]
# Ants in the stomachs of small and large lizards in four months (Manly 1991), three to a cell.
ANTS = [
    [(13, 242, 105), (8, 59, 20), (515, 488, 88), (18, 44, 21)],
    [(182, 21, 7), (24, 312, 68), (460, 1223, 990), (140, 40, 27)],
]


def flat(cells):
    """Values with the numbers of their rows and columns, from a mapping (row, column) -> values."""
    rows, columns = (pd.factorize(pd.Series([key[at] for key in cells]))[0] for at in (0, 1))
    sizes = [len(values) for values in cells.values()]
    values = np.concatenate([np.asarray(v, dtype=float) for v in cells.values()])
    return values, np.repeat(rows, sizes).astype(np.int64), np.repeat(columns, sizes).astype(np.int64)


def table(cells):
    """Cells of a nested list [row][column] of values."""
    return flat({(r, c): values for r, line in enumerate(cells) for c, values in enumerate(line)})


@pytest.mark.parametrize(
    ("cells", "scale", "statistic", "df2", "p"),
    [
        (TOOTH, np.asarray, 4.106991, 54, 0.021860),
        (TOOTH, np.log, 5.669212, 54, 0.005822),
        (WARP, np.asarray, 4.189069, 48, 0.021044),
        (WARP, np.log, 3.264241, 48, 0.046863),
    ],
)
def test_published_interactions(cells, scale, statistic, df2, p):
    values, row, column = flat(cells)
    found = estimate_interaction(scale(values), row, column)
    assert (found.df1, found.df2) == (2, df2)
    assert found.statistic == pytest.approx(statistic, abs=1e-6)
    assert found.p == pytest.approx(p, abs=1e-6)


def test_the_heads_of_altman():
    found = estimate_interaction(*table(HEADS))
    assert (found.df1, found.df2) == (6, 24)
    assert (found.statistic, found.p) == pytest.approx((1.222222, 0.329551), abs=1e-6)
    assert (found.ss, found.ss_error) == pytest.approx((0.562222, 1.84), abs=1e-6)
    assert found.eta2p.estimate == pytest.approx(0.234043, abs=1e-6)


@pytest.mark.parametrize(
    ("scale", "statistic", "p", "permuted"),
    [(np.asarray, 2.996912, 0.061712, 0.0485), (np.log, 1.145394, 0.360940, None)],
)
def test_the_ants_of_manly_interact_on_one_scale_only(scale, statistic, p, permuted):
    values, row, column = table(ANTS)
    found = estimate_interaction(scale(values), row, column, generator_of(values) if permuted else None)
    assert (found.df1, found.df2) == (3, 16)
    assert (found.statistic, found.p) == pytest.approx((statistic, p), abs=1e-6)
    if permuted:
        assert found.p_permutation == pytest.approx(permuted, abs=0.008)


def test_the_published_effect_sizes():
    tooth = estimate_interaction(*flat(TOOTH)).eta2p
    assert tooth.estimate == pytest.approx(0.132028, abs=1e-6)
    assert (tooth.lo, tooth.hi) == pytest.approx((0.0105, 0.2456), abs=5e-5)
    assert estimate_interaction(*flat(WARP)).eta2p.estimate == pytest.approx(0.148606, abs=1e-6)


def test_the_analytic_case_with_unit_differences():
    found = estimate_interaction(*table([[(1, 3), (2, 4)], [(5, 7), (10, 12)]]))
    assert (found.ss, found.ss_error, found.df1, found.df2) == (pytest.approx(8), pytest.approx(8), 1, 4)
    assert found.statistic == pytest.approx(4)
    assert found.p == pytest.approx(0.116116524)
    assert found.eta2p.estimate == pytest.approx(0.5)
    assert found.omega2p == pytest.approx(3 / 11)


def test_units_and_a_scaled_row_leave_the_log_interaction_alone():
    values, row, column = table([[(1, 3), (2, 4)], [(5, 7), (10, 12)]])
    statistic = estimate_interaction(np.log(values), row, column).statistic
    assert statistic == pytest.approx(0.0344405, abs=1e-7)
    scaled = np.where(row == 1, 5 * values, values) * 1000
    assert estimate_interaction(np.log(scaled), row, column).statistic == pytest.approx(statistic)


@pytest.mark.parametrize("gone", [None, (0, 1)])
def test_unbalanced_grids_agree_with_statsmodels(gone):
    rng = np.random.default_rng(3)
    sizes = {(r, c): 2 + (r + 2 * c) % 3 for r in range(3) for c in range(3) if (r, c) != gone}
    values, row, column = flat({cell: rng.normal(cell[0] * cell[1], 1, n) for cell, n in sizes.items()})
    frame = pd.DataFrame({"y": values, "r": row, "c": column, "cell": row * 10 + column})
    additive, full = (ols(f"y ~ {terms}", frame).fit() for terms in ("C(r) + C(c)", "C(cell)"))
    expected = anova_lm(additive, full).iloc[1]
    found = estimate_interaction(values, row, column)
    assert found.df1 == (4 if gone is None else 3)
    assert found.statistic == pytest.approx(expected["F"])
    assert found.p == pytest.approx(expected["Pr(>F)"])


def test_the_robust_p_of_two_rows_is_welchs_anova_of_their_differences():
    """Johansen's test, whose special case Welch (1951) wrote down: column by column the differences of two means."""
    rng = np.random.default_rng(4)
    cells = [[rng.normal(r * c, 1 + c, 4 + c + r) for c in range(4)] for r in range(2)]
    d = np.array([np.mean(up) - np.mean(low) for low, up in zip(*cells, strict=True)])
    parts = np.array([[np.var(cell, ddof=1) / len(cell) for cell in line] for line in cells])
    df = parts.sum(0) ** 2 / np.sum(parts**2 / [[len(cell) - 1 for cell in line] for line in cells], axis=0)
    w = 1 / parts.sum(0)
    k, mean = len(d), (w @ d) / w.sum()
    tail = np.sum((1 - w / w.sum()) ** 2 / df)
    statistic = np.sum(w * (d - mean) ** 2) / (k - 1) / (1 + 2 * (k - 2) / (k**2 - 1) * tail)
    expected = stats.f.sf(statistic, k - 1, (k**2 - 1) / (3 * tail))
    assert estimate_interaction(*table(cells)).p_robust == pytest.approx(expected)


def test_the_robust_p_of_two_by_two_is_the_welch_contrast():
    values, row, column = table([[(1, 3), (2, 4)], [(5, 7), (10, 12)]])
    assert estimate_interaction(values, row, column).p_robust == pytest.approx(0.116116524)  # equal variances: df 4
    values, row, column = table([[(1, 2, 3), (2, 4, 9)], [(5, 7, 9), (10, 30, 50)]])
    variance = np.array([1, 13, 4, 400]) / 3
    df = variance.sum() ** 2 / (variance**2 / 2).sum()
    expected = 2 * stats.t.sf(abs(2 - 5 - 7 + 30) / math.sqrt(variance.sum()), df)
    assert estimate_interaction(values, row, column).p_robust == pytest.approx(expected)


@pytest.mark.parametrize(
    ("cells", "status"),
    [
        ([[(1,), (2,)], [(3,), (9,)]], "not_testable"),
        ([[(1, 1), (2, 2)], [(3, 3), (9, 9)]], "zero_variance"),
        ([[(0.1, 0.1), (0.2, 0.2)], [(0.3, 0.3), (0.4, 0.4)]], "exactly_additive"),
    ],
)
def test_grids_without_a_test(cells, status):
    found = estimate_interaction(*table(cells))
    assert found.status == status
    assert math.isnan(found.p)
    assert math.isnan(found.p_robust)


@pytest.mark.parametrize("statistic", [1e5, 1e8, 1e12])
def test_limits_of_eta_squared_for_any_f(statistic):
    """For such F its square root is normal but for the chi-square below it: lambda is in proportion to F."""
    of_million, found = eta_squared(1e6, 2, 9, 15), eta_squared(statistic, 2, 9, 15)
    assert 0.99 < found.lo <= found.estimate <= found.hi <= 1
    for limit, other in ((found.lo, of_million.lo), (found.hi, of_million.hi)):
        assert (1 - limit) * statistic == pytest.approx((1 - other) * 1e6, rel=2e-3)


def test_a_missing_cell_of_two_by_two_leaves_no_interaction():
    found = estimate_interaction(*flat({(0, 0): [1, 2], (0, 1): [2, 3], (1, 0): [4, 5]}))
    assert (found.df1, found.status) == (0, "not_testable")


def test_the_permutation_p_is_near_the_p_of_normal_data_and_repeatable():
    values, row, column = flat(TOOTH)
    first, second = (estimate_interaction(values, row, column, generator_of(values)) for _ in range(2))
    assert first.p_permutation == second.p_permutation == pytest.approx(first.p, abs=0.006)
    assert first.permutations == 9999
    crossing = flat({(a, b): [10 * (a == b) + value for value in range(4)] for a in range(3) for b in range(3)})
    assert estimate_interaction(*crossing, np.random.default_rng(0)).p_permutation == 1 / 10000


def test_a_contrast_is_the_published_ratio_of_ratios():
    """5.58 / 1.68 with 8 % sd in every cell of three runs: t(8) = 12.994657."""
    spread = 0.08 * np.array([-1, 0, 1])
    logs, row, column = table([[spread, spread], [spread + math.log(5.58), spread + math.log(1.68)]])
    weights = np.array([-1.0, 1.0, 1.0, -1.0])
    found, p = contrast(logs, grid_of(row, column), weights, 0.95)
    assert found.estimate == pytest.approx(1.200395, abs=1e-6)
    assert p == pytest.approx(2 * stats.t.sf(12.994657, 8), rel=1e-5)
    assert found.lo == pytest.approx(found.estimate * (1 - stats.t.ppf(0.975, 8) / 12.994657), rel=1e-6)


def test_the_limits_of_eta_squared_are_those_of_the_noncentral_f():
    found = eta_squared(6.0, 2, 20, 26)
    for limit, share in ((found.lo, 0.95), (found.hi, 0.05)):
        assert stats.ncf.cdf(6.0, 2, 20, limit / (1 - limit) * 26) == pytest.approx(share)
    assert eta_squared(0.1, 2, 20, 26).lo == 0
    sharp = eta_squared(1e6, 1, 2, 5)  # as of cells that agree to three digits
    assert sharp.lo < sharp.estimate < sharp.hi < 1


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_size_of_the_tests_on_logs(n):
    """Multiplicative cells with a constant CV: at most 5 % may be called an interaction."""
    rng = np.random.default_rng(n)
    row, column = (np.repeat(places, n) for places in np.divmod(np.arange(4), 2))
    by_f, by_permutation = 0, 0
    worlds = 1000
    for world in range(worlds):
        logs = row * 1.7 + column * 0.4 + rng.normal(0, 0.1, 4 * n)
        found = estimate_interaction(logs, row, column)
        by_f += found.p < 0.05
        if world < 200:
            by_permutation += estimate_interaction(logs, row, column, rng).p_permutation < 0.05
    assert 0.03 < by_f / worlds < 0.07
    assert by_permutation / 200 < 0.09
