"""The claims about a pair: what one figure of the questions does to a verdict that stands without it."""

import math
from dataclasses import replace
from typing import Any

import pytest

from ncdiag.analysis.evidence import Evidence, Judgement, judge_all
from ncdiag.analysis.pair_claims import announced, one_norm
from ncdiag.domain.result import Result

PAIR = {"arch": "mlp", "dataset": "mnist"}
SETS = [{**PAIR, "epoch": 10, "head": head, "up": 3.0, "down": 0.3} for head in ("kept", "compensated")]
OUT_OF_SAMPLE = {"held_out": "condition", "margin": 0.25}


def of(question: str, quantity: str, group: dict[str, Any] = PAIR, **said: Any) -> Result:
    fields = {name: said.pop(name) for name in ("estimate", "lo", "hi", "p") if name in said}
    fields |= {"level": 0.95, "n_runs": 20, "n_conditions": 4}
    return Result(question=question, quantity=quantity, group=group, extra=said, **fields)


def shown() -> dict[str, list[Result]]:
    """Results that show claims 1 and 3 of a pair."""
    counts = {"n_relapsed": 0, "n_collapsed": 20, "n_censored_crossed": 0, "n_without": 4}
    alarm = OUT_OF_SAMPLE | {"n_tested": 20}
    return {
        "threshold": [
            of("threshold", "fn_star", estimate=1.2, blocked=[], shielded=[], **counts),
            of(
                "threshold",
                "cv",
                estimate=0.03,
                p=0.001,
                p_above=0.999,
                cv_lower=0.02,
                cv_upper=0.05,
                verdict="supported",
            ),
            of("threshold", "placebo_cv", estimate=0.2, p=0.001, p_other=0.999, epoch=60.0, log_cv_at_onset=0.03),
            of("threshold", "eps_sensitivity", estimate=0.01, p=0.001, p_beyond=0.999, n_across=0),
        ],
        "lead": [
            of("lead", "lead", estimate=30.0, lo=20.0, hi=40.0, n_crossed=20, n_never=0, n_left_censored=0, **alarm),
            of("lead", "mae", estimate=10.0, baseline="fn", **alarm),
            of("lead", "mae", estimate=40.0, baseline="median", held_out="condition", margin=None),
            of("lead", "skill", estimate=0.75, p=0.001, p_holm=0.001, p_other=0.999, baseline="median", **alarm),
            of("lead", "skill", estimate=0.5, p=0.001, p_other=0.999, baseline="nc1", **alarm),
            of("lead", "skill", estimate=0.3, p=0.002, p_other=0.998, baseline="train_loss", **alarm),
        ],
        "attractor": [
            each
            for group in SETS
            for each in (
                of("attractor", "log_ratio_at_onset", group, estimate=0.01, p=0.001, p_beyond=0.999, arm="up_control"),
                of("attractor", "onset_order", group, estimate=0.2, p=0.001, arm="up_down"),
            )
        ],
    }


def but_for(question: str, wanted: dict[str, Any], **said: Any) -> dict[str, list[Result]]:
    """The results that show the claims, but for some fields of those that are wanted."""

    def change(result: Result) -> Result:
        about = {"quantity": result.quantity, **result.group, **result.extra}
        if any(about.get(name) != value for name, value in wanted.items()):
            return result
        own = {name: value for name, value in said.items() if name in ("estimate", "lo", "hi", "p")}
        told = {name: value for name, value in said.items() if name not in own}
        return replace(result, extra={**result.extra, **told}, **own)

    return {name: [change(r) for r in each] if name == question else each for name, each in shown().items()}


def judged(found: dict[str, list[Result]], gather: Any) -> tuple[Evidence, Judgement]:
    (evidence,) = gather(found, 0.05)
    return evidence, judge_all([evidence], 0.05)[0]


@pytest.mark.parametrize("gather", [one_norm, announced])
def test_what_shows_every_part_supports_the_claim(gather):
    evidence, verdict = judged(shown(), gather)
    assert verdict.verdict == "supported"
    assert evidence.p == 0.002  # twice .001 of the two sets of rescaled runs; of two other alarms the larger p


