import math

import numpy as np
import pytest
from analysis.conftest import pick
from scipy import stats

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.courses import run_courses
from ncdiag.analysis.families import with_holm
from ncdiag.analysis.forecasts import forecast_run
from ncdiag.analysis.terms import Terms
from ncdiag.analysis.tournament import CALIBRATION_COLUMNS, calibration_table, forecast_family, forecast_results
from ncdiag.domain.onset_rule import OnsetRule

RATES = np.array([30.0, 33, 36, 40, 43, 47, 50, 54])
DEPTHS = (2, 2, 3, 3, 4, 4, 5, 5)


def ask(frames, **options):
    return Asked(runs=frames[0], epochs=frames[1], terms=Terms(**options))


@pytest.fixture
def noisy(make_run):
    """Eight runs of four depths whose NC1 falls to its onset with noise, and whose norm says nothing."""
    rng, runs = np.random.default_rng(0), {}
    for number, (rate, depth) in enumerate(zip(RATES, DEPTHS, strict=True)):
        run = make_run(rate, epochs=300, step=2, depth=depth, norm=float(np.exp(0.2 * rng.normal())))
        noise = np.exp(0.1 * rng.normal(size=len(run["epoch"])))
        run["nc1"] = (np.array(run["nc1"]) * noise).tolist()
        runs[f"run-{number}"] = run
    return runs


def test_guessing_errs_as_a_naive_loop_says(make_frames, noisy):
    asked = ask(make_frames(noisy))
    onset, depth = asked.onsets["onset"].to_numpy(), np.array(DEPTHS)
    results = forecast_results(asked)
    primary = [r for r in results if r.quantity == "mae" and r.extra.get("rule") == "median" and r.extra["primary"]]
    assert {r.extra["held_out"] for r in primary} == {"condition", "run"}
    for result in primary:
        now, errors = result.extra["epoch"], []
        for i in np.flatnonzero(onset > now):
            others = depth != depth[i] if result.extra["held_out"] == "condition" else np.arange(8) != i
            errors.append(abs(np.median(onset[others & (onset > now)]) - onset[i]))
        assert result.estimate == pytest.approx(np.mean(errors))
        assert result.extra["lead"] == pytest.approx(onset[onset > now].mean() - now)


def test_a_held_out_forecast_is_what_predict_would_have_said(make_frames, noisy):
    """The rule, the forecast and its interval, with the run at that epoch and no other run of its condition."""
    frames = make_frames(noisy)
    table = calibration_table(ask(frames))
    early = table["epoch"] < 136  # later, too few conditions are left for an interval of a new one
    rows = table[(table["held_out"] == "condition") & (table["run"] == "run-5") & early]
    assert len(rows) == 6
    for row in rows.to_dict("records"):
        runs, epochs = frames
        runs = runs[(runs["run"] == "run-5") | (runs["depth"] != 4)].reset_index(drop=True)
        runs["status"] = np.where(runs["run"] == "run-5", "running", runs["status"])
        epochs = epochs[(epochs["run"] != "run-5") | (epochs["epoch"] <= row["epoch"])]
        found = forecast_run(Asked(runs=runs, epochs=epochs, terms=Terms(level=row["level"])), "run-5")
        assert (found.rule, found.onset) == (row["rule"], pytest.approx(row["forecast"]))
        assert (found.lo, found.hi) == (pytest.approx(row["lo"]), pytest.approx(row["hi"]))


def test_the_table_has_a_row_per_run_epoch_and_level(make_frames, noisy):
    table = calibration_table(ask(make_frames(noisy)))
    assert list(table) == ["arch", "dataset", *CALIBRATION_COLUMNS]
    assert not table.duplicated(["run", "held_out", "epoch", "level"]).any()
    assert (table["lo"] <= table["forecast"]).all()
    assert (table["forecast"] <= table["hi"]).all()
    assert (table["actual"] > table["epoch"]).all()
    wide = table.pivot_table(index=["run", "held_out", "epoch"], columns="level", values="hi")
    assert (wide[0.9] >= wide[0.8]).all()


