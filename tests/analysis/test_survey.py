import pandas as pd
import pytest
from worlds import make_world

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.families import with_holm
from ncdiag.analysis.leads import lead_family, lead_results
from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.survey import Survey
from ncdiag.analysis.terms import Terms
from ncdiag.analysis.thresholds import threshold_results
from ncdiag.analysis.trajectories import trajectories
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.domain.questions import QUESTIONS


@pytest.fixture(scope="module")
def two_pairs():
    """Runs of two pairs, whose rows take turns."""
    runs, epochs = make_world("shared", 0, conditions=2, seeds=3)
    again = runs.assign(run="b-" + runs["run"], dataset="cifar10")
    both = pd.concat([runs, again]).sort_index(kind="stable").reset_index(drop=True)
    both["run_id"] = range(1, len(both) + 1)
    return both, pd.concat([epochs, epochs.assign(run="b-" + epochs["run"])], ignore_index=True)


def survey_of(runs, epochs, questions, asked=None, **options):
    def read(ids, columns):
        names = runs["run"][runs["run_id"].isin(ids)]
        if asked is not None:
            asked.append((list(ids), tuple(columns)))
        return epochs.loc[epochs["run"].isin(names), [name for name in columns if name in epochs]]

    return Survey(runs=runs, read=read, terms=Terms(**options), questions=questions)


def test_a_pair_at_a_time_gives_what_all_at_once_gives(two_pairs):
    runs, epochs = two_pairs
    found = survey_of(runs, epochs, ("threshold", "lead"))
    table = onset_table(runs, epochs, OnsetRule())
    pd.testing.assert_frame_equal(found.onsets, table)
    expected = threshold_results(table, trajectories(epochs, "nc1"), Terms())
    got = {(r.quantity, r.group["dataset"]): r for r in found.results["threshold"]}
    for result in expected:
        same = got[result.quantity, result.group["dataset"]]
        assert (same.estimate, same.lo, same.hi, same.n_runs) == (result.estimate, result.lo, result.hi, result.n_runs)
    leads = with_holm(lead_results(Asked(runs=runs, epochs=epochs, terms=Terms())), lead_family)
    assert [r.to_dict() for r in found.results["lead"]] == [r.to_dict() for r in leads]


def test_each_pair_is_read_once_for_all_questions(two_pairs):
    asked = []
    found = survey_of(*two_pairs, QUESTIONS, asked)
    assert list(found.results) == list(QUESTIONS)
    assert [len(ids) for ids, _ in asked] == [6, 6]


def test_only_what_a_question_needs_is_read(two_pairs):
    asked = []
    _ = survey_of(*two_pairs, ("threshold",), asked).results
    assert all("weight_norm" not in columns for _, columns in asked)
    assert list(survey_of(*two_pairs, ("threshold",)).results) == ["threshold"]


def changed(make_frames, make_run, intervention="3@50"):
    """Four runs of one norm, of which one or all were rescaled, and have twice that norm."""
    runs = {f"r{i}": make_run(20.0 + i, norm=1 + i / 100) for i in range(3)}
    runs["up"] = make_run(30.0, norm=2.0, intervention=intervention)
    frames = make_frames(runs)
    return frames[0].assign(run_id=range(1, 5)), frames[1]


@pytest.mark.parametrize(
    ("intervention", "where", "n_runs", "left_out"),
    [("3@50", "", 3, 1), ("3@50", "intervention!=none or arch=mlp", 4, 0), ("1@50", "", 4, 0)],
)
def test_rescaled_runs_are_no_part_of_fn_star_and_lead(make_frames, make_run, intervention, where, n_runs, left_out):
    runs, epochs = changed(make_frames, make_run, intervention)
    found = survey_of(runs, epochs, ("threshold", "lead", "forecast", "claims"), where=where)
    fn_star = found.results["threshold"][0]
    assert (fn_star.n_runs, int(found.left_out.sum())) == (n_runs, left_out)
    assert {result.n_runs for name in ("lead", "forecast") for result in found.results[name]} == {n_runs}
    said = [caution for caution in fn_star.warnings if "left out" in caution]
    assert len(said) == left_out
    assert fn_star.extra["mean"] == pytest.approx(1.01 if n_runs == 3 else (3 * 1.01 + 2) / 4)
    first = next(result for result in found.results["claims"] if result.quantity == "claim_1")
    assert first.n_runs == (3 if intervention == "3@50" else 4)  # whatever was asked for


def test_a_pair_of_rescaled_runs_alone_is_answered(make_frames, make_run):
    runs, epochs = changed(make_frames, make_run)
    runs["intervention"] = "3@50"
    found = survey_of(runs, epochs, ("threshold",))
    assert found.results["threshold"][0].n_runs == 4
    assert not found.left_out.any()