def test_the_limits_of_a_cv_are_its_one_sided_bounds():
    evidence, _ = judged(shown(), one_norm)
    assert evidence.source is not None
    assert (evidence.source.lo, evidence.source.hi) == (0.02, 0.05)
    assert evidence.source.level == 0.9  # 5 % on each side


SKILL, RIVAL = {"quantity": "skill", "baseline": "median"}, {"quantity": "skill", "baseline": "nc1"}


@pytest.mark.parametrize(
    ("wanted", "said", "verdict", "reason"),
    [
        ({"quantity": "lead"}, {"lo": -1.0}, "inconclusive", "the mean lead may be -1.0 epochs"),
        ({"quantity": "lead"}, {"lo": math.nan}, "not testable", "all leads are the same"),
        ({"quantity": "lead"}, {"lo": math.nan, "n_crossed": 1}, "not testable", "1 alarm: an interval of the lead"),
        ({"quantity": "lead"}, {"lo": math.nan, "n_left_censored": 20}, "not testable", "0 alarms: an interval of"),
        (SKILL, {"p_holm": 0.06}, "inconclusive", "is not shown (p = .06): error 10, guess 40"),
        (SKILL, {"p_holm": math.nan}, "not testable", "every alarm comes at one epoch"),
        (SKILL, {"p_holm": math.nan, "n_tested": 3}, "not testable", "3 alarms: to compare the forecast with guessing"),
        (
            RIVAL,
            {"n_tested": 3},
            "not testable",
            "3 runs in which to compare the alarm of fn with an alarm on nc1",
        ),
        (SKILL, {"estimate": -0.1}, "inconclusive", "better than the median onset is not shown"),  # steadier, but worse
        (SKILL, {"p": 0.97, "p_other": 0.03, "estimate": -0.2}, "refuted", "varies more than onset itself"),
        (SKILL, {"p": 0.97, "p_other": 0.03, "p_holm": 1.0, "estimate": -2e-16}, "inconclusive", "is not shown"),
        (
            SKILL,
            {"p": 0.9, "p_other": 0.1, "p_holm": 1.0},
            "inconclusive",
            "better than the median onset is not shown",
        ),
        (SKILL, {"p": 1.0, "p_other": 0.06, "p_holm": 1.0}, "inconclusive", "is not shown"),
        (
            RIVAL,
            {"p": 0.06},
            "inconclusive",
            "on nc1 may err as little (that fn errs less than every other: p = .06)",
        ),
        (
            RIVAL,
            {"p": 0.9, "estimate": -0.2},
            "inconclusive",
            "an alarm on nc1 errs less (that fn errs less",
        ),
    ],
)
def test_one_figure_of_the_alarm_decides(wanted, said, verdict, reason):
    evidence, found = judged(but_for("lead", wanted, **said), announced)
    assert found.verdict == verdict
    assert reason in found.reason
    assert evidence.ours == "lead 30, MAE 10"


def test_where_runs_ended_before_their_alarm_the_sign_test_and_not_the_mean_lead_decides():
    cut = {"lo": -math.inf, "n_never": 2, "n_crossed": 18, "p": 0.3}
    evidence, found = judged(but_for("lead", {"quantity": "lead"}, **cut), announced)
    assert evidence.ours == "lead <= 30, MAE 10"
    assert found.verdict == "inconclusive"
    assert found.reason == "2 of 20 runs ended before the alarm; that it comes first is not shown (p = .3)"
    assert judged(but_for("lead", {"quantity": "lead"}, **{**cut, "p": 1e-3}), announced)[1].verdict == "supported"