def test_the_winner_beats_guessing_and_fn_adds_nothing_where_only_nc1_informs(make_frames, noisy):
    results = forecast_results(ask(make_frames(noisy)))
    skill = pick(results, "skill", rule="winner", held_out="condition", primary=True)
    assert skill.estimate > 0.5
    assert skill.p == skill.extra["p_min"] == pytest.approx(1 / 24)
    assert skill.extra["over"] == "conditions"
    assert pick(results, "fn_gain", held_out="condition", primary=True).lo <= 0
    winner = pick(results, "mae", rule="winner", held_out="condition", primary=True)
    assert winner.extra["chosen"].split()[0] in ("nc1", "trend", "trend_phase", "trend_robust", "mean")
    best = pick(results, "mae", rule=winner.extra["chosen"], held_out="condition", primary=True)
    assert winner.extra["mae_selected"] == best.estimate
    assert best.extra["rank"] == 1
    view = [r for r in results if r.extra["held_out"] == "condition" and r.extra.get("primary")]
    errors = {r.extra["rule"]: r.estimate for r in view if r.quantity == "mae"}
    skills = {r.extra["rule"]: r.estimate for r in view if r.quantity == "skill"}
    saved = {rule: 1 - error / errors["median"] for rule, error in errors.items() if rule != "median"}
    assert skills == pytest.approx(saved)
    assert "learned" not in errors  # silent about all: no run reaches a train accuracy of 99.9 %
    gain = pick(results, "fn_gain", held_out="condition", primary=True)
    assert gain.estimate == pytest.approx(1 - errors["mean"] / errors["mean_without_fn"])


def test_the_gain_over_guessing_has_the_t_interval_of_the_conditions(make_frames, noisy):
    """By the errors of the table against those of the naive median, as shares of the latter's mean."""
    asked = ask(make_frames(noisy))
    skill = pick(forecast_results(asked), "skill", rule="winner", held_out="condition", primary=True)
    table = calibration_table(asked)
    asked_then = (table["held_out"] == "condition") & (table["epoch"] == skill.extra["epoch"]) & (table["level"] == 0.9)
    rows = table[asked_then].assign(condition=lambda rows: rows["condition"].astype(str))
    guess = rows["condition"].map({c: rows["actual"][rows["condition"] != c].median() for c in set(rows["condition"])})
    own, other = ((said - rows["actual"]).abs() for said in (rows["forecast"], guess))
    gains = (other - own).groupby(rows["condition"]).mean()
    assert len(gains) == 4
    low, high = np.array(stats.t.interval(0.95, 3, gains.mean(), stats.sem(gains))) / other.mean()
    assert skill.estimate == pytest.approx(1 - own.mean() / other.mean())
    assert (skill.lo, skill.hi) == pytest.approx((low, min(high, 1)))


def test_coverage_counts_the_rows_of_the_table(make_frames, noisy):
    asked = ask(make_frames(noisy))
    table = calibration_table(asked)
    for result in (r for r in forecast_results(asked) if r.quantity == "coverage"):
        rows = table[(table["held_out"] == result.extra["held_out"]) & (table["level"] == result.extra["nominal"])]
        inside = (rows["lo"] <= rows["actual"]) & (rows["actual"] <= rows["hi"])
        assert result.extra["over"] == "conditions"  # there are three: the seeds of one do not fail alone
        units = inside.groupby(rows["condition"]).mean()
        assert result.estimate == pytest.approx(units.mean())
        assert result.extra["n_units"] == len(units)
        held, n = units.sum(), len(units)  # broken numbers: the limits are the beta quantiles between those of counts
        low = stats.beta.ppf(0.025, held, n - held + 1) if held else 0.0
        high = stats.beta.ppf(0.975, held + 1, n - held) if held < n else 1.0
        assert (result.lo, result.hi) == pytest.approx((low, high))
        assert result.extra["width"] == pytest.approx((rows["hi"] - rows["lo"]).median())


