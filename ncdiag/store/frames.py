"""Runs and epochs as DataFrames, for analysis, export and plots.

The first columns are those of the views `public_runs` and `public_epochs`, which docs/store.md describes. Whole
numbers are `Int64`, other numbers `float64` with NaN and infinities as they were measured, times are
`datetime64[us, UTC]`, everything else is `object` with None for what is missing.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Boolean, Column, Double, Integer, Select, func, literal, select
from sqlalchemy.sql.type_api import TypeEngine

from ncdiag.domain.other_settings import other_settings
from ncdiag.store import schema
from ncdiag.store.faults import decoded
from ncdiag.store.handle import Store
from ncdiag.store.rows import chunked, status_of

RUN_COLUMNS = (
    *("run", "status", "arch", "depth", "width", "activation", "dataset", "train_size", "optimizer", "lr"),
    *("weight_decay", "batch_size", "seed", "phases", "epochs_done", "device", "started_at", "seconds"),
    *("run_id", "key", "origin", "reason", "source", "momentum", "schedule", "intervention", "epochs_planned"),
    *("data_sha256", "inexact", "created_at", "finished_at", "config"),
)
EPOCH_FRAME_COLUMNS = (
    *("run", "epoch", "phase", "loss", "lr", "seconds", "train_loss", "train_accuracy", "test_accuracy"),
    *("feature_norm", "nc1", "nc1_pinv", "nc2_equinorm", "nc2_equiangular", "nc3", "nc4", "weight_norm"),
    *("feature_norm_centred", "nc1_rank", "cdnv", "nc2_etf", "nc3_duality"),
    *("test_loss", "test_feature_norm", "test_nc1", "nonfinite", "run_id"),
)
_RENAMED = {"run": "name", "run_id": "id"}
_RUN_SELECTION: list[Column[Any]] = [schema.runs.c[_RENAMED.get(name, name)] for name in RUN_COLUMNS]


def runs_frame(store: Store, run_ids: Sequence[int] | None = None) -> pd.DataFrame:
    """Give one row per run, in the order of their ids: `RUN_COLUMNS`, then `other`; without ids, all runs.

    `status` is the one that is true now, `lost` included; `other` are the `other_settings` of the run.
    """
    runs = schema.runs
    query = select(*_RUN_SELECTION, runs.c.owner, runs.c.host, runs.c.heartbeat_at, schema.UtcNow().label("clock"))
    rows = _read(store, query.order_by(runs.c.id), runs.c.id, run_ids)
    with decoded(store.label):
        frame = _frame(rows, RUN_COLUMNS, _RUN_SELECTION)
    names = [*(column.name for column in _RUN_SELECTION), "owner", "host", "heartbeat_at", "clock"]
    statuses = (status_of(store, dict(zip(names, row, strict=True))) for row in rows)
    frame["status"] = pd.Series([str(status) for status in statuses], dtype=object)
    frame["other"] = pd.Series([other_settings(config) for config in frame["config"]], dtype=object)
    return frame


def epochs_frame(
    store: Store,
    run_ids: Sequence[int] | None = None,
    columns: Sequence[str] = EPOCH_FRAME_COLUMNS,
    *,
    after: int = -1,
) -> pd.DataFrame:
    """Give one row per stored epoch, by run id and epoch, with some of the columns `EPOCH_FRAME_COLUMNS`, or all.

    Only the epochs after `after` are read.

    A NaN that was measured is told from one that means "not measured" by `nonfinite`: a dictionary such as
    `{"nc1": "inf", "nc4": "nan"}`, or None.
    """
    epochs, runs = schema.epochs, schema.runs
    with store.read() as connection:
        query = _epoch_query(columns).where(epochs.c.epoch > after)
        parts = _parts(query, epochs.c.run_id, run_ids)
        cursors = (cast(Iterable[Any], connection.execute(part).cursor) for part in parts)
        read = [np.fromiter(cursor, dtype=_row_type(columns)) for cursor in cursors]
        named = [connection.execute(part).all() for part in _parts(select(runs.c.id, runs.c.name), runs.c.id, run_ids)]
    rows = read[0] if len(read) == 1 else np.concatenate([np.empty(0, dtype=_row_type(columns)), *read])
    names = {int(run_id): str(name) for part in named for run_id, name in part}
    with decoded(store.label):
        strange = _strange_values(rows["nonfinite"])
        return pd.DataFrame({name: _epoch_column(name, rows, names, strange) for name in columns})


def _read_columns(columns: Sequence[str]) -> list[Column[Any]]:
    wanted = [name for name in columns if name not in ("run", "run_id", "nonfinite")]
    return [schema.epochs.c[name] for name in ("run_id", *wanted, "nonfinite")]


def _epoch_query(columns: Sequence[str]) -> Select[Any]:
    """Select epochs with a number in every cell for one: infinity, which no column holds, where nothing is stored."""
    cells = [
        func.coalesce(cell, literal(math.inf, Double)) if isinstance(cell.type, (Double, Integer)) else cell
        for cell in _read_columns(columns)
    ]
    return select(*cells).order_by(schema.epochs.c.run_id, schema.epochs.c.epoch)


def _row_type(columns: Sequence[str]) -> np.dtype[np.void]:
    """Give the type of a row of numbers: millions of rows go into an array without becoming Python objects."""
    kinds = [
        (cell.name, np.float64 if isinstance(cell.type, (Double, Integer)) else object)
        for cell in _read_columns(columns)
    ]
    return np.dtype(kinds)


def _epoch_column(
    name: str, rows: NDArray[np.void], names: Mapping[int, str], strange: Mapping[int, Mapping[str, str]]
) -> Any:
    if name == "run":
        known, number = np.unique(rows["run_id"], return_inverse=True)
        named = np.array([names[int(run_id)] for run_id in known], dtype=object)
        return pd.Series(named[number], dtype=object)
    if name == "nonfinite":
        column = np.full(len(rows), None, dtype=object)
        column[list(strange)] = list(strange.values())
        return pd.Series(column, dtype=object)
    values = rows[name]
    if values.dtype == object:
        return pd.Series(values, dtype=object)
    missing = np.isinf(values)
    if isinstance(schema.epochs.c[name].type, Integer):
        return pd.arrays.IntegerArray(np.where(missing, 1, values).astype(np.int64), missing)
    measured = np.where(missing, np.nan, values)
    for row, words in strange.items():
        if name in words:
            measured[row] = float(words[name])
    return measured


def _strange_values(texts: NDArray[np.object_]) -> dict[int, dict[str, str]]:
    """Give the rows that hold a NaN or an infinity that was measured: in which columns, and which."""
    rows = np.flatnonzero(texts != None).tolist()  # noqa: E711  # elementwise
    return {row: json.loads(texts[row]) for row in rows}


def _read(store: Store, query: Select[Any], ids: Column[Any], run_ids: Sequence[int] | None) -> list[tuple[Any, ...]]:
    with store.read() as connection:
        return [tuple(row) for part in _parts(query, ids, run_ids) for row in connection.execute(part).all()]


def _parts(query: Select[Any], ids: Column[Any], run_ids: Sequence[int] | None) -> Iterator[Select[Any]]:
    if run_ids is None:
        yield query
    else:
        for some in chunked(sorted({int(run_id) for run_id in run_ids})):
            yield query.where(ids.in_(some))


def _frame(rows: Sequence[tuple[Any, ...]], names: Sequence[str], selection: Sequence[Column[Any]]) -> pd.DataFrame:
    columns = list(zip(*rows, strict=True))[: len(names)] if rows else [()] * len(names)
    return pd.DataFrame(
        {name: _array(values, column.type) for name, values, column in zip(names, columns, selection, strict=True)}
    )


def _array(values: Sequence[Any], kind: TypeEngine[Any]) -> Any:
    if isinstance(kind, Double):
        return np.array(values, dtype=np.float64)  # None becomes NaN
    if isinstance(kind, Integer):
        return pd.array(values, dtype="Int64")
    if isinstance(kind, Boolean):
        return np.array(values, dtype=bool)
    if isinstance(kind, schema.UtcDateTime):
        return pd.Series(pd.to_datetime(list(values), utc=True)).astype("datetime64[us, UTC]")
    return pd.Series(list(values), dtype=object)
