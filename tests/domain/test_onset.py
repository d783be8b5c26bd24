import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncdiag.domain.onset import MIN_ACCURACY, Trajectory, find_onset, has_relapsed, lowest_metric, read_onset
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.errors import AnalysisError, NCDiagError

RULE = OnsetRule(eps=0.1, patience=5)


def run(metric, *, first_epoch=0, step=1, **columns):
    epoch = first_epoch + step * np.arange(len(metric), dtype=float)
    arrays = {k: v if k == "loss" else np.asarray(v, dtype=float) for k, v in columns.items()}
    return Trajectory(epoch=epoch, metric=np.asarray(metric, dtype=float), **arrays)


def high_then_low(length, low_from, *, high=1.0, low=0.01, low_until=None):
    metric = np.full(length, high)
    metric[low_from:low_until] = low
    return metric


def test_exponential_decay_crosses_where_the_formula_says():
    onset = find_onset(run(np.exp(-np.arange(100) / 20)), RULE)
    assert onset.epoch == pytest.approx(20 * math.log(10), abs=1e-9)
    assert (onset.lo, onset.hi, onset.index, onset.confirmed_at) == (46, 47, 47, 51)


@pytest.mark.parametrize(("patience", "index", "epoch"), [(3, 10, 9.5), (5, 30, 29.5)])
def test_a_blip_shorter_than_the_patience_is_passed_over(patience, index, epoch):
    metric = high_then_low(60, 30)
    metric[10:13] = 0.01
    onset = find_onset(run(metric), OnsetRule(eps=0.1, patience=patience))
    assert onset.index == index
    assert onset.epoch == pytest.approx(epoch)


def test_never_below_is_censored_at_the_last_epoch():
    onset = find_onset(run(np.ones(50)), RULE)
    assert (onset.state, onset.censored_at) == ("censored", 49)
    assert math.isnan(onset.epoch)


def test_a_streak_that_is_cut_off_is_censored_before_it_began():
    onset = find_onset(run(high_then_low(50, 48)), RULE)
    assert (onset.state, onset.censored_at) == ("unconfirmed", 47)
    only = find_onset(run([0.01, 0.01], first_epoch=10), RULE)
    assert (only.state, only.censored_at) == ("unconfirmed", 0)


def test_below_from_the_start_is_left_censored():
    onset = find_onset(run(np.full(20, 0.01), first_epoch=10), RULE)
    assert (onset.state, onset.lo, onset.hi) == ("left_censored", 0, 10)
    assert math.isnan(onset.epoch)


def test_what_is_below_at_epoch_0_no_training_has_brought_under_any_rule():
    published = OnsetRule(eps=0.05, rule="first")
    before, after = (find_onset(run(np.full(20, 0.01), first_epoch=at), published) for at in (0, 1))
    assert (before.state, before.hi) == ("left_censored", 0)
    assert (after.state, after.epoch) == ("collapsed", 1)
    assert math.isnan(read_onset(run(np.full(20, 0.01), first_epoch=0), published)[0])


@pytest.mark.parametrize(("tail", "relapsed"), [([math.nan] * 5, True), ([math.nan] * 4 + [0.01], False)])
def test_a_collapse_that_ends_in_values_that_are_not_finite_has_relapsed(tail, relapsed):
    trajectory = run([*high_then_low(30, 10), *tail])
    assert find_onset(trajectory, RULE).state == "collapsed"
    assert has_relapsed(trajectory, RULE) == relapsed


@pytest.mark.parametrize("metric", [[math.nan] * 5, [math.inf] * 5])
def test_a_run_that_never_had_a_finite_metric_has_diverged_unless_its_features_went_on(metric):
    """A class without a sample makes the metric NaN at every epoch of a training that goes well."""
    for norms in ({}, {"feature_norm": [1, 1, 1, 1, math.nan]}):
        onset = find_onset(run(metric, **norms), RULE)
        assert (onset.state, onset.censored_at) == ("diverged", 0)
    assert find_onset(run(metric, feature_norm=[math.nan, 1, 1, 1, 1]), RULE).state == "no_data"
    assert find_onset(run([]), RULE).state == "no_data"


def test_a_run_that_diverged_before_a_phase_had_no_onset_until_it_began():
    trajectory = run([0.5, 0.4, 0.3, *[math.nan] * 4], first_epoch=1, phase=np.repeat([1.0, 2.0], [3, 4]))
    onset = find_onset(trajectory, OnsetRule(phase=2))
    assert (onset.state, onset.censored_at) == ("diverged", 3)


