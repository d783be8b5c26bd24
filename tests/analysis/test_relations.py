"""What may not change an answer: how runs lie in a store, their names, other pairs, the units of norm and time."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from worlds import make_world

from ncdiag.analysis import tournament_views
from ncdiag.analysis.asked import Asked
from ncdiag.analysis.forecasts import forecast_run
from ncdiag.analysis.repeats import drop_repeats
from ncdiag.analysis.stored import survey_store
from ncdiag.analysis.survey import Survey
from ncdiag.analysis.terms import Terms
from ncdiag.domain.forecast import Forecast
from ncdiag.domain.questions import QUESTIONS
from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs
from ncdiag.store.merging import merge_store

Frames = tuple[pd.DataFrame, pd.DataFrame]
# What is counted in epochs; all other figures are shares, ratios, counts and norms.
EPOCHS = {
    *(("lead", quantity) for quantity in ("lead", "mae", "landmark_mae")),
    *(("forecast", quantity) for quantity in ("mae", "seed_spread", "noise_floor")),
}
SETTINGS = ("arch", "depth", "width", "activation", "dataset", "optimizer", "lr", "weight_decay", "phases", "seed")


@pytest.fixture(scope="module")
def world() -> Frames:
    """Give more than 20 runs of a pair, so that tenths are held out; two end before they collapse."""
    runs, epochs = make_world("causal", 5, conditions=3, seeds=8)
    ends = np.where(epochs["run"].isin(["c0-s0-x1", "c1-s3-x1"]), 30, 400)
    return runs.assign(key=runs["run"]), epochs[epochs["epoch"] <= ends].reset_index(drop=True)


def answers(frames: Frames, questions: Sequence[str] = QUESTIONS) -> list[dict[str, Any]]:
    runs, epochs = frames

    def read(ids: Sequence[int], columns: Sequence[str]) -> pd.DataFrame:
        own = epochs["run"].isin(runs["run"][runs["run_id"].isin(ids)])
        return epochs.loc[own, [name for name in columns if name in epochs]].reset_index(drop=True)

    survey = Survey(
        runs=drop_repeats(runs, lambda ids: dict.fromkeys(ids, 1)), read=read, terms=Terms(), questions=tuple(questions)
    )
    return [result.to_dict() for question in questions for result in survey.results[question]]


def test_no_figure_depends_on_the_order_of_the_runs(world: Frames) -> None:
    runs, epochs = world
    order = np.random.default_rng(0).permutation(len(runs))
    moved = runs.iloc[order].assign(run_id=range(1, len(runs) + 1)).reset_index(drop=True)
    assert answers((moved, epochs)) == answers(world)


def test_in_another_unit_of_the_norm_all_is_the_same_but_the_norms(world: Frames) -> None:
    runs, epochs = world
    questions = ("threshold", "lead")
    scaled = answers((runs, epochs.assign(feature_norm=8 * epochs["feature_norm"])), questions)
    for plain, other in zip(answers(world, questions), scaled, strict=True):
        unit = 8 if plain["quantity"] == "fn_star" else 1
        for figure, factor in (("estimate", unit), ("lo", unit), ("hi", unit), ("p", 1)):
            expected = None if plain[figure] is None else pytest.approx(factor * plain[figure], rel=1e-9, abs=1e-9)
            assert other[figure] == expected
        assert (other["status"], other["warnings"]) == (plain["status"], plain["warnings"])


def test_a_store_that_was_merged_from_two_answers_like_the_whole(world: Frames, tmp_path: Path) -> None:
    runs, epochs = world
    tables = dict(list(epochs.groupby("run")))
    columns = ["epoch", "feature_norm", "nc1", "train_loss", "train_accuracy", "weight_norm"]
    imported = [
        ImportedRun(
            config={name: run[name] for name in SETTINGS},
            epochs=tuple(EpochRecord(**row) for row in tables[run["run"]][columns].to_dict("records")),
            source=str(run["run"]),
        )
        for run in runs.to_dict("records")
    ]
    found = []
    for first, rest in ((imported, []), (imported[1::2], imported[::2])):
        folder = tmp_path / str(len(rest))
        folder.mkdir()
        with open_store(str(folder / "a.db"), write=True) as a, open_store(str(folder / "b.db"), write=True) as b:
            import_runs(a, first)
            if rest:
                import_runs(b, rest)
                merge_store(a, b)
            results = survey_store(a, Terms(), ("lead", "threshold")).results
            found.append([result.to_dict() for some in results.values() for result in some])
    assert found[0] == found[1]


def test_other_names_of_runs_and_data_sets_change_nothing_but_themselves(world: Frames) -> None:
    runs, epochs = world
    names = {name: f"z{place:03}" for place, name in enumerate(reversed(runs["run"].tolist()))}
    renamed = (runs.assign(run=runs["run"].map(names), dataset="aaa"), epochs.assign(run=epochs["run"].map(names)))
    assert without_sentences(renamed).replace("aaa", "mnist") == without_sentences(world)


def without_sentences(frames: Frames) -> str:
    """Give all answers but what names runs and data sets in words."""
    words = ("command", "second_command", "notes", "warnings", "limited")
    return json.dumps([{key: value for key, value in one.items() if key not in words} for one in answers(frames)])


def test_another_pair_changes_no_figure_of_this_one(world: Frames) -> None:
    """But the p that are corrected over the pairs."""
    more, more_epochs = make_world("late", 9, conditions=2, seeds=3)
    more = more.assign(run="o" + more["run"], key="o" + more["run"], dataset="digits", run_id=1000 + more["run_id"])
    both = (
        pd.concat([more, world[0]], ignore_index=True),
        pd.concat([more_epochs.assign(run="o" + more_epochs["run"]), world[1]], ignore_index=True),
    )
    questions = ("threshold", "lead", "forecast")
    expected = answers(world, questions)
    found = [result for result in answers(both, questions) if result["group"]["dataset"] == "mnist"]
    for plain, other in zip(expected, found, strict=True):
        assert {**other, "p_holm": None, "family": None} == {**plain, "p_holm": None, "family": None}


def test_in_another_unit_of_time_all_is_the_same_but_the_epochs(world: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs are halved, and so is the published lead, which is the one figure in epochs that a contest begins with."""
    runs, epochs = world
    halved = epochs.assign(epoch=epochs["epoch"] // 2)
    assert (2 * halved["epoch"] == epochs["epoch"]).all()
    questions = ("threshold", "lead", "forecast")
    plain = answers(world, questions)
    monkeypatch.setattr(tournament_views, "PUBLISHED_LEAD", tournament_views.PUBLISHED_LEAD / 2)
    for before, after in zip(plain, answers((runs, halved), questions), strict=True):
        in_epochs = (before["question"], before["quantity"]) in EPOCHS
        for figure in ("estimate", "lo", "hi"):
            expected = None if before[figure] is None else pytest.approx(before[figure] / (1 + in_epochs), rel=1e-7)
            assert after[figure] == expected
        assert after["p"] == (None if before["p"] is None else pytest.approx(before["p"], rel=1e-7))
        assert (after["status"], after.get("verdict"), after.get("rule")) == (
            before["status"],
            before.get("verdict"),
            before.get("rule"),
        )


@pytest.mark.parametrize(("run", "now"), [("c0-s2-x1", 30), ("c1-s0-x1", 60), ("c2-s4-x1", 90)])
def test_a_forecast_is_the_same_in_other_units_of_time_and_of_the_norm(world: Frames, run: str, now: int) -> None:
    runs, epochs = world
    seen = epochs[(epochs["run"] != run) | (epochs["epoch"] <= now)]

    def forecast_of(epochs: pd.DataFrame) -> Forecast:
        return forecast_run(Asked(runs=runs, epochs=epochs, terms=Terms()), run)

    plain = forecast_of(seen)
    halved = forecast_of(seen.assign(epoch=seen["epoch"] // 2))
    scaled = forecast_of(seen.assign(feature_norm=8 * seen["feature_norm"]))
    assert plain.status == "forecast"
    for other, unit in ((halved, 0.5), (scaled, 1.0)):
        for name in ("onset", "lo", "hi", "mae", "mae_selected", "baseline_mae", "steady", "slowing"):
            assert getattr(other, name) == pytest.approx(unit * getattr(plain, name), rel=1e-9, nan_ok=True)
        for name in ("status", "rule", "runner_up", "method", "p_no_collapse", "p_no_collapse_lo", "p_no_collapse_hi"):
            assert getattr(other, name) == getattr(plain, name)
