import pandas as pd
import pytest
from worlds import make_world

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.leads import lead_results
from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.survey import QUESTIONS, Survey
from ncdiag.analysis.thresholds import threshold_results
from ncdiag.analysis.trajectories import trajectories
from ncdiag.domain.onset import OnsetRule


@pytest.fixture(scope="module")
def two_pairs():
    """Runs of two pairs, whose rows take turns."""
    runs, epochs = make_world("shared", 0, conditions=2, seeds=3)
    again = runs.assign(run="b-" + runs["run"], dataset="cifar10")
    both = pd.concat([runs, again]).sort_index(kind="stable").reset_index(drop=True)
    both["run_id"] = range(1, len(both) + 1)
    return both, pd.concat([epochs, epochs.assign(run="b-" + epochs["run"])], ignore_index=True)


def survey_of(runs, epochs, questions, asked=None):
    def read(ids, columns):
        names = runs["run"][runs["run_id"].isin(ids)]
        if asked is not None:
            asked.append((list(ids), tuple(columns)))
        return epochs.loc[epochs["run"].isin(names), [name for name in columns if name in epochs]]

    return Survey(runs=runs, read=read, rule=OnsetRule(), questions=questions)


def test_a_pair_at_a_time_gives_what_all_at_once_gives(two_pairs):
    runs, epochs = two_pairs
    found = survey_of(runs, epochs, ("threshold", "lead"))
    table = onset_table(runs, epochs, OnsetRule())
    pd.testing.assert_frame_equal(found.onsets, table)
    expected = threshold_results(table, trajectories(epochs, "nc1"), rule=OnsetRule())
    got = {(r.quantity, r.group["dataset"]): r for r in found.results["threshold"]}
    for result in expected:
        same = got[result.quantity, result.group["dataset"]]
        assert (same.estimate, same.lo, same.hi, same.n_runs) == (result.estimate, result.lo, result.hi, result.n_runs)
    leads = lead_results(Asked(runs=runs, epochs=epochs, rule=OnsetRule()))
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
