import re

import numpy as np
import pandas as pd
import pytest
from worlds import make_world

from ncdiag.analysis.claims import CLAIMS
from ncdiag.analysis.factor_claims import not_additive
from ncdiag.analysis.pair_claims import _beats, returns
from ncdiag.analysis.survey import Survey
from ncdiag.analysis.terms import Terms
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.domain.result import Result


def survey_of(runs, epochs, **options):
    def read(ids, columns):
        names = runs["run"][runs["run_id"].isin(ids)]
        return epochs.loc[epochs["run"].isin(names), [name for name in columns if name in epochs]]

    return Survey(runs=runs, read=read, terms=Terms(**options), questions=("claims",))


def claims_of(runs, epochs, **options):
    return survey_of(runs, epochs, **options).results["claims"]


def claim(results, number):
    return [result for result in results if result.quantity == f"claim_{number}"]


def parts(result):
    return {part["name"]: part for part in result.extra["parts"]}


@pytest.fixture(scope="module")
def causal():
    return claims_of(*make_world("causal", 1, conditions=8, seeds=3, rescale=True))


@pytest.fixture(scope="module")
def shared():
    return claims_of(*make_world("shared", 1))


def test_every_claim_of_the_abstract_has_a_verdict_and_a_reason(causal):
    numbers = [result.quantity.removeprefix("claim_") for result in causal]
    assert numbers == ["1", "2", "3", "4", "5", "6a", "6b", "6c", "6d"] == [c.number for c in CLAIMS]
    for result in causal:
        assert result.question == "claims"
        assert result.extra["verdict"] in ("supported", "refuted", "inconclusive", "not testable")
        assert all(result.extra[key] for key in ("claim", "published", "ours", "reason", "command"))
        assert (result.status == "ok") == (result.extra["verdict"] != "not testable")


def test_where_fn_causes_collapse_and_was_moved_by_hand_it_can_be_shown(causal):
    (first,) = claim(causal, "1")
    assert first.extra["verdict"] == "supported"
    assert first.p == max(part["p"] for part in first.extra["parts"] if part["p"] == part["p"])
    assert first.n_runs == 24  # the rescaled runs are no training conditions
    assert first.level == pytest.approx(0.9)  # of the two bounds of the CV together, each at 95 %


def test_a_shared_clock_passes_every_test_but_that_of_moving_fn(shared):
    first, second = (claim(shared, number)[0] for number in ("1", "2"))
    for result in (first, second):
        unshown = [part["name"] for part in result.extra["parts"] if not part["shown"]]
        assert unshown == ["rescaling fn moves the onset, and fn at onset stays"]
        assert result.extra["verdict"] == "not testable"
        assert "share a clock" in result.extra["reason"]
        assert "--scale-features none,0.3@" in result.extra["command"]
        assert np.isnan(result.p)


def test_what_lacks_more_runs_and_a_rescaling_gets_a_command_for_each():
    (first,) = claim(claims_of(*make_world("shared", 1, conditions=1, seeds=3)), "1")
    assert "scale-features" not in first.extra["command"]
    assert "--weight-decay" in first.extra["command"]
    assert "--scale-features none,0.3@" in first.extra["second_command"]


def test_where_a_rescaling_alone_is_missing_one_command_does(shared):
    assert [result.extra["second_command"] for result in shared if result.quantity == "claim_1"] == [""]


def at_evaluations(onset_step):
    """Give runs whose fn falls below 1.25 fn* at one epoch, and that collapse some evaluations apart."""
    runs, epochs = make_world("causal", 1, conditions=4, seeds=3)
    onset = epochs["run"].map({name: 100 + onset_step * place for place, name in enumerate(runs["run"])})
    norm = np.where(epochs["epoch"] < 40, 5.0, 1.1 - (epochs["epoch"] - 40) / 2000)
    return runs, epochs.assign(feature_norm=norm, nc1=np.where(epochs["epoch"] < onset, 0.5, 0.005))


