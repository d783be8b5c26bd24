import numpy as np
import pytest
from forecast_worlds import exponential

from ncdiag.analysis.tournament_views import PUBLISHED_LEAD, PUBLISHED_SHARE, list_views
from ncdiag.domain.onset_rule import OnsetRule

EPOCHS = np.arange(1, 601.0)


def views(rates, conditions, epochs=EPOCHS):
    runs = [exponential(rate, condition=condition) for rate, condition in zip(rates, conditions, strict=True)]
    return list(list_views(runs, epochs, OnsetRule()))


def primary(found, held_out):
    (view,) = [view for view in found if view.primary and view.held_out == held_out]
    return view


def test_the_primary_question_is_asked_at_the_published_lead():
    found = primary(views([60, 65, 70, 75], [0, 1, 2, 3]), "condition")
    assert found.lead == pytest.approx(PUBLISHED_LEAD, abs=0.5)
    assert found.contest.landmark.now == round(found.onset.mean() - PUBLISHED_LEAD)


@pytest.mark.parametrize("rates", [[10, 11, 12, 13], [20, 21, 22, 23]])  # 2 x 62 epochs is at a rate of 26.9
def test_short_runs_are_asked_at_the_same_share_of_their_onset(rates):
    found = primary(views(rates, [0, 1, 2, 3]), "run")
    assert found.lead == pytest.approx(PUBLISHED_SHARE * found.onset.mean(), abs=0.5)


def test_a_run_that_collapsed_before_the_question_is_not_asked():
    found = primary(views([30, 60, 65, 70, 75], [0, 1, 2, 3, 4]), "condition")
    assert len(found.onset) == 4
    assert found.lead == pytest.approx(found.onset.mean() - found.contest.landmark.now)


def test_further_questions_are_asked_at_shares_of_the_mean_onset():
    onset = np.array([60, 65, 70, 75]) * np.log(100)
    found = [view for view in views([60, 65, 70, 75], [0, 1, 2, 3]) if view.held_out == "run" and not view.primary]
    expected = [share * onset.mean() for share in (0.5, 0.35, 0.25)]  # a lead of a tenth begins after the first onset
    assert [view.lead for view in found][:3] == pytest.approx(expected, abs=0.5)
    last = onset[onset > found[3].contest.landmark.now]
    assert found[3].lead == pytest.approx(0.1 * onset.mean(), abs=0.5)
    assert found[3].lead == pytest.approx(last.mean() - found[3].contest.landmark.now)


def test_a_question_is_asked_of_half_of_the_runs_or_more():
    """The three late runs alone would have a mean lead of 62 epochs at epoch 237."""
    found = views([10, 10.1, 10.2, 10.3, 60, 65, 70], range(7))
    assert {view.held_out for view in found} == {"condition", "run"}
    assert all(2 * len(view.onset) >= 7 for view in found)


def test_questions_are_asked_at_evaluations_and_once_each():
    found = [view for view in views([60, 65, 70, 75], [0, 1, 2, 3], EPOCHS[49::50]) if view.held_out == "run"]
    epochs = [view.contest.landmark.now for view in found]
    assert len(set(epochs)) == len(epochs)
    assert set(epochs) <= set(EPOCHS[49::50])


def test_two_conditions_are_not_held_out():
    assert {view.held_out for view in views([60, 65, 70, 75], [0, 0, 1, 1])} == {"run"}
    assert {view.held_out for view in views([60, 65, 70, 75], [0, 0, 1, 2])} == {"condition", "run"}


def test_a_forecast_is_made_without_the_condition_of_its_run():
    rates, conditions = [60, 62, 65, 70, 75], [0, 0, 1, 2, 3]
    found = primary(views(rates, conditions), "condition")
    onset = np.array(rates) * np.log(100)
    guesses = [np.median(onset[np.array(conditions) != condition]) for condition in conditions]
    assert found.forecasts("median") == pytest.approx(guesses)


def test_the_limits_of_a_rule_lie_about_its_own_forecast():
    """Those of a guess are those of a t interval on logs, whatever the rule that wins has."""
    found = primary(views([60, 62, 65, 70, 75], range(5)), "run")
    guesses, now = found.forecasts("median"), found.contest.landmark.now
    limits = found.limits(0.8, "median")
    below = [limit.lo == now for limit in limits]
    assert sum(below) == 1  # where the t interval begins before the question
    for limit, guess in zip(limits, guesses, strict=True):
        assert limit.estimate == pytest.approx(guess)
        assert limit.lo == now or np.sqrt(limit.lo * limit.hi) == pytest.approx(guess)