def test_a_nan_breaks_the_streak_and_no_line_is_drawn_from_it():
    metric = high_then_low(40, 10)
    metric[14] = math.nan
    onset = find_onset(run(metric), RULE)
    assert (onset.epoch, onset.lo, onset.hi) == (15, 14, 15)


def test_non_finite_to_the_end_is_diverged_at_the_last_finite_epoch():
    metric = np.ones(30)
    metric[20:] = [math.nan, math.inf] * 5
    onset = find_onset(run(metric), RULE)
    assert (onset.state, onset.censored_at) == ("diverged", 19)


def test_an_onset_before_divergence_stands():
    metric = high_then_low(30, 10)
    metric[20:] = math.nan
    assert find_onset(run(metric), RULE).state == "collapsed"


def test_unit_of_time_scales_the_onset():
    metric = np.exp(-np.arange(100) / 20)
    days, hours = (find_onset(run(metric, step=step), RULE) for step in (1, 10))
    assert hours.epoch == pytest.approx(10 * days.epoch)
    assert hours.slope == pytest.approx(days.slope / 10)


def test_a_monotone_transform_of_metric_and_threshold_keeps_the_evaluation():
    metric = np.exp(-np.arange(100) / 20)
    assert find_onset(run(metric**2), OnsetRule(eps=0.01, patience=5)).index == find_onset(run(metric), RULE).index


def test_feature_norm_is_read_on_a_line_of_logarithms():
    t = np.arange(100)
    norm = 0.8 * np.exp(-t / 90)
    onset = find_onset(run(np.exp(-t / 20), feature_norm=norm), RULE)
    assert onset.feature_norm == pytest.approx(0.8 * math.exp(-20 * math.log(10) / 90), rel=1e-12)
    for unknown in (math.inf, 0.0):
        alone = find_onset(run(np.exp(-t / 20), feature_norm=np.where(t == 46, unknown, norm)), RULE)
        assert (alone.epoch, alone.feature_norm) == (onset.epoch, norm[47])


def test_slope_is_the_decay_rate_and_a_smooth_curve_has_no_noise():
    onset = find_onset(run(np.exp(-np.arange(100) / 20)), RULE)
    assert onset.slope == pytest.approx(1 / 20)
    assert onset.noise == pytest.approx(0, abs=1e-12)


def test_a_norm_that_was_measured_more_rarely_is_read_between_its_measurements():
    epoch = np.arange(100.0)
    norm = np.where(epoch % 7 == 0, np.exp(-epoch / 50), np.nan)
    onset = find_onset(run(np.exp(-epoch / 20), feature_norm=norm), RULE)
    assert onset.feature_norm == pytest.approx(math.exp(-onset.epoch / 50), rel=1e-12)
    behind = np.where(epoch < 40, norm, np.nan)  # nothing is known of what came after
    assert math.isnan(find_onset(run(np.exp(-epoch / 20), feature_norm=behind), RULE).feature_norm)


def test_a_norm_is_not_read_across_a_switch_of_the_phase():
    epoch, phase = np.arange(100.0), np.repeat([1.0, 2.0], [45, 55])
    norm = np.full(100, np.nan)
    norm[[40, 50]] = 9.0, 1.0  # the onset, at epoch 46.05, is between them, and in the phase of the second
    assert math.isnan(find_onset(run(np.exp(-epoch / 20), feature_norm=norm, phase=phase), RULE).feature_norm)
    norm[45] = 2.0
    onset = find_onset(run(np.exp(-epoch / 20), feature_norm=norm, phase=phase), RULE)
    assert onset.feature_norm == pytest.approx(2 ** (1 - (onset.epoch - 45) / 5), rel=1e-12)


def test_a_straight_line_has_no_noise_however_its_evaluations_lie():
    epoch = np.sort(np.random.default_rng(0).choice(200, 60, replace=False)).astype(float)
    assert find_onset(Trajectory(epoch=epoch, metric=np.exp(-epoch / 40)), RULE).noise == pytest.approx(0, abs=1e-12)
    noisy = np.exp(-epoch / 40 + 0.2 * np.random.default_rng(1).normal(size=60))
    assert find_onset(Trajectory(epoch=epoch, metric=noisy), RULE).noise == pytest.approx(0.2, rel=0.3)


def test_noise_is_the_sd_of_white_noise_on_a_falling_curve():
    rng = np.random.default_rng(0)
    metric = np.exp(-np.arange(4000) / 500 + 0.2 * rng.normal(size=4000))
    assert find_onset(run(metric), RULE).noise == pytest.approx(0.2, rel=0.05)