def test_alarms_at_one_epoch_are_not_too_few():
    """They forecast one epoch for every run, which is a guess."""
    (third,) = claim(claims_of(*at_evaluations(10), rule=OnsetRule(rule="first")), "3")
    assert parts(third)["a better forecast than the median onset"] == {
        "name": "a better forecast than the median onset",
        "shown": None,
        "lacking": "every alarm comes at one epoch, so it says no more than guessing",
        "p": pytest.approx(np.nan, nan_ok=True),
    }


def test_leads_that_are_all_the_same_are_not_too_few():
    (third,) = claim(claims_of(*at_evaluations(0), rule=OnsetRule(rule="first")), "3")
    assert parts(third)["the alarm comes before the onset"]["lacking"] == (
        "all leads are the same, with no noise to judge them by"
    )


def test_an_alarm_that_errs_just_as_that_of_fn_is_not_beaten():
    """No test compares errors that are the same: it has no p, as one of three runs has none."""
    beaten, same = (
        Result(question="lead", quantity="skill", group={}, estimate=0.5, p=p, extra={"baseline": name, "n_tested": 8})
        for name, p in (("nc1", 0.001), ("weight_norm", np.nan))
    )
    assert _beats([beaten], 0.05).shown
    assert (_beats([beaten, same], 0.05).shown, _beats([beaten, same], 0.05).p) == (False, 1.0)


def test_a_change_with_eps_that_is_the_same_in_all_runs_is_no_want_of_runs():
    runs, epochs = make_world("causal", 1, conditions=4, seeds=3)
    falls = np.exp(-epochs["epoch"] / 20)
    (first,) = claim(claims_of(runs, epochs.assign(feature_norm=1 + falls, nc1=falls)), "1")
    lacking = parts(first)["fn* does not depend on eps"]["lacking"]
    assert lacking.startswith(
        "fn changes by as much in every run from 2 eps to eps/2, with no noise to compare it with"
    )


def test_an_alarm_no_better_than_that_of_nc1_is_not_shown(shared):
    (third,) = claim(shared, "3")
    assert parts(third)["a better forecast than the median onset"]["shown"]
    assert not parts(third)["a better forecast than every other alarm"]["shown"]
    assert third.extra["verdict"] == "inconclusive"
    assert "at the same lead the trend of nc1 errs less" in third.extra["reason"]


def test_without_an_onset_nothing_can_be_said():
    results = claims_of(*make_world("never", 0, conditions=2, seeds=2))
    assert {result.extra["verdict"] for result in results} == {"not testable"}
    assert claim(results, "1")[0].extra["reason"] == "no run collapsed"


def test_two_losses_at_onset_forbid_a_verdict():
    runs, epochs = make_world("shared", 1)
    some = runs["run"].iloc[:4].tolist()
    epochs.loc[epochs["run"].isin(some), "loss"] = "ce"
    for result in [*claim(claims_of(runs, epochs), "1"), *claim(claims_of(runs, epochs), "2")]:
        assert result.extra["verdict"] == "inconclusive"
        assert result.extra["reason"] == "fn is read under different losses (ce and mse)"


def test_onsets_timed_by_a_drop_of_the_rate_forbid_a_verdict():
    runs, epochs = make_world("shared", 1)
    onsets = survey_of(runs, epochs).onsets.set_index("run")["onset"]
    dropped = epochs["epoch"] > epochs["run"].map(onsets) - 1
    (first,) = claim(claims_of(runs, epochs.assign(lr=np.where(dropped, 1e-4, 1e-3))), "1")
    assert (first.extra["verdict"], first.extra["reason"]) == (
        "inconclusive",
        "20 of 20 onsets follow a drop of the learning rate",
    )


def test_features_that_died_forbid_a_verdict():
    runs, epochs = make_world("shared", 1)
    own = epochs["run"] == runs["run"].iloc[0]
    epochs.loc[own, "train_accuracy"] = 0.1  # below eps with nothing learned: no collapse
    (first,) = claim(claims_of(runs, epochs), "1")
    assert first.extra["verdict"] == "inconclusive"
    assert "without having learned" in first.extra["reason"]


