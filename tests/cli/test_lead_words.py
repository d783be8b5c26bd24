import pytest

from ncdiag.cli.lead_words import (
    alarm_words,
    fixed_words,
    guess_words,
    published_words,
    specificity_words,
)
from ncdiag.domain.shares import epochs


def skill(estimate, p, baseline="median", **more):
    about = {
        "quantity": "skill",
        "level": 0.95,
        "margin": 0.25,
        "p_holm": p,
        "family": 1,
        "p_min": 0.01,
        "n_tested": 3,
        "primary": baseline == "median",
    }
    return {**about, "estimate": estimate, "p": p, "baseline": baseline, **more}


def mae(baseline, estimate, margin=0.25, **more):
    return {"quantity": "mae", "margin": margin, "baseline": baseline, "estimate": estimate, **more}


@pytest.mark.parametrize(
    ("estimate", "p", "said"),
    [
        (0.5, 0.01, "the alarm of fn, at 1.25 fn*, forecasts the onset better than guessing: its error is 50% smaller"),
        (0.5, 0.3, "better than guessing is not shown: error 50% smaller (p = .3, with so few runs at least .01)"),
        (-0.5, 0.01, "no better than guessing: its error is 50% larger."),  # it varies less, about a mean that is off
        (0.0, 0.01, "no better than guessing: the errors are the same."),
        (0.5, None, "has an error 50% smaller than guessing, which 3 runs cannot test."),
        (None, None, "guessing it is always right"),
    ],
)
def test_the_reading_follows_skill_and_p(estimate, p, said):
    assert said in guess_words([skill(estimate, p)])


@pytest.mark.parametrize(
    ("direction", "level"),
    [("falls", "at 1.25 fn*"), ("rises", "at fn* / 1.25"), ("both", "at 1.25 fn* or fn* / 1.25")],
)
def test_the_alarm_is_on_the_side_from_which_fn_comes(direction, level):
    lead = {"quantity": "lead", "margin": 0.25, "direction": direction}
    assert guess_words([lead, skill(-0.5, 0.01)]).startswith(f"the alarm of fn, {level}, forecasts")


def test_the_p_that_decides_is_the_corrected_one():
    said = guess_words([skill(0.5, 0.04, p_holm=0.08, family=2)])
    assert "not shown" in said
    assert "(p = .08 after Holm's correction over 2 pairs, with so few runs at least .01)" in said


@pytest.mark.parametrize(
    ("estimate", "p", "said"),
    [
        (
            -0.2,
            0.9,
            "an alarm on nc1 itself errs less, so as an alarm fn is no better (12 epochs by fn, 10 by nc1)",
        ),
        (0.2, 0.3, "that fn errs less than an alarm on nc1 itself is not shown (12 epochs by fn, 10 by nc1, p = .3)"),
        (0.2, 0.01, "an alarm on nc1 itself errs more: as an alarm fn is better (12 epochs by fn, 10 by nc1, p = .01)"),
        (0.2, None, "is not shown (12 epochs by fn, 10 by nc1);"),
        (None, None, "At the same mean lead, 1 of 2 other observables did better than fn."),
    ],
)
def test_fn_is_set_against_the_metric_at_the_same_lead(estimate, p, said):
    rivals = [skill(estimate, p, "nc1"), skill(-0.1, 0.5, "nc3"), skill(-0.3, 0.5, "nearest")]
    text = alarm_words([skill(0.1, 0.1), *rivals, mae("fn", 12.0), mae("nc1", 10.0)], "nc1")
    assert said in text
    assert "of 2 other observables" in text  # the nearest condition is not an observable


def test_the_smallest_possible_p_is_left_out_where_there_are_runs_enough():
    assert guess_words([skill(0.5, 0.3, p_min=0.0002)]).endswith("error 50% smaller (p = .3).")


@pytest.mark.parametrize("own", [10.0, 10.04])  # the second is written as 10, too
def test_equal_errors_are_not_called_less(own: float):
    text = alarm_words([skill(0.1, 0.1), skill(-0.004, 0.5, "nc1"), mae("fn", own), mae("nc1", 10.0)], "nc1")
    assert "errs as much" in text


def test_without_another_observable_that_is_said():
    assert "No other observable was stored" in alarm_words([skill(0.1, 0.1)], "nc1")


def test_what_needs_no_level_and_the_order():
    order = {"quantity": "concordance", "margin": 0, "estimate": 0.71, "n_pairs": 45}
    fixed = [mae("median", 9.0, None, mean_lead=None), mae("nc1<3eps", 5.0, None, mean_lead=40.0)]
    said = fixed_words([*fixed, mae("nearest", 8.0, None, mean_lead=None), order])
    assert said[0] == "Alarms that need no fn*: nc1<3eps: error 5.0, lead 40."
    assert said[1].endswith("of the condition most like its own: error 8.0.")
    assert "in 71% of 45 pairs" in said[2]


def test_the_published_reading_names_what_it_dropped():
    lead = {"quantity": "lead", "held_out": "none", "estimate": 78.0, "n_crossed": 10, "n_never": 2}
    (text,) = published_words([lead, mae("fn", 38.0, 0.0, held_out="none")])
    assert "mean lead 78, error 38 epochs, over 10 runs, without the 2 that had not crossed by their end, " in text
    (text,) = published_words([{**lead, "n_never": 0}, mae("fn", 38.0, 0.0, held_out="none")])
    assert "over 10 runs." in text
    assert published_words([]) == []


def test_false_alarms_are_told_from_those_that_are_overdue():
    counts = {
        "margin": 0.0,
        "crossed_collapsed": 10,
        "missed_collapsed": 2,
        "crossed_censored": 7,
        "quiet_censored": 11,
        "overdue_censored": 6,
    }
    shares = [
        {"quantity": name, "estimate": 0.611, "lo": 0.357, "hi": 0.827, **counts}
        for name in ("sensitivity", "specificity")
    ]
    errors = [mae("fn", 12.0, 0.0, hinge=265.0, n_hinge=18), mae("median", 12.0, None, hinge=282.0, n_hinge=18)]
    crossed, early = specificity_words([*shares, *errors])
    assert "Of 12 runs that collapsed, 10 had crossed fn* by then." in crossed
    assert "Of 18 runs that did not collapse, 7 crossed it too: false alarms, 6 of them past the onset" in crossed
    assert "too early by at least 265 epochs on average by fn at fn*, 282 by guessing" in early
    assert specificity_words([]) == []


def test_epochs_are_written_as_precisely_as_they_are_worth():
    assert [epochs(value) for value in (None, 3.14, 9.96, -123.4)] == ["-", "3.1", "10", "-123"]
