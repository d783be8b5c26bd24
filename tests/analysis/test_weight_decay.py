import math

import numpy as np
import pytest
from analysis.factor_sweeps import DECAYS, VALLEY, answers, sweep
from scipy import stats

from ncdiag.analysis.factor_claims import three_regimes
from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.regularities import regularity_results
from ncdiag.analysis.terms import Terms
from ncdiag.domain.multiplicity import holm
from ncdiag.domain.onset_rule import OnsetRule


def test_what_all_tests_of_a_family_keep_from_being_shown_is_said(make_frames, make_run):
    """Three runs each: of two groups, even of the clearest runs, it cannot be shown that too much prevents."""

    def highs(rates):
        runs = sweep(make_run, "weight_decay", rates)
        slower = {value: tuple(rate + 0.3 for rate in seeds) for value, seeds in rates.items()}
        others = {f"other {name}": run for name, run in sweep(make_run, "weight_decay", slower, arch="cnn").items()}
        found = regularity_results(onset_table(*make_frames(runs | others), OnsetRule()), Terms())
        return [result for result in found if result.quantity == "fails_when_high"]

    rates = {
        3e-4: (30.0, 31.0, 32.0),
        6e-4: (20.0, 20.5, 21.0),
        1e-2: (90.0, 90.0, 90.0),
    }  # the default is not among them
    for high in highs(rates):
        assert (high.p, high.extra["p_min"], high.extra["family"]) == (*[pytest.approx(1 / 32)] * 2, 6)
        few = "with so few runs p is at least 0.031, and 0.063 once all 6 tests are allowed for"
        assert high.warnings[0] == f"cannot be shown by design: {few}"
        assert high.extra["verdict"] == "inconclusive"
    for high in highs({1e-4: rates[3e-4], 2e-4: rates[6e-4], 1e-2: rates[1e-2]}):  # 1e-4 is the default
        assert "this can be shown only if another test has a smaller p" in high.warnings[0]
        assert high.extra["verdict"] == "supported"


def test_the_smallest_p_is_that_of_any_value_that_the_largest_may_be_compared_with(make_frames, make_run):
    """No p is below 1 here, beside two runs as beside eight; but beside eight it could be smaller."""
    rates = {3e-5: (90.0,) * 2, 6e-5: (90.0,) * 8, 9e-5: (20.0, 21.0)}
    high = answers(make_frames(sweep(make_run, "weight_decay", rates)))["weight-decay", "fails_when_high"]
    beside = [stats.boschloo_exact([[0, n], [2, 0]], alternative="less").pvalue for n in (2, 8)]
    assert high.p == 1
    assert high.extra["p_min"] == pytest.approx(2 * min(beside))


def test_three_regimes_of_weight_decay(make_frames, make_run):
    found = answers(make_frames(sweep(make_run, "weight_decay", DECAYS)))
    low, high, valley = (found["weight-decay", name] for name in ("slow_when_low", "fails_when_high", "valley"))
    slow, *others = [np.log(seeds) for seeds in DECAYS.values()][:3]
    welch = [stats.ttest_ind(slow, other, equal_var=False, alternative="greater").pvalue for other in others]
    assert low.p == pytest.approx(2 * min(welch))
    assert (low.extra["low"], low.extra["fastest"]) == (1e-5, 1e-4)
    assert low.estimate == pytest.approx(math.exp(np.log(DECAYS[1e-5]).mean() - np.log(DECAYS[1e-4]).mean()))
    logs = [np.log(DECAYS[value]) for value in (1e-5, 1e-4)]
    interval = stats.ttest_ind(*logs, equal_var=False).confidence_interval(math.sqrt(0.95))  # two values were compared
    assert (low.lo, low.hi) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))
    assert high.p == pytest.approx(1 / 64)
    assert (high.extra["reference"], high.extra["collapsed_high"], high.extra["edge"]) == (1e-4, [0, 3], [5e-4, 1e-2])
    # Newcombe's interval of a difference from Clopper and Pearson's of 0 in 3 and of 3 in 3, each 1 - .025^(1/3) wide
    wide = 1 - 0.025 ** (1 / 3)
    assert (high.estimate, high.lo, high.hi) == pytest.approx((-1, -1, -1 + math.hypot(wide, wide)))
    # the three onsets of the default come before none of the others: 1 of the 20 ways to deal six runs, and its mirror
    assert high.extra["p_logrank"] == pytest.approx(2 / math.comb(6, 3))
    assert valley.p < 0.01
    p = np.array([low.p, high.p, valley.p])
    assert [r.extra["p_holm"] for r in (low, high, valley)] == pytest.approx(holm(p).tolist())
    assert [r.extra["verdict"] for r in (low, high, valley)] == ["supported"] * 3


