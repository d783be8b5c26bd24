import math
from collections.abc import Callable

import pytest
from recorded import append

from ncdiag.domain.records import EpochRecord, ImportedRun, Run
from ncdiag.store.engine import Store
from ncdiag.store.imports import import_runs
from ncdiag.store.runs import finish_run
from ncdiag.store.sampling import list_running, sample_curves


def imported(name: str, epochs: range, **values: Callable[[int], float | None]) -> ImportedRun:
    rows = (EpochRecord(epoch=epoch, **{key: value(epoch) for key, value in values.items()}) for epoch in epochs)
    return ImportedRun(name=name, config={"arch": "mlp", "dataset": name}, epochs=tuple(rows), source="made.csv")


def test_a_long_run_is_sampled_evenly_and_to_its_end(store: Store) -> None:
    import_runs(store, [imported("long", range(1, 1001), nc1=float, feature_norm=lambda epoch: -epoch)])
    found = sample_curves(store, ["long"], ["nc1", "feature_norm"], points=4)
    assert found == {"long": [(250.0, -250.0), (500.0, -500.0), (750.0, -750.0), (1000.0, -1000.0)]}


def test_a_short_run_is_given_whole_and_once(store: Store) -> None:
    import_runs(store, [imported("short", range(1, 4), nc1=float)])
    assert sample_curves(store, ["short"], ["nc1"], points=12) == {"short": [(1.0,), (2.0,), (3.0,)]}


def test_runs_that_are_evaluated_rarely_give_what_was_evaluated(store: Store) -> None:
    import_runs(store, [imported("rare", range(30, 100, 30), nc1=float)])  # at 30, 60 and 90
    assert sample_curves(store, ["rare"], ["nc1"], points=9) == {"rare": [(30.0,), (60.0,), (90.0,)]}


def test_equal_values_at_different_epochs_are_all_there(store: Store) -> None:
    import_runs(store, [imported("flat", range(1, 6), nc1=lambda _: 0.5)])
    assert sample_curves(store, ["flat"], ["nc1"], points=5) == {"flat": [(0.5,)] * 5}


def test_what_is_missing_or_not_finite_is_a_gap(store: Store) -> None:
    values = {1: 1.0, 2: math.nan, 3: None, 4: math.inf}
    import_runs(store, [imported("gaps", range(1, 5), nc1=values.__getitem__)])
    assert sample_curves(store, ["gaps"], ["nc1"], points=4) == {"gaps": [(1.0,), (None,), (None,), (None,)]}


def test_only_the_runs_that_are_named_are_read(store: Store) -> None:
    import_runs(store, [imported(f"run{number}", range(1, 3), nc1=float) for number in range(700)])
    assert sample_curves(store, ["run3", "run600", "none"], ["nc1"], points=2).keys() == {"run3", "run600"}
    assert len(sample_curves(store, [f"run{number}" for number in range(700)], ["nc1"], points=2)) == 700
    assert sample_curves(store, [], ["nc1"], points=2) == {}


def test_running_is_who_is_trained_now(store: Store, running: Run, owner: str) -> None:
    import_runs(store, [imported("done", range(1, 3), nc1=float)])
    assert [run.name for run in list_running(store)] == [running.name]
    append(store, running, EpochRecord(epoch=1, nc1=0.5), owner=owner)
    assert list_running(store)[0].epochs_done == 1
    finish_run(store, running.id, owner=owner, status="done")
    assert list_running(store) == []


def test_a_run_whose_process_is_gone_is_not_running(
    store: Store, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ncdiag.store.rows.is_lost", lambda *_, **__: True)
    assert list_running(store) == []
