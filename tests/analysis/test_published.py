"""The known answers of the released logs of arXiv 2604.00230."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ncdiag.analysis.additivity import additivity_results
from ncdiag.analysis.asked import Asked
from ncdiag.analysis.forecasts import forecast_run
from ncdiag.analysis.leads import lead_results
from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.regularities import regularity_results
from ncdiag.analysis.selection import select_runs
from ncdiag.analysis.terms import Terms
from ncdiag.analysis.threshold_checks import threshold_check_results
from ncdiag.analysis.thresholds import threshold_results
from ncdiag.analysis.tournament import forecast_results
from ncdiag.analysis.trajectories import trajectories
from ncdiag.domain.onset_rule import OnsetRule

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "published-trajectories"
TWELVE = (
    *("mnist_twophase", "depth5_s1", "depth5_s2", "depth7_s0", "depth7_s1", "depth7_s2"),
    *("wd1e-05_s0", "wd1e-05_s1", "wd1e-05_s2", "wd5e-05_s0", "wd5e-05_s1", "wd5e-05_s2"),
)
UNKNOWN = (
    *("train_size", "batch_size", "momentum", "schedule", "intervention", "device", "data_sha256"),
    *("started_at", "epochs_planned", "seconds", "other"),
)
PUBLISHED = OnsetRule(rule="first")

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the released logs are not in {FOLDER}")


@pytest.fixture(scope="module")
def released():
    """The logs as the frames that the store would give."""
    runs = pd.read_csv(FOLDER / "runs.csv")
    tables = []
    for file in runs["file"]:
        table = pd.read_csv(FOLDER / file)
        if "phase" not in table:  # the README beside the data: epoch > 200 is phase 2, but not in the ablation
            table["phase"] = np.where((table["epoch"] > 200) & (file != "ce_only_ablation.csv"), 2, 1)
        tables.append(table.assign(run=file.removesuffix(".csv")))
    epochs = pd.concat(tables, ignore_index=True)
    epochs = epochs.rename(columns={"feat_norm": "feature_norm", "train": "train_accuracy"})
    epochs = epochs.assign(loss=np.where(epochs["phase"] == 1, "ce", "mse"), nonfinite=None, lr=np.nan)
    names = runs["file"].str.removesuffix(".csv")
    runs = runs.assign(run=names, status="done", origin="imported", phases="ce:200,mse", config=[{}] * len(runs))
    runs = runs.assign(epochs_done=names.map(epochs.groupby("run")["epoch"].max()), **dict.fromkeys(UNKNOWN))
    return runs, epochs


def fn_star_of(runs, epochs, rule):
    return threshold_results(onset_table(runs, epochs, rule), trajectories(epochs, "nc1"), Terms(rule=rule))[0]


def test_the_twelve_runs_give_the_published_figures(released):
    runs, epochs = released
    found = fn_star_of(runs[runs["run"].isin(TWELVE)], epochs, PUBLISHED)
    assert (round(found.extra["mean"], 4), round(found.extra["sd"], 4)) == (1.0516, 0.0655)
    assert round(100 * found.extra["cv"], 2) == 6.23
    assert (found.extra["t_min"], found.extra["t_max"]) == (280, 430)
    assert (found.n_runs, found.n_conditions, found.n_censored) == (12, 4, 0)
    assert (found.extra["phase"], found.extra["loss"]) == (2, "mse")


def test_a_filter_finds_the_twelve_among_all(released):
    runs, _ = released
    where = (
        "arch=mlp and dataset=mnist and activation=relu and (depth in (5,7)) and wd<=1e-4 and not run=ce_only_ablation"
    )
    assert sorted(select_runs(runs, where)["run"]) == sorted(TWELVE)


def test_the_published_cv_is_not_shown_to_be_below_eight_percent(released):
    runs, epochs = released
    table = onset_table(runs[runs["run"].isin(TWELVE)], epochs, PUBLISHED)
    spread = threshold_results(table, trajectories(epochs, "nc1"), Terms(rule=PUBLISHED))[1]
    assert spread.extra["verdict"] == "inconclusive"
    assert spread.extra["cv_upper"] > 0.08


@pytest.mark.parametrize(
    ("where", "onset", "fn_star"),
    [
        ("arch=resnet20 and dataset=cifar10", 660, 1.515),
        ("depth=7", 340, 1.112),
        ("wd=1e-5", 380, 1.035),
        ("wd=5e-5", 290, 0.983),
    ],
)
def test_the_published_rows(released, where, onset, fn_star):
    runs, epochs = released
    found = fn_star_of(select_runs(runs, where), epochs, PUBLISHED)
    assert found.extra["mean"] == pytest.approx(fn_star, abs=0.0006)
    assert found.extra["conditions"][0]["onset"] == pytest.approx(onset, abs=0.5)


def test_the_strong_weight_decay_is_censored(released):
    runs, epochs = released
    found = fn_star_of(select_runs(runs, "wd=5e-4"), epochs, PUBLISHED)
    assert (found.status, found.n_censored) == ("all_censored", 3)


def test_resnet_on_mnist_collapses_under_cross_entropy(released):
    runs, epochs = released
    found = fn_star_of(select_runs(runs, "arch=resnet20 and dataset=mnist"), epochs, PUBLISHED)
    assert (found.extra["phase"], found.extra["loss"], found.extra["t_min"]) == (1, "ce", 110)


def test_runs_that_stop_at_the_first_epoch_below_are_never_confirmed(released):
    runs, epochs = released
    found = fn_star_of(runs[runs["run"].isin(TWELVE)], epochs, OnsetRule())
    assert (found.status, found.extra["n_unconfirmed"]) == ("all_censored", 12)
    assert any("--rule first" in warning for warning in found.warnings)


def test_out_of_sample_the_rule_of_fn_is_no_better_than_the_median_twenty_epochs_into_the_second_phase(released):
    """Out of sample the rule hardly beats guessing the mean onset."""
    runs, epochs = released
    twelve = runs[runs["run"].isin(TWELVE)]
    cut = epochs[(epochs["run"] != "depth7_s1") | (epochs["epoch"] <= 220)]
    found = forecast_run(Asked(runs=twelve, epochs=cut, terms=Terms(rule=PUBLISHED, level=0.8)), "depth7_s1")
    assert (found.status, found.n_calibration) == ("forecast", 11)
    onsets = onset_table(twelve[twelve["run"] != "depth7_s1"], epochs, PUBLISHED)["onset"].to_numpy()
    said = {score.rule: score for score in found.rules}
    assert said["median"].onset == pytest.approx(np.median(onsets))
    guesses = [abs(np.median(np.delete(onsets, i)) - onsets[i]) for i in range(11)]
    assert found.baseline_mae == pytest.approx(np.mean(guesses))
    assert said["fn"].mae > found.baseline_mae
    assert found.lo < 340 < found.hi
    assert math.isfinite(found.hi)


def test_sixty_epochs_ahead_the_winner_halves_the_error_of_guessing_but_does_not_reach_twelve(released):
    """On the twelve runs of the published lead: leave-one-condition-out, 4 conditions."""
    found = [r for r in of_the_twelve(released, forecast_results) if r.extra["held_out"] == "condition"]
    maes = {r.extra["rule"]: r.estimate for r in found if r.quantity == "mae" and r.extra["primary"]}
    assert 12 < maes["winner"] < 0.6 * maes["median"]
    assert maes["fn"] > 0.9 * maes["median"]
    (spread,) = [r.estimate for r in found if r.quantity == "seed_spread" and r.extra["primary"]]
    seeds = np.array([[310, 290, 290], [350, 340, 330], [430, 330, 380], [300, 290, 280]])
    others = (seeds.sum(axis=1, keepdims=True) - seeds) / 2
    assert spread == pytest.approx(np.abs(seeds - others).mean() * np.sqrt(2 / 3))  # the mean of two others errs too


def of_the_twelve(released, question):
    runs, epochs = released
    twelve = runs[runs["run"].isin(TWELVE)]
    return question(Asked(runs=twelve, epochs=epochs, terms=Terms(rule=PUBLISHED)))


def test_a_low_cv_partly_says_that_the_norm_is_flat_by_then(released):
    """The CV at other eps, and that of fn at the fixed epoch 280."""
    placebo, sensitivity = of_the_twelve(released, threshold_check_results)
    assert placebo.extra["epoch"] == 280
    assert round(100 * placebo.extra["cv"], 1) == 10.7
    assert round(100 * placebo.extra["cv_at_onset"], 1) == 6.2
    assert placebo.p > 0.05
    cv = {round(row["eps"], 3): row["cv"] for row in sensitivity.extra["curve"]}
    assert [round(100 * cv[eps]) for eps in (0.05, 0.03, 0.02, 0.01)] == [69, 62, 14, 6]


@pytest.mark.parametrize(("where", "epoch"), [("dataset=cifar10", 660), ("dataset=mnist", 110)])
def test_onsets_of_the_resnet_are_those_of_its_schedule(released, where, epoch):
    """The first evaluation after a drop of the learning rate, in every seed; the logs have no rate."""
    runs, epochs = released
    found = fn_star_of(select_runs(runs, f"arch=resnet20 and {where}"), epochs, PUBLISHED)
    assert any(f"same evaluation, epoch {epoch}, and the learning rate was not logged" in w for w in found.warnings)


def test_the_published_lead_drops_runs_and_out_of_sample_it_hardly_beats_guessing(released):
    found = of_the_twelve(released, lead_results)
    published = next(r for r in found if r.quantity == "lead" and r.extra["held_out"] == "none")
    assert (published.extra["n_crossed"], published.extra["n_never"]) == (10, 2)
    assert published.estimate == pytest.approx(78)  # by hand from the logs: first logged epoch with fn <= 1.0516
    skills = [r for r in found if r.extra.get("primary")]
    assert [r.extra["held_out"] for r in skills] == ["run", "condition"]
    assert all(r.estimate < 0.1 and r.p > 0.05 for r in skills)
    error = {r.extra["baseline"]: r.estimate for r in found if r.quantity == "mae" and r.extra["held_out"] == "run"}
    assert error["nc1<1.5eps"] < error["median"]


def test_the_published_grid_compares_two_losses_and_is_refused(released):
    runs, epochs = released
    found = additivity_results(onset_table(runs, epochs, PUBLISHED), Terms())
    assert {result.status for result in found} == {"not_testable"}
    assert "resnet20 mnist: ce" in found[0].warnings[0]


def regularity(released, quantity, rule=PUBLISHED):
    runs, epochs = released
    runs = runs[runs["run"] != "ce_only_ablation"]  # another experiment: it has no second phase
    found = regularity_results(onset_table(runs, epochs, rule), Terms(rule=rule))
    return next(result for result in found if result.quantity == quantity and result.n_runs > 3)


def test_the_turn_in_depth_hangs_on_eps(released):
    """PAPER.md, 6: the published curve compares eps 0.05 (depth 2 and 3) with 0.01 (depth 5 and 7)."""
    at_one_percent = regularity(released, "non_monotone")
    assert [level["n_collapsed"] for level in at_one_percent.extra["levels"]] == [0, 0, 3, 3]
    assert (at_one_percent.extra["turn"], round(at_one_percent.p, 4)) == (5, 0.0193)
    assert at_one_percent.extra["verdict"] == "inconclusive"  # it is one of four tests
    at_five_percent = regularity(released, "non_monotone", OnsetRule(rule="first", eps=0.05))
    assert [level["n_collapsed"] for level in at_five_percent.extra["levels"]] == [3, 3, 3, 3]
    assert at_five_percent.p > 0.2
    assert at_five_percent.extra["verdict"] == "inconclusive"


def test_the_regimes_of_weight_decay(released):
    levels = regularity(released, "slow_when_low").extra["levels"]
    assert [round(level["rmst"]) for level in levels] == [380, 290, 297, 800]
    assert [level["n_collapsed"] for level in levels] == [3, 3, 3, 0]
    high = regularity(released, "fails_when_high")
    assert high.p == pytest.approx(1 / 64)
    assert high.extra["edge"] == [1e-4, 5e-4]


def test_no_width_was_released(released):
    runs, epochs = released
    found = regularity_results(onset_table(runs, epochs, PUBLISHED), Terms(rule=PUBLISHED))
    assert next(result for result in found if result.quantity == "trend").status == "not_testable"