def test_an_alarm_in_too_few_runs_to_compare_silences_no_other():
    found = but_for("lead", RIVAL, n_tested=3)
    found["lead"][-1] = replace(found["lead"][-1], estimate=-0.2, p=0.9)
    assert "an alarm on train_loss errs less" in judged(found, announced)[1].reason
    both = shown()
    both["lead"] = [
        replace(r, extra=r.extra | {"n_tested": 3 if r.extra.get("baseline") in ("nc1", "train_loss") else 20})
        for r in both["lead"]
    ]
    _, few = judged(both, announced)
    assert few.reason == "3 runs in which to compare the alarm of fn with others: that takes 4"


def test_the_alarm_that_errs_least_is_named_before_the_one_that_is_least_certain():
    found = but_for("lead", RIVAL, p=0.9, estimate=0.1)
    found["lead"][-1] = replace(found["lead"][-1], estimate=-0.2, p=0.5)
    assert "on train_loss errs less (that fn errs less than every other: p = .9)" in judged(found, announced)[1].reason


def test_other_seeds_of_known_conditions_are_no_new_conditions():
    found = shown()
    found["lead"] = [replace(r, extra={**r.extra, "held_out": "run"}) for r in found["lead"]]
    _, verdict = judged(found, announced)
    assert (verdict.verdict, verdict.reason) == (
        "not testable",
        "fewer than 3 conditions: only other seeds of known ones could be forecast",
    )


def test_where_no_run_crosses_there_is_no_lead():
    assert judged(but_for("lead", {"quantity": "lead"}, estimate=math.nan, lo=math.nan), announced)[0].ours == "-"


PLACEBO, EPS = {"quantity": "placebo_cv"}, {"quantity": "eps_sensitivity"}


@pytest.mark.parametrize(
    ("wanted", "said", "verdict", "reason"),
    [
        ({"quantity": "cv"}, {"p": 0.06}, "inconclusive", "the CV may be as large as 5%"),
        # four tests could refute: the smallest p of them counts four times
        ({"quantity": "cv"}, {"p": 0.999, "p_above": 0.012}, "refuted", "the CV is above 8%"),
        ({"quantity": "cv"}, {"p": 0.999, "p_above": 0.013}, "inconclusive", "the CV may be as large as 5%"),
        (PLACEBO, {"p": 0.06}, "inconclusive", "that fn varies less at onset than at epoch 60 is not shown (p = .06)"),
        (PLACEBO, {"p": 0.99, "p_other": 0.01}, "refuted", "fn varies more at onset than at a fixed epoch"),
        (PLACEBO, {"p": 0.99, "p_other": 1 / 24}, "inconclusive", "is not shown"),
        (PLACEBO, {"t_median": 60.0}, "supported", "at no other epoch as small"),
        (
            PLACEBO,
            {"t_median": 70.0},
            "not testable",
            "than at a fixed epoch: shown at epoch 60 alone, where runs end, before the median onset (70)",
        ),
        (PLACEBO, {"t_median": 70.0, "p": 0.06}, "inconclusive", "than at epoch 60 is not shown (p = .06)"),
        (PLACEBO, {"t_median": 70.0, "p": 0.99, "p_other": 0.01}, "inconclusive", "is not shown"),
        (EPS, {"p": 0.9, "p_beyond": 0.01}, "refuted", "fn* moves with eps (+1% from 2 eps to eps/2)"),
        (EPS, {"p": math.nan}, "not testable", "one run alone was followed from 2 eps to eps/2"),
        (EPS, {"p": math.nan, "estimate": math.nan}, "not testable", "no run was followed from 2 eps to eps/2"),
        (
            EPS,
            {"p": math.nan, "estimate": math.nan, "n_across": 9},
            "not testable",
            "no run has 2 eps and eps/2 in one phase, under one loss, so fn* may depend on eps",
        ),
        (
            {"quantity": "fn_star"},
            {"n_censored_crossed": 1},
            "inconclusive",
            "1 of 4 runs without a collapse fell below",
        ),
    ],
)
def test_one_figure_of_the_threshold_decides(wanted, said, verdict, reason):
    _, found = judged(but_for("threshold", wanted, **said), one_norm)
    assert found.verdict == verdict
    assert reason in found.reason


