"""What may not change an answer: how the same runs lie in a store, and the unit of the feature norm."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from worlds import make_world

from ncdiag.analysis.repeats import drop_repeats
from ncdiag.analysis.stored import survey_store
from ncdiag.analysis.survey import QUESTIONS, Survey
from ncdiag.domain.onset import OnsetRule
from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs
from ncdiag.store.merging import merge_store

Frames = tuple[pd.DataFrame, pd.DataFrame]
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

    survey = Survey(runs=drop_repeats(runs), read=read, rule=OnsetRule(), questions=tuple(questions))
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
            results = survey_store(a, rule=OnsetRule(), questions=("lead", "threshold")).results
            found.append([result.to_dict() for some in results.values() for result in some])
    assert found[0] == found[1]