def test_first_is_the_published_rule():
    metric = [1.0, 0.2, 0.009, 0.5, 0.4]
    onset = find_onset(run(metric, first_epoch=10, step=10, feature_norm=[9, 5, 2, 1, 1]), OnsetRule(rule="first"))
    assert (onset.epoch, onset.feature_norm, onset.confirmed_at) == (30, 2, 30)


def test_first_takes_even_the_first_evaluation():
    onset = find_onset(run([0.001, 0.5], first_epoch=5), OnsetRule(rule="first"))
    assert (onset.state, onset.epoch) == ("collapsed", 5)


def test_small_nc1_while_nothing_is_learned_does_not_count():
    metric = high_then_low(40, 10)
    accuracy = np.where(np.arange(40) < 20, MIN_ACCURACY - 0.1, 0.99)
    onset = find_onset(run(metric, train_accuracy=accuracy), RULE)
    assert (onset.epoch, onset.index, onset.degenerate) == (20, 20, 10)


def test_an_unknown_accuracy_counts():
    onset = find_onset(run(high_then_low(40, 10), train_accuracy=np.full(40, math.nan)), RULE)
    assert onset.index == 10


@pytest.mark.parametrize("nc1", [0.001, math.nan])
def test_dead_features_are_no_onset(nc1):
    norm, accuracy = np.full(40, 10.0), np.full(40, 0.9)
    norm[25:], accuracy[25:] = 0.01, 0.1
    onset = find_onset(run(high_then_low(40, 25, low=nc1), feature_norm=norm, train_accuracy=accuracy), RULE)
    assert (onset.state, onset.censored_at) == ("dead", 24)


def test_a_small_norm_with_high_accuracy_is_alive():
    norm = np.where(np.arange(40) < 10, 1000.0, 1.0)
    onset = find_onset(run(high_then_low(40, 10), feature_norm=norm, train_accuracy=np.ones(40)), RULE)
    assert onset.state == "collapsed"


def test_features_that_are_yet_to_grow_are_not_dead():
    """Small is what was larger once: features that begin at a thousandth of what they grow to have not died."""
    norm, accuracy = np.geomspace(1.0, 1000.0, 40), np.linspace(0.1, 0.9, 40)
    assert not run(np.ones(40), feature_norm=norm, train_accuracy=accuracy).dead.any()
    falling = run(np.ones(40), feature_norm=norm[::-1], train_accuracy=accuracy[::-1]).dead
    assert falling.sum() == np.count_nonzero((norm <= 10) & (accuracy < MIN_ACCURACY)) > 0


def test_zero_features_are_dead_without_an_accuracy():
    norm = np.where(np.arange(40) < 20, 5.0, 0.0)
    assert find_onset(run(high_then_low(40, 20), feature_norm=norm), RULE).state == "dead"


def test_no_line_is_drawn_across_a_phase_switch():
    metric = [0.105, 0.105, 0.0095, 0.009, 0.008]
    columns = {"phase": [1, 1, 2, 2, 2], "loss": ["ce", "ce", "mse", "mse", "mse"], "feature_norm": [15, 14, 1.2, 1, 1]}
    onset = find_onset(run(metric, first_epoch=190, step=10, **columns), OnsetRule())
    assert (onset.epoch, onset.lo, onset.hi, onset.feature_norm) == (210, 200, 210, 1.2)
    assert (onset.phase, onset.loss) == (2, "mse")


def test_a_phase_filter_sees_one_phase_only():
    metric = high_then_low(60, 10, low_until=20)
    metric[45:] = 0.01
    phase = np.where(np.arange(60) < 30, 1, 2)
    found = [
        find_onset(run(metric, phase=phase), OnsetRule(eps=0.1, patience=5, phase=scope)).index for scope in (1, 2)
    ]
    assert found == [10, 45]


@pytest.mark.parametrize(("phase", "state", "at"), [(1, "unconfirmed", 25), (2, "left_censored", math.nan)])
def test_a_streak_is_confirmed_within_its_phase(phase, state, at):
    """Four evaluations below eps before the switch, and many after it."""
    trajectory = run(high_then_low(60, 26), phase=np.where(np.arange(60) < 30, 1, 2))
    onset = find_onset(trajectory, OnsetRule(eps=0.1, patience=5, phase=phase))
    assert (onset.state, onset.censored_at) == (state, pytest.approx(at, nan_ok=True))
    short = run(high_then_low(33, 30), phase=np.where(np.arange(33) < 30, 1, 2))
    assert find_onset(short, OnsetRule(eps=0.1, patience=5, phase=2)).censored_at == 29


