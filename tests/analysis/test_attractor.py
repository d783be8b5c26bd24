import math

import numpy as np
import pytest
from analysis.conftest import pick
from analysis.rescaling import BACK, HALF_LIFE, attractor, branch, experiment
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from ncdiag.analysis.pair_claims import returns
from ncdiag.domain.equivalence import MARGIN


def test_features_that_come_back_from_both_sides_are_attracted(make_frames, make_run):
    found = attractor(make_frames(experiment(make_run, BACK)))
    verdict = pick(found, "verdict")
    assert verdict.extra["verdict"] == "supported"
    assert verdict.p == max(r.p for r in found if r.quantity in ("log_ratio", "drift", "settled"))
    assert verdict.extra["p_holm"] == verdict.p
    up = pick(found, "log_ratio", arm="up_control")
    values = np.array(BACK)[:, 0]
    assert up.extra["values"] == pytest.approx(values, abs=1e-6)
    assert up.extra["p_equivalence"] == pytest.approx(ttost_paired(values, np.zeros(5), -MARGIN, MARGIN)[0], rel=1e-3)
    assert up.extra["p_difference"] == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-3)
    assert pick(found, "log_ratio", arm="up_down").estimate == pytest.approx(
        np.mean([u - d for u, d in BACK]), abs=1e-6
    )
    ends = np.log1p(0.02 * np.arange(5))  # of the controls
    assert up.extra["p_published_fn"] == pytest.approx(stats.ttest_ind(ends + values, ends).pvalue, rel=1e-6)


def test_each_condition_has_its_own_ratio(make_frames, make_run):
    """Features that return in one condition, and end 60 % up in the other: their mean is a ratio that no run has."""
    back, away = [0.01, -0.01, 0.012], [0.46, 0.48, 0.47]
    runs = {}
    for width, shifts in ((64, back), (128, away)):
        arms = experiment(make_run, [(up, 0.0) for up in shifts], width=width)
        runs |= {f"{width}{name}": run for name, run in arms.items()}
    up = pick(attractor(make_frames(runs)), "log_ratio", arm="up_control")
    assert [(one["condition"], one["n_pairs"]) for one in up.extra["conditions"]] == [("width=64", 3), ("width=128", 3)]
    assert up.warnings == ("the pairs of 2 conditions count as independent",)
    for one, shifts in zip(up.extra["conditions"], (back, away), strict=True):
        own = stats.t.interval(0.9, 2, np.mean(shifts), stats.sem(shifts))
        assert [one["estimate"], one["lo"], one["hi"]] == pytest.approx([np.mean(shifts), *own], abs=1e-6)
        assert one["ratio"] == pytest.approx(math.exp(np.mean(shifts)), abs=1e-6)
    tests = [ttost_paired(np.array(s), np.zeros(3), -MARGIN, MARGIN)[0] for s in (back, away)]
    assert [one["p"] for one in up.extra["conditions"]] == pytest.approx(tests, abs=1e-6)
    assert up.extra["p_each"] == pytest.approx(max(tests), abs=1e-6)
    alone = attractor(make_frames({name: run for name, run in runs.items() if name.startswith("64")}))
    assert pick(alone, "log_ratio", arm="up_control").extra["conditions"] == []


def widths(make_run, *shifts):
    """Give the arms of several conditions, whose features end away by as much in up; those in down come back."""
    runs = {}
    for number, own in enumerate(shifts):
        downs = [down for _, down in BACK[number:] + BACK[:number]]
        arms = experiment(make_run, list(zip(own, downs, strict=False)), first=5 * number, width=64 * 2**number)
        runs |= {f"{number}{name}": run for name, run in arms.items()}
    return runs


BY_FIVE = np.array([-0.005, 0.0, 0.005, 0.0025, -0.0025])


