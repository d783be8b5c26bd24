import json
import math

import numpy as np
import pytest

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.forecasts import forecast_run
from ncdiag.analysis.terms import Terms
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.errors import UnknownRunError

RATES = (16.0, 19.0, 21.0, 24.0, 27.0)


def forecast_of(runs, epochs, run, **options):
    return forecast_run(Asked(runs=runs, epochs=epochs, terms=Terms(**options)), run)


@pytest.fixture
def forecast(make_frames):
    def ask(runs, run="mine", **options):
        return forecast_of(*make_frames(runs), run, **options)

    return ask


@pytest.fixture
def pair(make_run):
    return {f"run-{i}": make_run(rate, norm=1.0 + 0.05 * i) for i, rate in enumerate(RATES)}


def test_a_run_in_training_is_forecast_from_its_pair(forecast, pair, make_run):
    found = forecast({**pair, "mine": make_run(22.0, epochs=60, status="running")})
    assert (found.status, found.epoch_now, found.n_calibration) == ("forecast", 60, 5)
    assert found.onset == pytest.approx(22 * math.log(100))  # NC1 falls without noise: its trend is exact
    assert found.rule == "trend"
    assert found.mae == pytest.approx(0, abs=1e-6)
    assert found.baseline_mae > 5
    assert found.p_no_collapse == 0


def test_other_pairs_do_not_count(forecast, pair, make_run):
    elsewhere = {name: {**run, "dataset": "cifar10"} for name, run in pair.items()}
    found = forecast({**elsewhere, "mine": make_run(22.0, epochs=60)})
    assert found.status == "no_calibration"
    assert "mlp, mnist" in found.message


def test_a_run_alone_is_read_by_its_own_course(forecast, make_run):
    found = forecast({"mine": make_run(22.0, epochs=60, status="running")})
    assert (found.status, found.warnings) == ("no_calibration", ())
    assert found.steady == pytest.approx(22 * math.log(100))
    assert found.slowing > found.steady
    assert math.isnan(found.onset)


def test_a_change_to_come_is_named_where_its_own_course_is_read_beyond_the_present_one(forecast, make_run):
    def about(phases):
        return forecast({"mine": make_run(22.0, epochs=60, status="running", phases=phases)}).warnings

    said = ("the loss changes after epoch 80, which its own course does not know",)
    assert about("ce:80,mse:400") == said
    assert about("ce:20,ce:60,mse") == said
    assert about("ce:80@40@59,mse:400@100") == said  # drops of the learning rate, gone by
    drops = ("the learning rate drops after epoch 70, which its own course does not know",)
    assert about("ce:80@40@70,mse:400@100") == drops
    assert about("ce:20,ce:400@39@50") == drops
    assert about("ce:60,mse:400") == ("the loss changes after epoch 60, which its own course does not know",)
    assert about("ce:59,mse:400") == about("ce:480") == about(None) == about("ce:,?") == about("\x1b]0;") == ()


def test_runs_that_were_never_evaluated_are_no_calibration(forecast, make_run):
    found = forecast({"other": {"status": "pending"}, "mine": make_run(22.0, epochs=60)})
    assert found.status == "no_calibration"


def test_a_collapsed_run_has_its_onset(forecast, pair):
    found = forecast(pair, "run-2")
    assert found.status == "collapsed"
    assert found.onset == pytest.approx(21 * math.log(100))
    assert (found.lo, found.hi) == (96, 97)


def test_an_onset_before_the_terminal_phase_is_named(forecast, pair, make_run):
    early = make_run(20.0)
    early["train_accuracy"] = [0.6] * 200
    found = forecast({**pair, "early": early, "mine": make_run(22.0, epochs=60)})
    assert [said for said in found.warnings if said.startswith("1 of 6 collapsed runs had a train accuracy below 99%")]
    found = forecast({**pair, "early": early}, "early")
    assert found.status == "collapsed"
    assert [said for said in found.warnings if said.startswith("the train accuracy was 60.0% at onset")]
    assert forecast(pair, "run-2").warnings == ()


def test_the_run_itself_does_not_calibrate_itself(forecast, pair, make_run):
    alone = forecast({"run-0": pair["run-0"], "mine": make_run(22.0, epochs=60)})
    assert alone.status == "insufficient"
    assert "1 other run of the pair collapsed after epoch 60" in alone.message


def test_a_run_that_has_not_begun_is_guessed_at_the_median(forecast, pair):
    found = forecast({**pair, "mine": {"status": "pending"}})
    assert (found.status, found.epoch_now, found.rule) == ("forecast", 0, "median")
    assert found.onset == pytest.approx(21 * math.log(100))


