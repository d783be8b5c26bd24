import math

import numpy as np
import pytest
from scipy import stats

from ncdiag.analysis.factor_groups import list_factor_groups
from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.terms import Terms
from ncdiag.domain.onset_rule import OnsetRule


def groups(frames, factor="depth"):
    return list_factor_groups(onset_table(*frames, OnsetRule()), factor, Terms())


def test_only_runs_alike_in_everything_else_are_compared(make_frames, make_run):
    runs = {
        "a": make_run(depth=3),
        "b": make_run(25.0, depth=5),
        "c": make_run(depth=7, lr=0.01),
        "d": make_run(depth=3, dataset="cifar10"),
        "e": make_run(depth=5, dataset="cifar10"),
    }
    found = groups(make_frames(runs))
    assert [(group.fixed["dataset"], group.levels) for group in found] == [("mnist", [3, 5]), ("cifar10", [3, 5])]
    assert found[0].restricted == pytest.approx([20 * math.log(100), 25 * math.log(100)])
    assert "depth" not in found[0].fixed
    assert "seed" not in found[0].fixed


def test_levels_are_in_their_order_and_missing_values_are_none(make_frames, make_run):
    runs = {"a": make_run(depth=7), "b": make_run(depth=3), "c": make_run(depth=None), "d": make_run(depth=3)}
    (found,) = groups(make_frames(runs))
    assert found.levels == [3, 7]
    assert found.level.tolist() == [1, 0, 0]
    assert found.sizes == [2, 1]


def test_runs_without_an_onset_are_later_than_the_budget(make_frames, make_run):
    runs = {"a": make_run(depth=3), "b": make_run(90.0, depth=5), "c": make_run(90.0, depth=5, epochs=150)}
    (found,) = groups(make_frames(runs))
    assert (found.budget, found.n_censored) == (150, 2)
    assert found.event.tolist() == [True, False, False]
    assert found.restricted.tolist() == [pytest.approx(20 * math.log(100)), 150, 150]
    assert found.ranked.tolist()[1:] == [math.inf, math.inf]
    assert found.capped.tolist() == [1]


def test_an_onset_after_the_common_budget_counts_as_none(make_frames, make_run):
    runs = {"slow": make_run(35.0, depth=3), "short": make_run(90.0, depth=5, epochs=100)}
    (found,) = groups(make_frames(runs))
    assert found.budget == 100
    assert not found.event.any()
    assert "where short ends" in found.cautions[0]
    assert "1 later onset counts as none" in found.cautions[0]
    assert found.cautions[0].endswith("Train it for longer, or leave it out with --where 'not run=short'")


@pytest.mark.parametrize(("count", "named"), [(2, True), (9, False)])
def test_all_runs_that_end_at_the_common_budget_are_named(make_frames, make_run, count, named):
    """Without one of them alone the budget would be the same."""
    runs = {"slow": make_run(35.0, depth=3)} | {f"s{n}": make_run(90.0, depth=5, epochs=100) for n in range(count)}
    (found,) = groups(make_frames(runs))
    assert f"where {count} runs end; 1 later onset counts as none" in found.cautions[0]
    where = " or leave them out with --where 'not run in (s0,s1)'" if named else ""
    assert found.cautions[0].endswith(f"Train them for longer{where and f',{where}'}")
    (alone,) = groups(make_frames({name: run for name, run in runs.items() if name != "s0"}))
    assert alone.budget == found.budget


@pytest.mark.parametrize("status", ["diverged", "dead"])
def test_a_run_that_broke_never_collapsed_and_sets_no_budget(make_frames, make_run, status):
    runs = {"a": make_run(depth=3), "b": make_run(90.0, depth=5, epochs=20, status=status)}
    (found,) = groups(make_frames(runs))
    assert found.event.tolist() == [True, False]
    assert found.budget == pytest.approx(20 * math.log(100))
    assert any("count as never collapsed" in caution for caution in found.cautions)


SILENT = {
    "below at epoch 0": {"epoch": list(range(100)), "nc1": [1e-3] * 100},
    "never confirmed": {"epoch": [40, 80], "nc1": [1e-3] * 2},
}


@pytest.mark.parametrize("said", SILENT)
def test_runs_that_say_nothing_of_when_are_left_out_and_named(make_frames, make_run, said):
    runs = {str(i): make_run(20.0 + i, depth=3 + 2 * (i % 2)) for i in range(6)}
    (expected,) = groups(make_frames(runs))
    rows = len(SILENT[said]["epoch"])
    more = {"feature_norm": [1.0] * rows, "train_accuracy": [1.0] * rows, "depth": 3}
    (found,) = groups(make_frames({**runs, "silent": {**SILENT[said], **more}}))
    assert (found.run, found.budget, found.n_censored) == (expected.run, expected.budget, expected.n_censored)
    assert any(caution.startswith("1 run below eps at epoch 0, or from") for caution in found.cautions)


def test_unfinished_runs_are_left_out_whatever_they_show(make_frames, make_run):
    runs = {
        "a": make_run(depth=3),
        "b": make_run(depth=5),
        "c": make_run(depth=5, status="running"),
        "d": make_run(90.0, depth=5, status="interrupted"),
        "e": make_run(90.0, depth=5, epochs=12, status="failed"),  # and may go on: its end is no common budget
    }
    (found,) = groups(make_frames(runs))
    assert len(found.level) == 2
    assert found.event.all()
    assert "3 runs are not finished and are left out" in found.cautions


def test_below_eps_from_the_start_is_the_earliest(make_frames, make_run):
    (found,) = groups(make_frames({"a": make_run(0.1, depth=3), "b": make_run(depth=5)}))
    assert found.restricted[0] == 1
    assert found.event.all()


def test_levels_are_described_with_their_shares_and_means(make_frames, make_run):
    runs = {
        "a": make_run(20.0, depth=3, norm=1.0),
        "b": make_run(25.0, depth=3, norm=1.2),
        "c": make_run(90.0, depth=3),
        "d": make_run(90.0, depth=5),
    }
    first, second = groups(make_frames(runs))[0].describe_levels()
    onsets = np.array([20 * math.log(100), 25 * math.log(100), 200])
    assert (first["n_runs"], first["n_collapsed"]) == (3, 2)
    assert first["rmst"] == pytest.approx(onsets.mean())
    assert first["onset"] == pytest.approx(math.exp(np.log(onsets).mean()))
    assert first["onset_hi"] == math.inf  # the budget is all that is known of one of them
    log_lo = stats.t.interval(0.95, 2, np.log(onsets).mean(), stats.sem(np.log(onsets)))[0]
    assert first["onset_lo"] == pytest.approx(math.exp(log_lo))
    assert first["median"] == pytest.approx(25 * math.log(100))
    assert (first["median_lo"], first["median_hi"]) == (pytest.approx(20 * math.log(100)), math.inf)
    assert first["median_level"] == 0.75
    assert first["fn_star"] == pytest.approx(math.sqrt(1.2))
    assert second["share_hi"] == pytest.approx(0.975)
    assert second["median"] == math.inf
    assert math.isnan(second["fn_star"])


def test_no_runs_give_no_groups(make_frames):
    assert groups(make_frames({})) == []