def test_a_fall_below_fn_star_without_a_collapse_speaks_against_the_claim():
    runs, epochs = make_world("shared", 1)
    own = epochs["run"] == runs["run"].iloc[0]
    epochs.loc[own, "nc1"] = 0.5
    (first,) = claim(claims_of(runs, epochs), "1")
    assert first.extra["verdict"] == "inconclusive"
    assert first.extra["reason"] == "1 of 1 run without a collapse fell below fn*"
    (first,) = claim(claims_of(runs, epochs.assign(feature_norm=1 / epochs["feature_norm"])), "1")
    assert "1 of 1 run without a collapse rose above fn*" in first.extra["reason"]


def test_a_large_spread_refutes_one_norm_and_conditions_apart_refute_sameness():
    runs, epochs = make_world("shared", 1)
    condition = epochs["run"].str[1].astype(int)
    epochs["feature_norm"] *= 2.0**condition
    first, second = (claim(claims_of(runs, epochs), number)[0] for number in ("1", "2"))
    assert (first.extra["verdict"], second.extra["verdict"]) == ("refuted", "refuted")
    assert second.extra["reason"].startswith("fn* differs by more than 8% (weight_decay=")
    sure = re.fullmatch(r"off by > (\d+)%", second.extra["ours"])
    assert sure is not None
    assert 150 < int(sure[1]) < 100 * (2**1.5 - 1)  # the outer of four conditions, twice the next, is 1.5 steps off


def test_several_pairs_have_a_row_each_and_one_for_all():
    runs, epochs = make_world("shared", 1)
    again = runs[5:].assign(run="b-" + runs["run"], dataset="cifar10", run_id=runs["run_id"] + 100)
    both = pd.concat([runs, again], ignore_index=True)
    more = pd.concat([epochs, epochs.assign(run="b-" + epochs["run"])], ignore_index=True)
    combined, *each = claim(claims_of(both, more), "1")
    assert combined.group == {}
    assert [result.group["dataset"] for result in each] == ["mnist", "cifar10"]
    assert combined.extra["verdicts"] == {"not testable": 2}
    assert combined.n_runs == 35
    assert combined.extra["command"] == each[0].extra["command"] != each[1].extra["command"]  # that with more runs


def test_rescaled_runs_are_an_experiment_and_no_condition():
    runs, epochs = make_world("shared", 1, rescale=True)
    own = epochs["run"].str.contains("-x3")
    epochs.loc[own, "feature_norm"] *= 3  # they collapse at another norm
    first, second = (claim(claims_of(runs, epochs), number)[0] for number in ("1", "2"))
    assert first.n_runs == second.n_runs == 20
    assert (first.extra["verdict"], first.extra["reason"]) == ("refuted", "rescaled runs collapse at another norm")
    assert second.extra["verdict"] != "refuted"


def test_too_much_decay_prevents_nothing_where_runs_collapse_after_the_budget(make_frames, make_run):
    """All runs collapse; one of the highest decay ends before, and its end becomes the budget of all."""
    onsets = {1e-5: 40.0, 1e-4: 20.0, 1e-3: 35.0}
    made = {f"{d:g}-{s}": make_run(r + s / 2, weight_decay=d, epochs=400) for d, r in onsets.items() for s in range(4)}
    made["0.001-3"] = make_run(36.5, weight_decay=1e-3, epochs=120)
    runs, epochs = make_frames(made)
    (sixth,) = claim(claims_of(runs.assign(run_id=range(len(runs))), epochs), "6c")
    assert (sixth.extra["verdict"], sixth.extra["ours"]) == ("inconclusive", "2 of 3 (a, c)")
    assert "3 of 4 runs at weight decay 0.001 collapsed later than the common budget" in sixth.extra["reason"]
    assert sixth.extra["notes"][0].startswith("the common budget is 120 epochs, where 0.001-3 ends; 7 later onsets")