def test_what_noise_moves_an_onset_is_worked_out_once_for_a_run(make_frames, noisy, monkeypatch):
    """It takes as long as a contest, and a pair is asked at several epochs and in two ways."""
    looked: list[float] = []

    def look(noise: float, *given: object, **how: object) -> float:
        looked.append(noise)
        return 1.0

    monkeypatch.setattr("ncdiag.analysis.tournament.onset_scatter", look)
    floors = [result for result in forecast_results(ask(make_frames(noisy))) if result.quantity == "noise_floor"]
    assert len(floors) > 2
    assert len(looked) == len(noisy)


def test_noise_moves_an_onset_by_what_simulated_runs_say(make_frames, noisy):
    """The runs fall by a straight line with noise 0.1, so repeating them shows how far their onsets scatter."""
    rng, moved = np.random.default_rng(1), []
    found = pick(forecast_results(ask(make_frames(noisy))), "noise_floor", held_out="condition", primary=True)
    for rate in RATES:
        t = np.arange(0.0, 300, 2)
        over = 0.1 * rng.normal(size=(400, len(t))) - t / rate - np.log(0.01)
        below, rows = over < 0, np.arange(400)
        first = np.argmax(below[:, 2:] & below[:, 1:-1] & below[:, :-2], axis=1)
        before, here = over[rows, first - 1], over[rows, first]
        onset = t[first - 1] + 2 * before / (before - here)
        moved.append(np.abs(onset - np.median(onset)).mean())
    assert found.estimate == pytest.approx(np.mean(moved), rel=0.4)  # noise and slope are estimates


def test_an_interval_is_set_beside_that_of_a_guess(make_frames, noisy):
    covered = pick(forecast_results(ask(make_frames(noisy))), "coverage", held_out="run", nominal=0.8)
    assert 0 < covered.extra["width"] < covered.extra["guess_width"]


def test_seeds_are_measured_against_what_is_expected_of_their_condition(make_frames, noisy):
    asked = ask(make_frames(noisy))
    onset = asked.onsets["onset"].to_numpy()
    found = pick(forecast_results(asked), "seed_spread", held_out="condition", primary=True)
    assert found.extra["n_asked"] == 8
    assert found.estimate == pytest.approx(np.abs(np.diff(onset)[::2]).mean() / np.sqrt(2))  # sd of a difference


def test_one_condition_is_judged_by_runs_only(make_frames, noisy):
    alike = {name: {**run, "depth": 5} for name, run in noisy.items()}
    results = forecast_results(ask(make_frames(alike)))
    assert {r.extra["held_out"] for r in results} == {"run"}
    assert {r.n_conditions for r in results} == {1}
    assert {(r.extra["over"], r.extra["n_units"]) for r in results if r.quantity == "coverage"} == {("runs", 8)}


def test_runs_that_never_collapsed_are_counted(make_frames, noisy, make_run):
    results = forecast_results(ask(make_frames({**noisy, "never": make_run(500.0, epochs=300)})))
    assert {(r.n_runs, r.n_censored) for r in results} == {(9, 1)}


def test_two_runs_are_too_few(make_frames, make_run):
    (result,) = forecast_results(ask(make_frames({"a": make_run(20.0), "b": make_run(22.0)})))
    assert (result.status, result.warnings) == ("too_few", ("2 runs with an onset; a contest of rules needs 3",))
    assert math.isnan(result.estimate)
    assert calibration_table(ask(make_frames({"a": make_run(20.0), "b": make_run(22.0)}))).empty


def test_onsets_at_the_first_evaluation_cannot_be_forecast(make_frames, make_run):
    runs, epochs = make_frames({str(i): make_run(1.0, step=10, epochs=100) for i in range(4)})
    (result,) = forecast_results(Asked(runs=runs, epochs=epochs, terms=Terms(rule=OnsetRule(rule="first"))))
    assert result.status == "too_few"
    assert "no evaluation lies before the onsets of 3 runs" in result.warnings[0]


def test_holm_counts_the_pairs(make_frames, noisy):
    twice = {**noisy, **{f"{name}-c": {**run, "dataset": "cifar10"} for name, run in noisy.items()}}
    results = with_holm(forecast_results(ask(make_frames(twice))), forecast_family)
    held_out = [r for r in results if forecast_family(r) == "condition"]
    assert [r.extra["family"] for r in held_out] == [2, 2]
    assert [r.extra["p_holm"] for r in held_out] == pytest.approx([2 / 24, 2 / 24])


