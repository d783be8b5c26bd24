import pytest

from ncdiag.analysis.selection import select_runs
from ncdiag.errors import AnalysisError


def test_the_filter_sees_the_columns_of_the_store(make_frames):
    runs, _ = make_frames({"a": {"depth": 5}, "b": {"depth": None}, "c": {"depth": 7, "dataset": "digits"}})
    assert select_runs(runs, "depth>=5 and dataset=mnist")["run"].tolist() == ["a"]
    assert select_runs(runs, "depth=none")["run"].tolist() == ["b"]
    assert select_runs(runs, "")["run"].tolist() == ["a", "b", "c"]
    assert select_runs(runs, "seed in (0, 2)")["run"].tolist() == ["a", "c"]


def test_no_runs_stay_no_runs(make_frames):
    runs, _ = make_frames({})
    found = select_runs(runs, "depth=5")
    assert len(found) == 0
    assert list(found.columns) == list(runs.columns)


def test_a_mistake_is_named_even_where_there_is_nothing_to_filter(make_frames):
    with pytest.raises(AnalysisError):
        select_runs(make_frames({})[0], "detph=5")