@pytest.mark.parametrize("narrow", [90.0, 35.0])
def test_a_width_that_never_collapsed_may_have_any_norm(make_frames, make_run, narrow):
    """Wider is earlier in both; whether fn* stays is known only where the narrowest width has an fn*."""
    rates = {64: narrow, 128: 31.0, 256: 26.0, 512: 22.0}
    made = {f"{w}-{s}": make_run(r + s / 4, width=w, norm=1 + s / 1000) for w, r in rates.items() for s in range(3)}
    runs, epochs = make_frames(made)
    (sixth,) = claim(claims_of(runs.assign(run_id=range(len(runs))), epochs), "6d")
    assert parts(sixth)["wider is earlier"]["shown"]
    moved = parts(sixth)["fn* moves by less than 13%"]
    if narrow == 90:
        assert (moved["shown"], sixth.extra["verdict"]) == (None, "not testable")
        assert moved["lacking"].endswith("two onsets at every width; onsets by width: 64: 0, 128: 3, 256: 3, 512: 3")
        assert sixth.extra["ours"].startswith("<=-")  # the change is at most that: the fall at least
    else:
        assert (moved["shown"], sixth.extra["verdict"]) == (True, "supported")
        assert "every doubling" not in sixth.extra["reason"]


@pytest.mark.parametrize(("count", "verdicts"), [(1, {"not testable", "inconclusive"}), (3, {"refuted"})])
def test_one_run_of_one_condition_does_not_refute(count, verdicts):
    """The last condition is one of `count` runs, and its norms are 2.2 times those of the others."""
    runs, epochs = make_world("shared", 1)
    last = runs["run"][runs["run"].str.startswith("c3")]
    kept = runs[~runs["run"].isin(last[count:])].reset_index(drop=True)
    epochs = epochs[epochs["run"].isin(kept["run"])].reset_index(drop=True)
    epochs.loc[epochs["run"].isin(last), "feature_norm"] *= 2.2
    first, second = (claim(claims_of(kept, epochs), number)[0] for number in ("1", "2"))
    assert {first.extra["verdict"], second.extra["verdict"]} <= verdicts
    if count == 3:
        assert "3 runs; with 95% confidence" in second.extra["reason"]


def test_runs_that_may_have_been_stopped_do_not_refute():
    """Half of the runs stop at eps 0.01, as imports do; at 0.009 their onsets are missing by design."""
    runs, epochs = make_world("shared", 1)
    epochs["feature_norm"] *= 2.0 ** epochs["run"].str[1].astype(int)  # far apart: claim 1 is refuted
    runs["epochs_done"], runs["epochs_planned"] = 400, pd.NA
    stopped = runs["run"].str[-4].astype(int) > 2
    below = epochs["nc1"] < 0.01
    first = epochs[below].groupby("run")["epoch"].min()
    cut = epochs["run"].isin(runs["run"][stopped]) & (epochs["epoch"] > epochs["run"].map(first))
    survey = {"rule": OnsetRule(eps=0.009, patience=1)}
    told = {}
    for origin in ("trained", "imported"):
        (found,) = claim(claims_of(runs.assign(origin=origin), epochs[~cut].reset_index(drop=True), **survey), "1")
        told[origin] = (found.extra["verdict"], found.extra["reason"])
    assert told["trained"][0] == "refuted"
    assert told["imported"][0] == "inconclusive"
    assert "runs may have been stopped by design before an onset at this eps" in told["imported"][1]


def test_a_relapse_is_told_beside_the_verdict():
    runs, epochs = make_world("shared", 1)
    some = epochs["run"].isin(runs["run"].iloc[:2]) & (epochs["epoch"] > 350)
    epochs.loc[some, "nc1"] = 0.05
    (first,) = claim(claims_of(runs, epochs), "1")
    assert first.extra["notes"] == ["2 of 20 collapsed runs were no longer below eps at the end"]