def test_a_gain_lies_in_its_interval_where_conditions_have_unequal_numbers_of_runs(make_frames, noisy):
    uneven = {
        name: {**run, "depth": depth}
        for (name, run), depth in zip(noisy.items(), (2, 3, 3, 4, 4, 4, 4, 4), strict=True)
    }
    asked = ask(make_frames(uneven))
    results = [r for r in forecast_results(asked) if r.extra["held_out"] == "condition"]
    for gain in (r for r in results if r.quantity in ("skill", "fn_gain") and r.lo == r.lo):
        assert gain.lo <= gain.estimate <= gain.hi
    skill = pick(results, "skill", rule="winner", primary=True)
    assert (skill.extra["over"], skill.extra["n_tested"]) == ("conditions", 3)
    assert skill.warnings == ("the test takes the runs of 3 conditions as independent",)
    table = calibration_table(asked)
    table = table[
        (table["held_out"] == "condition") & (table["epoch"] == skill.extra["epoch"]) & (table["level"] == 0.8)
    ]
    gaps: dict[str, list[float]] = {}
    for row in table.to_dict("records"):
        others = table.loc[table["condition"] != row["condition"], "actual"]
        gap = abs(others.median() - row["actual"]) - abs(row["forecast"] - row["actual"])
        gaps.setdefault(row["condition"], []).append(gap)
    n, k = len(table), len(gaps)
    mean = sum(map(sum, gaps.values())) / n
    squares = sum((sum(own) - len(own) * mean) ** 2 for own in gaps.values())
    df = n**2 / sum(len(own) ** 2 for own in gaps.values()) - 1
    half = stats.t.ppf(0.975, df) * math.sqrt(k / (k - 1) * squares) / n
    base = pick(results, "mae", rule="median", primary=True).estimate
    assert (skill.estimate, skill.lo) == pytest.approx((mean / base, (mean - half) / base))


def test_equal_onsets_leave_nothing_to_gain(make_frames, make_run):
    same = {str(i): make_run(20.0) for i in range(4)}
    results = forecast_results(ask(make_frames(same)))
    skill = pick(results, "skill", rule="winner", primary=True)
    assert skill.status == "zero_variance"
    assert math.isnan(skill.p)
    for gain in (r for r in results if r.quantity == "fn_gain"):
        assert gain.status == "zero_variance"
    for covered in (r for r in results if r.quantity == "coverage"):
        assert (covered.status, covered.extra["n_asked"]) == ("not_testable", 0)
        assert math.isnan(covered.estimate)


def test_courses_hold_what_was_measured(make_frames, make_run):
    _, epochs = make_frames({"a": make_run(20.0), "b": {"status": "pending"}})
    assert sorted(run_courses(epochs, "nc1")["a"].curves) == ["feature_norm", "nc1", "train_accuracy"]
    tested = epochs.assign(test_nc1=epochs["nc1"])
    assert sorted(run_courses(tested, "test_nc1")["a"].curves) == ["feature_norm", "nc1", "test_nc1", "train_accuracy"]


def test_of_very_many_runs_the_latest_of_each_condition_take_part_and_it_is_said(make_frames, noisy, monkeypatch):
    monkeypatch.setattr("ncdiag.analysis.tournament.MOST_RUNS", 6)
    monkeypatch.setattr("ncdiag.analysis.forecasts.MOST_RUNS", 6)
    asked = ask(make_frames(noisy))
    (winner,) = [
        r
        for r in forecast_results(asked)
        if r.extra.get("rule") == "winner"
        and r.quantity == "mae"
        and r.extra["primary"]
        and r.extra["held_out"] == "run"
    ]
    assert winner.warnings == ("of 8 runs with an onset only 6 take part, the largest seeds of every condition",)
    assert set(calibration_table(asked)["run"]) == {f"run-{number}" for number in (1, 3, 4, 5, 6, 7)}