def test_a_valley_of_weight_decay_is_looked_for_one_way(make_frames, make_run):
    """It was named beforehand, so its p is not doubled as that of a turn in depth is; and a peak is no valley."""
    rates = dict(zip((1e-5, 1e-4, 1e-3), VALLEY.values(), strict=True))
    ends, middle = [np.log(rates[1e-5]), np.log(rates[1e-3])], np.log(rates[1e-4])
    arms = [stats.ttest_ind(end, middle, equal_var=False, alternative="greater").pvalue for end in ends]
    found = answers(make_frames(sweep(make_run, "weight_decay", rates)))["weight-decay", "valley"]
    assert found.p == pytest.approx(max(arms), rel=1e-6)
    peak = {1e-5: rates[1e-4], 1e-4: rates[1e-3], 1e-3: rates[1e-4]}
    assert answers(make_frames(sweep(make_run, "weight_decay", peak)))["weight-decay", "valley"].p > 0.5


def test_without_the_default_every_other_value_is_a_candidate(make_frames, make_run):
    rates = {value * 3: seeds for value, seeds in DECAYS.items()}
    high = answers(make_frames(sweep(make_run, "weight_decay", rates)))["weight-decay", "fails_when_high"]
    assert high.p == pytest.approx(3 / 64)
    assert "times their number (3)" in high.method
    rates[min(rates)] = (30.0, 90.0, 90.0)  # the other two differ from the largest as before
    high = answers(make_frames(sweep(make_run, "weight_decay", rates)))["weight-decay", "fails_when_high"]
    assert (high.p, high.extra["collapsed_reference"]) == (pytest.approx(3 / 64), [3, 3])


def test_a_slow_value_that_is_loud_is_as_uncertain_as_its_own_runs(make_frames, make_run):
    """Its interval has its own variance, as the test has: pooled with four quiet values, it would exclude 1."""
    quiet = (20.0, 20.5, 21.0)
    rates = {1e-5: (22.0, 40.0, 30.0), **dict.fromkeys((1e-4, 2e-4, 3e-4, 4e-4), quiet), 1e-2: (90.0,) * 3}
    low = answers(make_frames(sweep(make_run, "weight_decay", rates)))["weight-decay", "slow_when_low"]
    logs = [np.log(rates[value]) for value in (1e-5, 1e-4)]
    interval = stats.ttest_ind(*logs, equal_var=False).confidence_interval(0.95 ** (1 / 4))
    assert (low.lo, low.hi) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))
    assert low.lo < 1


def test_onsets_at_one_epoch_have_no_slow_value(make_frames, make_run):
    found = answers(
        make_frames(sweep(make_run, "weight_decay", {1e-5: (20.0,) * 3, 1e-4: (20.0,) * 3, 5e-4: (30.0,) * 3}))
    )
    low = found["weight-decay", "slow_when_low"]
    assert (low.status, low.extra["verdict"]) == ("zero_variance", "not testable")
    assert math.isnan(low.p)


