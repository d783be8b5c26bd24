import math
import signal
from dataclasses import replace

import pytest
from sqlalchemy import event

from ncdiag.domain.records import EpochRecord, ImportedRun, RunStatus
from ncdiag.errors import DataError, SpecError
from ncdiag.execution.signals import stops_stored
from ncdiag.store.epochs import list_epochs
from ncdiag.store.imports import import_runs
from ncdiag.store.rows import measured_columns
from ncdiag.store.runs import add_run, claim_run, list_runs


def trajectory(*, name=None, source="a.csv", nc1=0.5, **config):
    epochs = (EpochRecord(epoch=10, nc1=nc1, seconds=2.0), EpochRecord(epoch=20, nc1=math.nan, feature_norm=1.05))
    return ImportedRun(
        name=name, config={"arch": "mlp", "depth": 5, "width": 512, **config}, epochs=epochs, source=source
    )


def test_an_imported_run_is_done_and_holds_what_was_said(store):
    said = trajectory(
        name="depth5_s1", weight_decay=1e-4, phases="ce:200,mse:400", note="x'; DROP TABLE runs;--", lr=None
    )

    (run,) = import_runs(store, [said]).runs

    assert (run.name, run.origin, run.status, run.source) == ("depth5_s1", "imported", RunStatus.DONE, "a.csv")
    assert (run.arch, run.depth, run.width, run.weight_decay, run.lr) == ("mlp", 5, 512.0, 1e-4, None)
    assert (run.phases, run.epochs_done, run.epochs_planned, run.seconds) == ("ce:200,mse:400", 20, None, 2.0)
    assert run.config["note"] == "x'; DROP TABLE runs;--"
    first, second = list_epochs(store, run.id)
    assert first == said.epochs[0]
    assert math.isnan(second.nc1)
    assert second.feature_norm == 1.05


def test_seconds_that_are_no_number_count_for_nothing(store):
    epochs = tuple(EpochRecord(epoch=n, seconds=s) for n, s in enumerate((1.5, math.nan, math.inf, None, 0.25)))
    (run,) = import_runs(store, [ImportedRun(config={}, epochs=epochs, source="a.csv")]).runs
    assert run.seconds == 1.75
    assert list_epochs(store, run.id)[2].seconds == math.inf


def test_a_run_that_is_yet_to_be_trained_here_does_not_take_in_what_was_trained_elsewhere(store, make_spec):
    spec = make_spec()
    add_run(store, spec, name="begun")
    trained = ImportedRun(config={}, epochs=(EpochRecord(epoch=1),), source="runs.csv", spec=spec)
    with pytest.raises(SpecError, match="begun is one of these runs, and is not at its end here; nothing was imported"):
        import_runs(store, [trajectory(), trained])
    assert [run.name for run in list_runs(store)] == ["begun"]


def test_a_run_that_had_not_ended_is_found_again(store):
    run = replace(trajectory(), status=RunStatus.INTERRUPTED, reason="running when it was exported")
    (made,) = import_runs(store, [run]).runs
    assert (made.status, made.reason) == (RunStatus.INTERRUPTED, "running when it was exported")
    again = import_runs(store, [run])
    assert (again.runs, again.new) == ([made], frozenset())


def test_an_import_that_is_asked_to_stop_ends_after_the_run_in_hand_and_leaves_nothing(store, monkeypatch):
    stored = []

    def stop(record):
        stored.append(record)
        signal.raise_signal(signal.SIGTERM)
        return measured_columns(record)

    monkeypatch.setattr("ncdiag.store.imports.measured_columns", stop)
    several = [trajectory(nc1=nc1) for nc1 in (0.5, 0.25, 0.125)]
    with stops_stored(), pytest.raises(SystemExit):
        import_runs(store, several)
    assert (stored, list_runs(store)) == ([*several[0].epochs], [])


def test_importing_again_finds_the_runs(store):
    first = import_runs(store, [trajectory(name="a"), trajectory(nc1=0.25)])
    assert [run.name for run in first.runs] == ["a", "run-2"]

    moved = trajectory(name="other", source="elsewhere.csv")
    again = import_runs(store, [trajectory(nc1=0.25), moved, trajectory(nc1=7.0)])
    assert again.runs[:2] == first.runs[::-1]
    assert (first.new, again.new) == ({run.key for run in first.runs}, {trajectory(nc1=7.0).key})
    assert len(list_runs(store)) == 3


def test_the_content_is_the_identity():
    assert trajectory(width=512).key == trajectory(width=512.0).key == trajectory(lr=None).key
    others = [
        trajectory(nc1=0.25),
        trajectory(nc1=math.inf),
        trajectory(nc1=None),
        trajectory(seed=1),
        trajectory(x="y"),
    ]
    assert len({run.key for run in [trajectory(), *others]}) == 6


def test_twice_the_same_in_one_import_is_one_run(store):
    first, second = import_runs(store, [trajectory(), trajectory()]).runs
    assert first == second
    assert len(list_epochs(store, first.id)) == 2


def test_of_two_names_for_the_same_the_first_is_kept(store):
    assert [run.name for run in import_runs(store, [trajectory(name="a"), trajectory(name="b")]).runs] == ["a", "a"]


def test_no_statement_holds_the_epochs_of_several_runs(store):
    held: list[int] = []

    def look(connection, cursor, statement, parameters, context, executemany):
        if statement.startswith("INSERT INTO epochs"):
            held.append(len(parameters) if executemany else 1)

    event.listen(store.engine, "before_cursor_execute", look)
    import_runs(store, [trajectory(), trajectory(nc1=0.25), trajectory(nc1=0.75)])
    assert held == [2, 2, 2]


@pytest.mark.parametrize("name", ["run-9", "taken", "a/b"])
def test_an_import_is_all_or_nothing(store, make_spec, name):
    add_run(store, make_spec(), name="taken")
    with pytest.raises(SpecError, match=name):
        import_runs(store, [trajectory(), trajectory(name=name, nc1=0.25)])
    assert [run.name for run in list_runs(store)] == ["taken"]


def test_two_new_runs_cannot_share_a_name(store):
    with pytest.raises(SpecError, match="the name a is given to two runs"):
        import_runs(store, [trajectory(name="a"), trajectory(name="a", nc1=0.25)])
    assert list_runs(store) == []


def test_an_imported_run_is_never_trained(store):
    (run,) = import_runs(store, [trajectory()]).runs
    assert not claim_run(store, run.id, owner="me", device="cpu", environment={})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"depth": "five"}, "depth must be a whole number, not 'five'"),
        ({"depth": True}, "depth must be a whole number, not True"),
        ({"depth": 5.0}, "depth must be a whole number, not 5.0"),
        ({"depth": 2**31}, "depth must be a whole number up to 2147483647"),
        ({"width": "wide"}, "width must be a number, not 'wide'"),
        ({"lr": math.nan}, "lr must be a finite number, not nan"),
        ({"arch": 5}, "arch must be text, not 5"),
        ({"other": math.inf}, "other must be a finite number, not inf"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(config, message):
    with pytest.raises(SpecError, match=message):
        ImportedRun(config=config, epochs=(EpochRecord(epoch=1),), source="a.csv")


@pytest.mark.parametrize("epochs", [(), (2, 1), (1, 1), (-1,), (2**31,)])
def test_epochs_must_rise(epochs):
    with pytest.raises(DataError, match=r"a\.csv"):
        ImportedRun(config={}, epochs=tuple(EpochRecord(epoch=epoch) for epoch in epochs), source="a.csv")