def test_a_run_in_which_the_metric_was_not_measured_is_not_taken_for_one_that_has_not_begun(forecast, pair, make_run):
    blind = make_run(22.0, epochs=60)
    del blind["nc1"]
    found = forecast({**pair, "mine": blind})
    assert (found.status, found.epoch_now) == ("insufficient", 60)
    assert found.message == "nc1 was not measured in this run"
    later = forecast({**pair, "mine": make_run(22.0, epochs=60)}, rule=OnsetRule(phase=2))  # which it has yet to reach
    assert later.message != found.message


@pytest.mark.parametrize("status", ["diverged", "dead"])
def test_a_run_that_ended_badly_is_not_forecast(forecast, pair, make_run, status):
    found = forecast({**pair, "mine": make_run(22.0, epochs=60, status=status)})
    assert found.status == "insufficient"
    assert "no onset can be expected" in found.message


def test_a_budget_used_up_without_a_collapse_counts(forecast, pair, make_run):
    found = forecast({**pair, "never": make_run(500.0), "mine": make_run(22.0, epochs=60)})
    assert found.p_no_collapse == pytest.approx(1 / 6)
    assert found.censored_end == make_run(500.0)["epoch"][-1]


def test_of_more_runs_than_can_take_part_as_many_have_an_onset_as_of_all(forecast, make_run, monkeypatch):
    """Ten of fifteen collapsed, five seeds of each of three depths; six take part, two of each depth."""
    monkeypatch.setattr("ncdiag.analysis.forecasts.MOST_RUNS", 6)
    rates = {2: 18.0, 3: 24.0, 4: 500.0}
    runs = {f"{depth}-{i}": make_run(rate + i, depth=depth) for depth, rate in rates.items() for i in range(5)}
    found = forecast({**runs, "mine": make_run(22.0, epochs=60, depth=9)})
    assert (found.n_calibration, found.n_censored) == (4, 2)
    assert found.p_no_collapse == pytest.approx(5 / 15)
    assert any(text.startswith("of 15 other runs only 6 take part") for text in found.warnings)


@pytest.mark.parametrize(
    "other",
    [
        {"status": "running"},
        {"config": {"stop": {"eps": 0.5}}, "epochs_planned": 600},
        {"status": "diverged"},
        {"epochs_planned": 600},  # broken off by a script of the user's own, or cut as it was exported
        {"origin": "imported", "nc1": [0.011] * 200},  # ends at its smallest value, just above eps: stopped there?
    ],
)
def test_a_run_that_is_unfinished_or_ended_otherwise_says_nothing_about_the_budget(forecast, pair, make_run, other):
    found = forecast({**pair, "other": {**make_run(500.0), **other}, "mine": make_run(22.0, epochs=60)})
    assert (found.n_censored, found.p_no_collapse) == (0, 0)
    assert any(warning.startswith("other runs left out: 1 ") for warning in found.warnings)


def test_runs_that_may_have_been_stopped_are_named(forecast, pair, make_run):
    told = make_run(500.0, config={"stop": {"eps": 0.5}}, epochs_planned=600)
    stopped = {**make_run(500.0), "origin": "imported", "nc1": [0.011] * 200}
    running = {**told, "status": "running"}  # of which more is known: it has not stopped yet
    runs = {"told": told, "stopped": stopped, "running": running, "mine": make_run(22.0, epochs=60, status="running")}
    found = forecast({**pair, **runs})
    said = "other runs left out: 1 still unfinished, 2 stopped, or perhaps stopped, at another eps"
    assert said in found.warnings


def test_runs_left_out_are_named(forecast, pair, make_run):
    others = {"slow": make_run(500.0, status="running"), "late": make_run(20.0, epochs=93)}
    crashed = {"crashed": make_run(500.0, epochs=70, status="failed")}
    found = forecast({**pair, **others, **crashed, "mine": make_run(22.0, epochs=60, status="running")})
    assert "other runs left out: 2 still unfinished, 1 below eps at the end but unconfirmed" in found.warnings


def test_a_run_that_failed_may_go_on(forecast, pair, make_run):
    found = forecast({**pair, "mine": make_run(22.0, epochs=60, status="failed")})
    assert found.status == "forecast"
    assert not any("has ended" in text for text in found.warnings)


def test_a_streak_not_yet_confirmed_is_said(forecast, pair, make_run):
    found = forecast({**pair, "mine": make_run(22.0, epochs=102, status="running")})
    assert found.status == "forecast"
    assert any("nc1 has been below 0.01 since after epoch 101" in text for text in found.warnings)


def test_a_finished_run_is_said_to_have_ended(forecast, pair, make_run):
    found = forecast({**pair, "mine": make_run(22.0, epochs=60)})
    assert any(text.startswith("the run has ended without a collapse: the forecast says") for text in found.warnings)
    found = forecast({**pair, "mine": make_run(500.0)})  # longer than it took any other
    assert found.status == "insufficient"
    assert found.warnings == ("the run has ended without a collapse",)