def test_where_all_collapse_nothing_is_prevented(make_frames, make_run):
    rates = dict.fromkeys((1e-05, 0.0001, 0.001), DECAYS[0.0001])
    found = answers(make_frames(sweep(make_run, "weight_decay", rates)))
    high = found["weight-decay", "fails_when_high"]
    assert (high.p, high.extra["edge"]) == (1, [1e-3, None])
    assert found["weight-decay", "slow_when_low"].p == pytest.approx(0.5)


def test_two_weight_decays_are_no_regimes_and_take_no_part_in_the_family(make_frames, make_run):
    """Their tests are those of the values alone, and no other claim pays for them."""
    two = {1e-4: (20.0, 20.5, 21.0), 1e-2: (90.0, 90.0, 90.0)}
    depths = sweep(make_run, "depth", VALLEY, dataset="cifar10")
    frames = make_frames({**depths, **sweep(make_run, "weight_decay", two)})
    found = answers(frames)
    turn = found["depth", "non_monotone"]
    assert (turn.extra["p_holm"], turn.extra["family"]) == (turn.p, 1)
    high = found["weight-decay", "fails_when_high"]
    assert high.p == pytest.approx(stats.boschloo_exact([[0, 3], [3, 0]], alternative="less").pvalue, rel=1e-6)
    assert (high.extra["verdict"], high.extra["exploratory"], high.extra["family"]) == ("not testable", True, 1)
    assert math.isnan(high.extra["p_holm"])
    assert high.warnings[0] == "two values cannot show three regimes, so what is tested of them is exploratory"
    (judged,) = three_regimes({"weight-decay": [r for r in found.values() if r.question == "weight-decay"]}, 0.05)
    assert [part.shown for part in judged.parts] == [None, None, None]
    third = {**two, 1e-3: (22.0, 22.5, 23.0)}
    more = answers(make_frames({**depths, **sweep(make_run, "weight_decay", third)}))
    assert more["depth", "non_monotone"].extra["family"] == 4
    assert "exploratory" not in more["weight-decay", "fails_when_high"].extra


def cut_short(make_run):
    """Three decays of four runs that all collapse, at 20, 40 and 35 ln 100 epochs, but for one that ends at 120."""
    rates = {1e-5: (40.0, 40.5, 41.0, 41.5), 1e-4: (20.0, 20.5, 21.0, 21.5), 1e-3: (35.0, 35.5, 36.0, 36.5)}
    runs = sweep(make_run, "weight_decay", rates, epochs=400)
    last = list(runs)[-1]
    return {**runs, last: make_run(36.5, weight_decay=1e-3, epochs=120)}


def test_runs_that_collapse_after_the_common_budget_were_not_prevented(make_frames, make_run):
    found = answers(make_frames(cut_short(make_run)))
    high = found["weight-decay", "fails_when_high"]
    assert (high.extra["budget"], high.extra["later_high"]) == (120, 3)
    assert (high.extra["collapsed_high"], high.extra["collapsed_reference"]) == ([0, 4], [4, 4])
    assert high.extra["p_holm"] <= 0.05
    assert (high.extra["verdict"], high.extra["edge"]) == ("inconclusive", [1e-3, None])
    slow, _, late = found["weight-decay", "slow_when_low"].extra["levels"]
    assert (slow["n_collapsed"], slow["n_later"], late["n_collapsed"], late["n_later"]) == (0, 4, 0, 3)
    assert late["onset_later"] == pytest.approx(np.log(100) * (35.0 * 35.5 * 36.0) ** (1 / 3))
    assert late["fn_star_later"] == pytest.approx(1.0)
    assert "8 of 12 runs did not collapse within 120 epochs (7 of them did later): fn* is that of the others only" in (
        high.warnings
    )


def test_without_a_shorter_run_nothing_comes_later(make_frames, make_run):
    found = answers(make_frames(sweep(make_run, "weight_decay", DECAYS)))
    levels = found["weight-decay", "slow_when_low"].extra["levels"]
    assert [level["n_later"] for level in levels] == [0, 0, 0, 0]
    assert found["weight-decay", "fails_when_high"].extra["later_high"] == 0