def test_features_have_to_come_back_in_every_condition(make_frames, make_run):
    """Those of one condition return, those of the other stay 9.6 % up: on average 5 %, and within the margin."""
    found = attractor(make_frames(widths(make_run, BY_FIVE, 0.092 + BY_FIVE)))
    up, verdict = pick(found, "log_ratio", arm="up_control"), pick(found, "verdict")
    assert up.p < 0.05
    assert up.extra["p_each"] > 0.95
    assert (verdict.extra["verdict"], verdict.extra["different"]) == ("refuted", ["up_control"])
    assert verdict.p == max(r.extra["p_each"] for r in found if r.quantity == "log_ratio")
    near = pick(attractor(make_frames(widths(make_run, BY_FIVE, 0.075 + BY_FIVE))), "verdict")
    assert (near.extra["verdict"], near.extra["not_shown"]) == ("inconclusive", ["up_control", "up_down"])
    back = pick(attractor(make_frames(widths(make_run, BY_FIVE, 0.02 + BY_FIVE))), "verdict")
    assert back.extra["verdict"] == "supported"


def test_one_pair_of_every_condition_cannot_show_that_all_return(make_frames, make_run):
    found = attractor(make_frames(widths(make_run, *BY_FIVE[:4, None])))
    up, verdict = pick(found, "log_ratio", arm="up_control"), pick(found, "verdict")
    assert (up.extra["over"], up.extra["outcome"]) == ("conditions", "equivalent")
    assert any("in every condition cannot be tested" in caution for caution in up.warnings)
    assert verdict.extra["verdict"] == "inconclusive"
    assert math.isnan(verdict.p)


def test_the_half_life_is_the_one_that_was_put_in(make_frames, make_run):
    found = attractor(make_frames(experiment(make_run, BACK)))
    for arm in ("up_control", "down_control"):
        half_life = pick(found, "half_life", arm=arm)
        assert half_life.extra["half_lives"] == pytest.approx(
            [HALF_LIFE * (0.9 + 0.05 * s) for s in range(5)], rel=1e-3
        )
        assert half_life.estimate == pytest.approx(HALF_LIFE, rel=5e-3)
        assert half_life.extra["n_seen"] == 5
        logs = np.log(half_life.extra["half_lives"])
        limits = np.exp(stats.t.interval(0.95, 4, logs.mean(), stats.sem(logs)))
        assert (half_life.lo, half_life.hi) == pytest.approx(limits)
        assert half_life.warnings == ()
        stays = np.array(BACK)[:, 0 if arm == "up_control" else 1]
        assert half_life.extra["offset"] == pytest.approx(stays.mean(), abs=1e-5)
        equal = ttost_paired(stays, np.zeros(5), -MARGIN, MARGIN)[0]
        assert half_life.extra["p_offset"] == pytest.approx(equal, rel=1e-2)


def test_copies_of_one_seed_show_no_return(make_frames, make_run):
    runs = experiment(make_run, [BACK[0]] * 5)
    for name, run in runs.items():  # the seeds differ in nothing but their names
        runs[name] = {**runs[f"{name[0]}0"], "seed": run["seed"]}
    found = attractor(make_frames(runs))
    verdict = pick(found, "verdict")
    assert verdict.extra["verdict"] in ("inconclusive", "not testable")
    (why,) = verdict.extra["blocked"]
    assert why.startswith("12 runs have the figures of another at every evaluation")
    (claimed,) = returns({"attractor": found}, 0.05)
    assert claimed.blocked == [why]


