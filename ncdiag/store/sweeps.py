"""Sweeps: a grid of runs, stored as a whole before the first of them is trained.

A grid is known by the keys of its runs in their order. Typing it again finds the sweep and its runs, trained or not;
runs that were removed meanwhile are planned anew, and runs that another sweep has made are used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from ncdiag.domain.records import Run
from ncdiag.domain.spec import RunSpec, hash_json
from ncdiag.store import schema
from ncdiag.store.handle import Store
from ncdiag.store.rows import runs_by_key, spec_columns
from ncdiag.store.runs import check_name, insert_runs, name_by_number, remember_data
from ncdiag.store.waiting import retried


@retried
def plan_sweep(
    store: Store,
    *,
    specs: Sequence[RunSpec],
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    data: Sequence[Mapping[str, Any]] | None = None,
) -> list[Run]:
    """Store a grid in one transaction, and give its runs in the order of `specs`, the known ones as they stand.

    Without a name a new sweep is called `sweep-<id>`; the name of another grid moves to this one. `config` is what the
    user asked for, in plain values; `data`, one for each spec, says where the data is (see `runs.add_run`).
    """
    if name is not None:
        check_name(name, kind="sweep")
    keys = [spec.key for spec in specs]
    places = dict(zip(keys, data or [{}] * len(keys), strict=True))
    with store.write() as connection:
        known = runs_by_key(store, connection, keys)
        for run in known.values():
            remember_data(connection, run, places[run.key])
        new = {key: spec for key, spec in zip(keys, specs, strict=True) if key not in known}
        insert_runs(store, connection, [spec_columns(spec, name=None, data=places[key]) for key, spec in new.items()])
        runs = runs_by_key(store, connection, keys)
        planned = [runs[key] for key in keys]
        _place(connection, _save_sweep(connection, name, hash_json(keys), dict(config or {})), planned)
        return planned


def _save_sweep(connection: Connection, name: str | None, key: str, config: dict[str, Any]) -> int:
    sweeps = schema.sweeps
    found: int | None = connection.scalar(select(sweeps.c.id).where(sweeps.c.key == key))
    if found is None and name is not None:  # a grid that has grown: its name stays, its runs are there already
        found = connection.scalar(select(sweeps.c.id).where(sweeps.c.name == name))
        connection.execute(update(sweeps).where(sweeps.c.id == found).values(key=key, config=config))
    elif name is not None:
        name_by_number(connection, sweeps, (sweeps.c.name == name) & (sweeps.c.id != found))
        connection.execute(update(sweeps).where(sweeps.c.id == found).values(name=name))
    if found is None:
        row = {"name": name or key, "key": key, "config": config, "created_at": schema.UtcNow()}
        connection.execute(insert(sweeps).values(**row))
        name_by_number(connection, sweeps, sweeps.c.name == sweeps.c.key)
        found = connection.execute(select(sweeps.c.id).where(sweeps.c.key == key)).scalar_one()
    return found


def _place(connection: Connection, sweep_id: int, runs: Sequence[Run]) -> None:
    points = schema.sweep_points
    rows = [{"sweep_id": sweep_id, "position": place, "run_id": run.id} for place, run in enumerate(runs)]
    connection.execute(delete(points).where(points.c.sweep_id == sweep_id))
    if rows:
        connection.execute(insert(points), rows)
