import json

import pytest
from recorded import sweeps_of
from sqlalchemy import text

from ncdiag.errors import SpecError
from ncdiag.store.runs import add_run, get_run, list_runs, remove_runs
from ncdiag.store.sweeps import plan_sweep


def test_a_grid_is_stored_in_its_order(store, make_spec):
    specs = [make_spec(seed=seed, weight_decay=decay) for decay in (1e-4, 1e-5) for seed in (2, 0, 1)]

    runs = plan_sweep(store, name="decay", config={"seed": "0:3"}, specs=specs)

    assert [run.key for run in runs] == [spec.key for spec in specs]
    assert [run.name for run in runs] == [f"run-{number}" for number in range(1, 7)]
    assert sweeps_of(store) == {"decay": tuple(run.id for run in runs)}
    with store.read() as connection:
        assert json.loads(connection.scalar(text("SELECT config FROM sweeps"))) == {"seed": "0:3"}


def test_the_same_grid_again_finds_its_runs(store, make_spec):
    specs = [make_spec(seed=seed) for seed in range(3)]
    first = plan_sweep(store, specs=specs)
    assert plan_sweep(store, specs=specs) == first
    assert list(sweeps_of(store)) == ["sweep-1"]
    assert len(list_runs(store)) == 3


def test_runs_that_are_there_are_used_and_removed_ones_planned_anew(store, make_spec):
    add_run(store, make_spec(seed=1), name="alone")
    specs = [make_spec(seed=seed) for seed in range(3)]
    names = [run.name for run in plan_sweep(store, specs=specs)]
    assert names == ["run-2", "alone", "run-3"]

    remove_runs(store, ["alone"])
    assert sweeps_of(store) == {"sweep-1": (2, 3)}
    assert [run.name for run in plan_sweep(store, specs=specs)] == ["run-2", "run-4", "run-3"]
    assert sweeps_of(store) == {"sweep-1": (2, 4, 3)}


def test_a_grid_that_grows_keeps_its_name_and_runs(store, make_spec):
    plan_sweep(store, name="mine", specs=[make_spec(seed=seed) for seed in range(2)])
    grown = plan_sweep(store, name="mine", specs=[make_spec(seed=seed) for seed in range(3)])
    assert sweeps_of(store) == {"mine": (1, 2, 3)}
    assert [run.id for run in grown] == [1, 2, 3]


def test_a_grid_that_is_there_gets_the_name_that_is_said_now(store, make_spec):
    small, large = ([make_spec(seed=seed) for seed in range(number)] for number in (1, 2))
    plan_sweep(store, specs=small)
    plan_sweep(store, name="mine", specs=large)
    plan_sweep(store, specs=large)
    assert sweeps_of(store) == {"sweep-1": (1,), "mine": (1, 2)}
    plan_sweep(store, name="mine", specs=small)
    assert sweeps_of(store) == {"mine": (1,), "sweep-2": (1, 2)}


def test_data_is_said_point_by_point(store, make_spec):
    plan_sweep(store, specs=[make_spec(seed=0), make_spec(seed=1)], data=[{"path": "/a"}, {"path": "/b"}])
    plan_sweep(store, specs=[make_spec(seed=1)], data=[{"path": "/moved"}])
    assert get_run(store, "run-1").data == {"path": "/a"}
    assert get_run(store, "run-2").data == {"path": "/moved"}


def test_a_grid_is_stored_whole_or_not_at_all(store, make_spec, monkeypatch):
    def fail(*args):
        raise OSError("the disk is gone")

    monkeypatch.setattr("ncdiag.store.sweeps._place", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        plan_sweep(store, specs=[make_spec(seed=seed) for seed in range(3)])
    assert list_runs(store) == []
    assert sweeps_of(store) == {}


def test_a_grid_of_thousands_of_runs(store, make_spec):
    specs = [make_spec(seed=seed) for seed in range(2500)]
    runs = plan_sweep(store, specs=specs)
    assert [run.seed for run in runs] == list(range(2500))
    assert [run.id for run in plan_sweep(store, specs=specs[::-1])] == list(range(2500, 0, -1))


def test_a_sweep_has_a_name_like_a_run(store, make_spec):
    with pytest.raises(SpecError, match=r"the sweep name '\.\./x' cannot be used"):
        plan_sweep(store, name="../x", specs=[make_spec()])
    with pytest.raises(SpecError, match="sweep-3 is kept"):
        plan_sweep(store, name="sweep-3", specs=[make_spec()])
    assert sweeps_of(store) == {}