def test_calibration_under_two_losses_is_warned_about(forecast, pair, make_run):
    mixed = {name: {**run, "loss": ["ce" if name < "run-2" else "mse"] * 200} for name, run in pair.items()}
    found = forecast({**mixed, "mine": make_run(22.0, epochs=60)})
    assert any("different losses (ce, mse)" in text for text in found.warnings)
    # run-0 and run-1 have collapsed by now, and forecast nothing any more
    late = forecast({**mixed, "mine": make_run(30.0, epochs=90)})
    assert late.status == "forecast"
    assert not any("different losses" in text for text in late.warnings)


def test_below_from_the_start_is_collapsed_with_an_unknown_onset(forecast, pair, make_run):
    found = forecast({**pair, "mine": make_run(0.1)})
    assert (found.status, found.lo, found.hi) == ("collapsed", 0, 1)
    assert math.isnan(found.onset)


def test_an_unknown_run_names_its_neighbour(forecast, pair):
    with pytest.raises(UnknownRunError, match="did you mean run-1"):
        forecast(pair, "run-11")


def test_the_answer_is_one_json_document(forecast, pair, make_run):
    found = forecast({**pair, "mine": make_run(22.0, epochs=60)}, level=0.8).to_dict()
    assert json.loads(json.dumps(found))["level"] == 0.8
    fields = ("run", "status", "epoch_now", "onset", "lo", "hi", "level", "method", "n_calibration", "p_no_collapse")
    assert [name for name in fields if name not in found] == []


def test_calibration_keeps_to_the_runs_it_can_work_through(forecast, make_run):
    rng = np.random.default_rng(0)
    many = {
        f"run-{i}": make_run(rate, epochs=200, step=10)
        for i, rate in enumerate(20 * np.exp(0.1 * rng.normal(size=130)))
    }
    found = forecast({**many, "mine": make_run(22.0, epochs=60, step=10)}, level=0.8)
    assert found.n_calibration == 100
    assert found.onset == pytest.approx(22 * math.log(100))


def test_the_runs_of_its_own_condition_are_the_last_to_be_left_out(forecast, make_run, monkeypatch):
    """Of 12 other runs 4 take part: its three siblings, and the last run of another condition."""
    own = {f"own-{i}": make_run(20.0 + i, norm=1 + i / 50) for i in range(3)}
    others = {f"{d}-{i}": make_run(24.0 + d + i / 2, depth=d, norm=1.2 + i / 9) for d in (2, 3, 4) for i in range(3)}
    mine = {"mine": make_run(22.0, epochs=60)}
    rng = np.random.default_rng(0)
    for run in (*own.values(), *others.values(), *mine.values()):  # so that no rule is exact, whoever taught it
        run["nc1"] = (np.array(run["nc1"]) * np.exp(0.1 * rng.normal(size=len(run["nc1"])))).tolist()
    few = forecast({**own, "4-2": others["4-2"], **mine})
    monkeypatch.setattr("ncdiag.analysis.forecasts.MOST_RUNS", 4)
    many = forecast({**own, **others, **mine})
    assert (many.n_calibration, many.onset, many.lo, many.hi) == (4, few.onset, few.lo, few.hi)
    assert any("of 12 other runs only 4 take part" in warning for warning in many.warnings)


def test_a_collapsed_run_that_is_above_eps_again_says_so(make_frames, make_run):
    back = make_run(20.0)
    back["nc1"] = [*back["nc1"][:150], *[0.05] * 50]
    frames = make_frames({"back": back, "there": make_run(21.0)})
    told = {run: forecast_of(*frames, run) for run in ("back", "there")}
    assert {found.status for found in told.values()} == {"collapsed"}
    assert told["back"].warnings == ("the run was no longer below eps when last evaluated, at epoch 200",)
    assert told["there"].warnings == ()


def test_rescaled_runs_do_not_teach_an_untouched_one(forecast, pair, make_run):
    up = {f"up-{i}": make_run(30.0 + i, intervention="3@20") for i in range(5)}
    mine = {"mine": make_run(22.0, epochs=60)}
    alone, beside = forecast({**pair, **mine}), forecast({**pair, **up, **mine})
    assert (beside.onset, beside.lo, beside.hi) == (alone.onset, alone.lo, alone.hi)
    assert beside.n_calibration == 5
    assert "5 runs whose features were rescaled are left out (--where with intervention takes such in)" in (
        beside.warnings
    )
    assert forecast({**pair, **up, **mine}, where="intervention!=none").n_calibration == 10
    assert forecast({**pair, **up, "mine": {**mine["mine"], "intervention": "0.3@20"}}).n_calibration == 10