@pytest.mark.parametrize(("seen", "verdict"), [(2, "inconclusive"), (3, "supported")])
def test_a_return_has_to_be_seen_in_most_pairs(make_frames, make_run, seen, verdict):
    """In the other pairs both arms are where they end at the first evaluation: equal, but nothing came back."""
    runs = experiment(make_run, BACK)
    for seed in range(seen, 5):
        for arm, shift, stays in (("u", math.log(3), BACK[seed][0]), ("d", -math.log(3), BACK[seed][1])):
            runs[f"{arm}{seed}"] = branch(make_run, seed, shift, offset=stays, level=1 + 0.02 * seed, half_life=1e-3)
    found = attractor(make_frames(runs))
    judged = pick(found, "verdict")
    assert (judged.extra["verdict"], judged.extra["not_shown"]) == (verdict, [])
    half_life = pick(found, "half_life", arm="up_control")
    assert half_life.extra["n_seen"] == seen
    assert half_life.warnings == (f"no return of up to control was seen in {5 - seen} of 5 pairs",)
    (claimed,) = returns({"attractor": found}, 0.05)
    assert (claimed.parts[0].shown, claimed.contradicted) == (verdict == "supported", False)
    if verdict == "inconclusive":
        assert claimed.parts[0].lacking == "the return itself was not seen in most pairs"


def test_features_that_stay_where_they_were_put_are_not(make_frames, make_run):
    found = attractor(make_frames(experiment(make_run, BACK, back=False)))
    verdict = pick(found, "verdict")
    assert verdict.extra["verdict"] == "refuted"
    assert verdict.extra["different"][:3] == ["up_control", "down_control", "up_down"]
    assert math.isnan(pick(found, "half_life", arm="up_control").estimate)
    assert not verdict.extra["returned"]


OFF = [(0.04, 0.0), (0.06, 0.01), (0.09, -0.01), (0.05, 0.0), (0.07, 0.01)]  # up by about 6 %, which is within 8 %


def test_a_difference_that_may_lie_within_the_margin_refutes_nothing(make_frames, make_run):
    """Oracles: Student's t-test finds the difference, its one-sided kin that it is beyond the margin does not."""
    found = attractor(make_frames(experiment(make_run, OFF)))
    up, values = pick(found, "log_ratio", arm="up_control"), [up for up, _ in OFF]
    assert stats.ttest_1samp(values, 0).pvalue < 0.01
    assert stats.ttest_1samp(values, MARGIN, alternative="greater").pvalue > 0.5
    assert up.extra["outcome"] == "different"
    verdict = pick(found, "verdict").extra
    assert (verdict["verdict"], verdict["different"]) == ("inconclusive", [])
    assert "up_control" in verdict["not_shown"]


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_the_confidence_asked_for_decides(make_frames, make_run, level):
    """Features that come back are within 8 % at any level; their limits are those of two one-sided tests at it."""
    found = attractor(make_frames(experiment(make_run, BACK)), level)
    up = pick(found, "log_ratio", arm="up_control")
    values = np.array(BACK)[:, 0]
    limits = stats.t.interval(2 * level - 1, 4, values.mean(), stats.sem(values))
    assert (up.lo, up.hi) == pytest.approx(limits, abs=1e-6)
    assert up.level == pytest.approx(2 * level - 1)
    assert pick(found, "onset_order").level == level
    away = [(shift, 0.0) for shift in (0.15, 0.18, 0.3, 0.2)]
    apart = pick(attractor(make_frames(experiment(make_run, away)), level), "verdict").extra["different"]
    beyond = 2 * stats.ttest_1samp([up for up, _ in away], MARGIN, alternative="greater").pvalue
    assert ("up_control" in apart) == (5 * beyond < 1 - level)  # the smallest p of five, by Holm


def test_a_wide_spread_shows_nothing_and_says_how_many_pairs_would(make_frames, make_run):
    wide = [(0.2, -0.1), (-0.2, 0.2), (0.1, -0.2)]
    found = attractor(make_frames(experiment(make_run, wide)))
    assert pick(found, "verdict").extra["verdict"] == "inconclusive"
    up = pick(found, "log_ratio", arm="up_control")
    assert up.extra["outcome"] == "inconclusive"
    assert up.extra["pairs_needed"] > 30
    assert up.extra["p_published_fn"] > 0.2  # which was read as "the same"


