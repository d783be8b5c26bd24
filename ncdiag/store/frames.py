"""Runs and epochs as DataFrames, for analysis, export and plots.

The first columns are those of the views `public_runs` and `public_epochs`, which docs/store.md describes. Whole
numbers are `Int64`, other numbers `float64` with NaN and infinities as they were measured, times are
`datetime64[us, UTC]`, everything else is `object` with None for what is missing.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Boolean, Column, Double, Integer, Select, select
from sqlalchemy.sql.type_api import TypeEngine

from ncdiag.store import schema
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
    *("feature_norm_centred", "nc1_rank", "cdnv", "nc2_etf", "nc3_duality", "nonfinite", "run_id"),
)
_RENAMED = {"run": "name", "run_id": "id"}
_RUN_SELECTION: list[Column[Any]] = [schema.runs.c[_RENAMED.get(name, name)] for name in RUN_COLUMNS]
_EPOCH_SELECTION: list[Column[Any]] = [
    schema.runs.c.name if name == "run" else schema.epochs.c[name] for name in EPOCH_FRAME_COLUMNS
]


def runs_frame(store: Store, run_ids: Sequence[int] | None = None) -> pd.DataFrame:
    """Give one row per run, in the order of their ids, with the columns `RUN_COLUMNS`; without ids, all runs.

    `status` is the one that is true now, `lost` included.
    """
    runs = schema.runs
    query = select(*_RUN_SELECTION, runs.c.owner, runs.c.host, runs.c.heartbeat_at, schema.UtcNow().label("clock"))
    rows = _read(store, query.order_by(runs.c.id), runs.c.id, run_ids)
    frame = _frame(rows, RUN_COLUMNS, _RUN_SELECTION)
    names = [*(column.name for column in _RUN_SELECTION), "owner", "host", "heartbeat_at", "clock"]
    statuses = (status_of(store, dict(zip(names, row, strict=True))) for row in rows)
    frame["status"] = pd.Series([str(status) for status in statuses], dtype=object)
    return frame


def epochs_frame(store: Store, run_ids: Sequence[int] | None = None) -> pd.DataFrame:
    """Give one row per stored epoch, by run id and epoch, with the columns `EPOCH_FRAME_COLUMNS`.

    A NaN that was measured is told from one that means "not measured" by `nonfinite`: a dictionary such as
    `{"nc1": "inf", "nc4": "nan"}`, or None.
    """
    epochs = schema.epochs
    query = select(*_EPOCH_SELECTION).join(schema.runs).order_by(epochs.c.run_id, epochs.c.epoch)
    rows = _read(store, query, epochs.c.run_id, run_ids)
    frame = _frame(rows, EPOCH_FRAME_COLUMNS, _EPOCH_SELECTION)
    strange: dict[str, dict[int, float]] = defaultdict(dict)
    for number, words in enumerate(frame["nonfinite"]):
        for name, word in (words or {}).items():
            strange[name][number] = float(word)
    for name, values in strange.items():
        column = frame[name].to_numpy(copy=True)
        column[list(values)] = list(values.values())
        frame[name] = column
    return frame


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