def test_the_reason_why_a_fixed_epoch_says_nothing_is_that_of_the_threshold():
    found = shown()
    said = {"status": "not_testable", "p": math.nan, "extra": {}, "warnings": ("runs are under different losses",)}
    found["threshold"] = [replace(r, **said) if r.quantity == "placebo_cv" else r for r in found["threshold"]]
    verdict = judged(found, one_norm)[1]
    assert (verdict.verdict, verdict.reason) == ("not testable", "runs are under different losses")


FEW = "shown only if the runs of 2 conditions count as independent (takes {} conditions, or one alone)"


@pytest.mark.parametrize(
    ("question", "quantity", "gather", "opposite", "reason"),
    [
        ("threshold", "placebo_cv", one_norm, {"p_other": 1e-4}, f"at a fixed epoch: {FEW.format(4)}"),
        ("threshold", "eps_sensitivity", one_norm, {"p_beyond": 1e-4}, f"does not depend on eps: {FEW.format(3)}"),
        ("lead", "skill", announced, {"p_other": 1e-4}, f"than the median onset: {FEW.format(4)}"),
    ],
)
def test_runs_of_two_conditions_show_nothing_and_refute_nothing(question, quantity, gather, opposite, reason):
    """Within a condition they are alike, so what is as likely as 1 in 20 of independent ones is up to 1 in 4."""

    def pooled(**said: Any) -> dict[str, list[Result]]:
        found = but_for(question, {"quantity": quantity}, over="runs", **said)
        few = [replace(r, n_conditions=2) if r.quantity == quantity else r for r in found[question]]
        return {**found, question: few}

    _, found = judged(pooled(), gather)
    assert found.verdict == "not testable"
    assert reason in found.reason
    assert judged(pooled(p=1.0, **opposite), gather)[1].verdict == "inconclusive"
    of_one = {name: [replace(r, n_conditions=1) for r in each] for name, each in pooled().items()}
    assert judged(of_one, gather)[1].verdict == "supported"


NORM, ORDER = "log_ratio_at_onset", "onset_order"


@pytest.mark.parametrize(
    ("quantity", "kept", "compensated", "verdict", "reason"),
    [
        # of the norm that stays and the onset that moves the larger p counts; one of two sets shows it, at twice its p
        (NORM, {"p": 0.9}, {}, "supported", "rescaled runs collapse there too"),
        (ORDER, {"p": 0.9}, {}, "supported", "rescaled runs collapse there too"),
        (NORM, {"p": 0.9}, {"p": 0.03}, "inconclusive", "to where fn is fn* again is not shown (p = .06)"),
        (ORDER, {"p": 0.9}, {"p": 0.03}, "inconclusive", "to where fn is fn* again is not shown (p = .06)"),
        (NORM, {"p": math.nan}, {"p": math.nan}, "not testable", "to tell fn* from a common clock takes two seeds"),
        (ORDER, {"p": math.nan}, {"p": math.nan}, "not testable", "to tell fn* from a common clock takes two seeds"),
        # two sets among four tests: eight times the smallest p
        (NORM, {"p_beyond": 0.006}, {"estimate": -0.4}, "refuted", "rescaled runs collapse at another norm"),
        (NORM, {"p_beyond": 0.007}, {"estimate": -0.4}, "supported", "rescaled runs collapse there too"),
    ],
)
def test_rescaled_runs_tell_fn_star_from_a_clock(quantity, kept, compensated, verdict, reason):
    found = but_for("attractor", {"quantity": quantity, "head": "kept"}, **kept)
    other = but_for("attractor", {"quantity": quantity, "head": "compensated"}, **compensated)
    found["attractor"] = [*found["attractor"][:2], *other["attractor"][2:]]
    evidence, told = judged(found, one_norm)
    assert told.verdict == verdict
    assert reason in told.reason
    if verdict == "refuted":
        assert evidence.against == "rescaled fn* x0.67"  # exp(-0.4), further from 1 than exp(0.01)