def test_one_seed_is_a_description(make_frames, make_run):
    found = attractor(make_frames(experiment(make_run, BACK[:1])))
    assert pick(found, "verdict").extra["verdict"] == "not testable"
    up = pick(found, "log_ratio", arm="up_control")
    assert (up.status, up.estimate) == ("too_few", pytest.approx(0.01, abs=1e-6))
    assert math.isnan(up.p)


def test_equal_differences_are_zero_variance(make_frames, make_run):
    found = attractor(make_frames(experiment(make_run, [(0.01, 0.02)] * 3)))
    up = pick(found, "log_ratio", arm="up_control")
    assert up.status == "ok" or math.isnan(up.p)  # rounding of exp and ln may leave a trace
    exact = experiment(make_run, [(0.0, 0.0)] * 3)
    for name in ("u0", "u1", "u2"):
        exact[name]["feature_norm"] = exact["c" + name[1]]["feature_norm"]
    found = attractor(make_frames(exact))
    assert pick(found, "verdict").extra["lacks"].startswith("the differences between arms are equal to the last digit")
    same = pick(found, "log_ratio", arm="up_control")
    assert (same.status, same.extra["outcome"]) == ("zero_variance", "not testable")
    assert math.isnan(same.p)


def test_a_missing_arm_is_said(make_frames, make_run):
    runs = {name: run for name, run in experiment(make_run, BACK).items() if name[0] != "d"}
    found = attractor(make_frames(runs))
    assert pick(found, "log_ratio", arm="down_control").status == "not_testable"
    assert any("no seed has both arms of up_down" in w for w in pick(found, "log_ratio", arm="up_down").warnings)
    verdict = pick(found, "verdict").extra
    assert (verdict["verdict"], verdict["lacks"].partition(";")[0]) == ("not testable", "0 seeds with every arm")


@pytest.mark.parametrize("never", ["u0", "c0"])
def test_a_run_without_an_onset_has_no_norm_there_to_compare(make_frames, make_run, never):
    runs = experiment(make_run, BACK)
    runs[never]["nc1"] = [1.0] * 300
    at_onset = pick(attractor(make_frames(runs)), "log_ratio_at_onset", arm="up_control")
    assert (at_onset.extra["n_pairs"], at_onset.extra["n_left_out"]) == (4, 1)
    apart = []
    for seed in range(1, 5):
        up, control = (np.log(runs[f"{arm}{seed}"]["feature_norm"]) for arm in "uc")
        apart.append(np.interp((15 + seed / 10) * math.log(100), runs["u1"]["epoch"], up - control))
    assert at_onset.extra["values"] == pytest.approx(apart)
    assert at_onset.estimate == pytest.approx(np.mean(apart))


def test_a_schedule_that_ends_at_zero_is_a_caution(make_frames, make_run):
    found = attractor(make_frames(experiment(make_run, BACK, schedule="cosine")))
    assert any("learning rate of 0" in warning for warning in pick(found, "drift").warnings)
    assert pick(found, "verdict").warnings == ()
    apart = attractor(make_frames(experiment(make_run, BACK, back=False, schedule="cosine")))
    assert "still under way when the learning rate reached 0" in pick(apart, "verdict").warnings[0]
    constant = attractor(make_frames(experiment(make_run, BACK, back=False)))
    assert pick(constant, "verdict").extra["verdict"] == "refuted"
    assert not any("learning rate" in warning for warning in pick(constant, "verdict").warnings)


def test_pairs_that_differ_before_the_rescaling_are_named(make_frames, make_run):
    """Both arms of a seed are 0, 1, 4, 9 and 16 % of a control's fn off: of three seeds by more than 1 %."""
    unlike = attractor(make_frames(experiment(make_run, BACK, back=False)))
    assert pick(unlike, "verdict").warnings == (
        "6 of 10 pairs differ in fn by more than 1% before the rescaling: these are not branches of one run",
    )
    assert pick(attractor(make_frames(experiment(make_run, BACK))), "verdict").warnings == ()