@pytest.mark.parametrize(("conditions", "told"), [(1, False), (3, True), (4, False)])
def test_runs_of_few_conditions_that_count_as_independent_are_said_to(conditions: int, told: bool):
    found = claims_of(*make_world("shared", 1, conditions=conditions))
    for number, what in (("1", "a fixed epoch"), ("2", "a fixed epoch"), ("3", "guessing")):
        (one,) = claim(found, number)
        note = f"the comparison with {what} takes the runs of {conditions} conditions as independent"
        assert (note in one.extra["notes"]) == told


def test_dependence_on_eps_is_called_so_only_where_it_is_shown():
    """fn falls by 30 % while NC1 falls from 2 eps to eps/2, in all four conditions or in two of them."""
    runs, epochs = make_world("shared", 1)
    share = np.clip(np.log(0.02 / epochs["nc1"]) / np.log(4), 0, 1)
    half = epochs["run"].str[1].astype(int) % 2
    told = {}
    for which, moved in (("all", 1), ("half", half)):
        (first,) = claim(claims_of(runs, epochs.assign(feature_norm=0.7 ** (share * moved) * 2)), "1")
        told[which] = (parts(first)["fn* does not depend on eps"]["lacking"], first)
    assert told["all"][0] == "fn* moves with eps (-29% from 2 eps to eps/2)"  # a line of ln fn cuts the corner
    assert told["half"][0].startswith("that fn* does not depend on eps is not shown (")
    assert "p = " in told["half"][0]
    refuted = told["all"][1]
    assert (refuted.extra["verdict"], refuted.extra["ours"]) == ("refuted", "fn* -29% with eps")


def test_one_condition_and_one_pair_are_not_tested_whatever_forbids_a_verdict():
    """All onsets at one evaluation, in one pair of one condition: nothing could have been shown of claims 2 and 5."""
    runs, epochs = make_world("shared", 1, conditions=1)
    epochs["nc1"] = np.where(epochs["epoch"] > 200, 0.001, 0.5)
    results = claims_of(runs, epochs.assign(lr=np.nan))
    assert [claim(results, number)[0].extra["verdict"] for number in ("2", "5")] == ["not testable"] * 2
    assert claim(results, "2")[0].extra["reason"] == "one condition"


@pytest.mark.parametrize(("apart", "also"), [(["up_control"], False), ([], True)])
def test_features_that_stay_apart_did_not_return(apart, also):
    """An arm that stays apart, or arms that meet while fn goes on moving: only of these is it said that fn returns."""
    said = {"different": [*apart, "drift"], "not_shown": ["drift"], "verdict": "refuted", "lacks": "", "blocked": []}
    said |= {"p_holm": 0.9, "family": 1, "returned": True}

    def evidence(**more):
        verdict = Result(question="attractor", quantity="verdict", group={}, extra={**said, **more})
        return next(returns({"attractor": [verdict]}, 0.05))

    assert evidence().contradicted == bool(apart)
    assert ("fn returns, but" in evidence().parts[0].lacking) == also
    for more in ({"not_shown": ["up_down", "drift"]}, {"returned": False}):
        assert "fn returns, but" not in evidence(**more).parts[0].lacking
        assert ("that it returns is not shown (up/" in evidence(**more).parts[0].lacking) == also


def test_of_losses_that_are_equally_rare_the_first_is_named():
    losses = [f"loss{number}" for number in range(20)]
    cells = [{"row": loss, "column": "digits", "losses": {loss: 1}} for loss in losses]
    extra = {"verdict": "not testable", "refused": "mixed_phases", "cells": cells}
    verdict = Result(question="additivity", quantity="verdict", group={}, status="not_testable", extra=extra)
    (evidence,) = not_additive({"additivity": [verdict]}, 0.05)
    assert evidence.blocked[0].endswith("(loss0 digits under loss0)")