@pytest.mark.parametrize("rule", ["sustained", "first"])
def test_collapsed_before_the_phase_is_left_censored_in_it(rule):
    """The published rule takes the first epoch that was logged as it comes, not the first of a phase."""
    phase = np.where(np.arange(60) < 30, 1, 2)
    onset = find_onset(run(high_then_low(60, 20), phase=phase), OnsetRule(eps=0.1, patience=5, phase=2, rule=rule))
    assert (onset.state, onset.hi) == ("left_censored", 30)


def test_a_phase_that_was_not_reached_has_no_data():
    assert find_onset(run(np.ones(9), phase=np.ones(9)), OnsetRule(phase=2)).state == "no_data"


def test_exact_collapse_has_no_logarithm_and_is_put_at_its_evaluation():
    onset = find_onset(run([1, 1, 0, 0, 0], feature_norm=[5, 4, 3, 2, 1]), OnsetRule())
    assert (onset.epoch, onset.feature_norm) == (2, 3)


@pytest.mark.parametrize(
    "wrong", [{"eps": 0}, {"eps": math.nan}, {"patience": 0}, {"metric": "nc9"}, {"rule": "last"}, {"phase": 0}]
)
def test_a_rule_that_means_nothing_is_refused(wrong):
    with pytest.raises(NCDiagError):
        OnsetRule(**wrong)


def test_a_rule_in_words():
    assert str(OnsetRule(eps=0.05, patience=4, phase=2)) == "nc1 < 0.05 for 4 evaluations in phase 2"
    assert str(OnsetRule(patience=1)) == "nc1 < 0.01 for 1 evaluation"
    assert str(OnsetRule(metric="nc3", rule="first")) == "first logged epoch with nc3 < 0.01"


def test_epochs_out_of_order_are_refused():
    with pytest.raises(NCDiagError, match="rise"):
        Trajectory(epoch=np.array([1.0, 1.0]), metric=np.ones(2))


def naive_onset(epoch, metric, eps, patience):
    """The rule as one reads it: walk through the rows and count."""
    if not metric:
        return "no_data", math.nan
    for start in range(len(metric)):
        window = metric[start : start + patience]
        if len(window) == patience and all(value < eps for value in window):
            if start == 0:
                return "left_censored", math.nan
            before, here = metric[start - 1], metric[start]
            if not math.isfinite(before):
                return "collapsed", epoch[start]
            share = math.log(before / eps) / math.log(before / here)
            return "collapsed", epoch[start - 1] + share * (epoch[start] - epoch[start - 1])
    if not math.isfinite(metric[-1]):
        return "diverged", math.nan
    return ("unconfirmed" if metric[-1] < eps else "censored"), math.nan


@given(
    st.lists(st.sampled_from([2.0, 1.0, 0.3, 0.1, 0.05, 0.01, math.nan, math.inf]), max_size=30),
    st.integers(1, 4),
    st.integers(1, 7),
)
def test_agrees_with_a_walk_through_the_rows(metric, patience, step):
    trajectory = run(metric, first_epoch=step, step=step)
    onset = find_onset(trajectory, OnsetRule(eps=0.1, patience=patience))
    state, epoch = naive_onset(trajectory.epoch.tolist(), metric, 0.1, patience)
    assert onset.state == state
    assert onset.epoch == pytest.approx(epoch, nan_ok=True)


@given(st.lists(st.floats(1e-4, 10), min_size=1, max_size=30), st.integers(1, 4))
def test_an_onset_lies_in_its_interval(metric, patience):
    onset = find_onset(run(metric, first_epoch=1), OnsetRule(eps=0.1, patience=patience))
    if onset.state == "collapsed":
        assert onset.lo <= onset.epoch <= onset.hi <= onset.confirmed_at
    else:
        assert math.isnan(onset.epoch)


def test_the_lowest_value_is_a_finite_one_of_the_phase():
    trajectory = run([0.5, 0.3, math.nan, -math.inf, 0.4, 0.2], phase=[1, 1, 1, 2, 2, 3])
    assert [lowest_metric(trajectory, OnsetRule(phase=phase)) for phase in (None, 1, 2, 3)] == [0.2, 0.3, 0.4, 0.2]
    assert math.isnan(lowest_metric(run([math.nan]), RULE))


def test_eps_may_be_a_number_of_numpy_and_nothing_else_but_numbers() -> None:
    assert OnsetRule(eps=np.float32(0.5)).eps == 0.5
    with pytest.raises(AnalysisError, match="eps must be a finite number > 0, not 'small'"):
        OnsetRule(eps="small")  # type: ignore[arg-type]