def test_heads_are_judged_apart_and_one_without_a_test_is_no_member_of_the_family(make_frames, make_run):
    runs = experiment(make_run, BACK)
    for seed, (up, _) in enumerate(BACK):
        runs[f"h{seed}"] = branch(
            make_run, seed, math.log(3), offset=up, level=1 + 0.02 * seed, suffix="+compensate-head"
        )
    found = attractor(make_frames(runs))
    heads = [r.group["head"] for r in found if r.quantity == "verdict"]
    assert heads == ["kept", "compensated"]
    kept, compensated = (r for r in found if r.quantity == "verdict")
    assert (kept.extra["family"], kept.extra["p_holm"]) == (1, kept.p)
    assert (compensated.extra["verdict"], compensated.extra["family"]) == ("not testable", 1)
    assert math.isnan(compensated.extra["p_holm"])


def test_without_interventions_there_is_nothing_to_say(make_frames, make_run):
    assert attractor(make_frames({"a": make_run(), "b": make_run()})) == []


def test_runs_that_end_at_different_epochs_are_compared_where_the_shorter_ends_and_named(make_frames, make_run):
    runs = experiment(make_run, BACK)
    for name in ("epoch", "nc1", "feature_norm", "train_accuracy"):
        runs["c1"][name] = runs["c1"][name][:-100]
    found = attractor(make_frames(runs))
    up, between = pick(found, "log_ratio", arm="up_control"), pick(found, "log_ratio", arm="up_down")
    assert up.extra["n_ends_apart"] == 1
    assert "in 1 of 5 pairs up and control end at different epochs" in up.warnings[0]
    assert (between.extra["n_ends_apart"], between.warnings) == (0, ())
    assert pick(found, "log_ratio_at_onset", arm="up_control").extra["n_ends_apart"] == 0


LATER = (1.3, 1.1, 1.25, 1.15, 1.4)


def test_the_order_of_the_onsets_is_a_paired_test_of_up_and_down(make_frames, make_run):
    """Oracle: the one-sided paired t-test; the onset of `make_run` is at rate ln 100."""
    runs = experiment(make_run, BACK)
    for seed, factor in enumerate(LATER):
        rate = (15.0 + seed / 10) * factor
        runs[f"u{seed}"]["nc1"] = np.exp(-np.array(runs[f"u{seed}"]["epoch"]) / rate).tolist()
    found = attractor(make_frames(runs))
    order = pick(found, "onset_order")
    expected = stats.ttest_1samp(np.log(LATER), 0, alternative="greater")
    assert order.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert order.estimate == pytest.approx(np.log(LATER).mean())
    limits = stats.ttest_1samp(np.log(LATER), 0).confidence_interval(0.95)
    assert (order.lo, order.hi) == pytest.approx((limits.low, limits.high))
    earlier = np.array([15 + seed / 10 for seed in range(5)])
    pooled = stats.ttest_ind(earlier * LATER, earlier).pvalue
    assert pick(found, "log_ratio", arm="up_down").extra["p_published_onset"] == pytest.approx(pooled)
    assert order.extra["n_pairs"] == 5
    for seed in range(5):
        runs[f"u{seed}"], runs[f"d{seed}"] = (
            {**runs[f"u{seed}"], "nc1": runs[f"d{seed}"]["nc1"]},
            {**runs[f"d{seed}"], "nc1": runs[f"u{seed}"]["nc1"]},
        )
    assert pick(attractor(make_frames(runs)), "onset_order").p == pytest.approx(1 - expected.pvalue, rel=1e-6)


def test_onsets_at_one_epoch_have_no_order(make_frames, make_run):
    order = pick(attractor(make_frames(experiment(make_run, BACK))), "onset_order")
    assert order.status == "zero_variance"
    assert math.isnan(order.p)
