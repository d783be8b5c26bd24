"""The runs of a report as rows of plain values, and their epochs as packed columns.

A column is packed as Float32 in little-endian order, one after another, in the order of `CURVES`: about seven digits,
more than any screen shows. What is missing, and what was measured as NaN, is NaN.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.domain.records import UNFINISHED
from ncdiag.domain.result import plain

CURVES = (
    *("epoch", "feature_norm", "nc1", "nc2_equiangular", "nc3", "nc4"),
    *("train_accuracy", "test_accuracy", "train_loss", "test_loss", "test_nc1"),
)
_PLAIN = (
    *("run", "status", "arch", "depth", "width", "dataset", "weight_decay", "seed"),
    *("epochs_done", "epochs_planned"),
)
# What the page of a run lists, beside its nested configuration.
_FACTS = (
    *("origin", "source", "reason", "phases", "intervention", "device", "seconds", "started_at", "finished_at"),
    *("inexact", "data_sha256", "config"),
)
_TEXT_BYTES = 4 * len(CURVES) * 4 / 3  # what an evaluation takes in a page: Float32, in base64
_ONSET = ("state", "onset", "lo", "hi", "fn_star")
LATEST = ("feature_norm", "nc1", "train_accuracy", "test_accuracy")
# What of a row takes every epoch of a run to tell, as it is before they were read.
UNREAD: Mapping[str, Any] = {**dict.fromkeys(_ONSET), "condition": "", "band": None, "phases": []}


def run_rows(
    onsets: pd.DataFrame,
    epochs: pd.DataFrame,
    *,
    conditions: Sequence[str],
    bands: Mapping[int, tuple[float, float, float]],
) -> list[dict[str, Any]]:
    """Give a row per run: what a table shows of it, its newest metrics, its onset, its phases and its configuration.

    `onsets` is the table of `onset_table`, `epochs` the frame of the store, in its order; `conditions` the label of
    each run's condition, `bands` the interval of fn* (low, estimate, high) of the runs that have one, by id.
    """
    # of each column the last that was measured
    latest = epochs[["run_id", *LATEST]].groupby("run_id").last().reindex(onsets["run_id"])
    spans = _phases(epochs)
    newest = {name: latest[name].tolist() for name in LATEST}
    rows = []
    for place, run in enumerate(onsets.to_dict("records")):
        run_id = int(run["run_id"])
        row = {
            "id": run_id,
            **{name: plain_cell(run[name]) for name in (*_PLAIN, *_ONSET)},
            **{name: plain_cell(values[place]) for name, values in newest.items()},
            "unfinished": run["status"] in UNFINISHED,
            "condition": conditions[place],
            "band": list(bands[run_id]) if run_id in bands else None,
            "phases": spans.get(run_id, []),
            "facts": {name: value for name in _FACTS if (value := plain_cell(run[name])) not in (None, "")},
        }
        rows.append(plain(row))
    return rows


def keep_every(evaluations: int, most_bytes: float) -> int:
    """Say which evaluation of a run to keep, so that the curves of a page take at most so many bytes: 1 for all."""
    return max(math.ceil(evaluations * _TEXT_BYTES / most_bytes), 1)


def thin_out(epochs: pd.DataFrame, every: int) -> pd.DataFrame:
    """Give every so many-th evaluation of each run, counted from the last one, and the first."""
    runs = epochs.groupby("run_id", sort=False)
    before, after = runs.cumcount(), runs.cumcount(ascending=False)
    return epochs[(before == 0) | (after % every == 0)]


def packed_curves(epochs: pd.DataFrame) -> dict[int, bytes]:
    """Give the packed columns of each run by its id; `epochs` is the frame of the store, in its order."""
    values = np.column_stack([epochs[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in CURVES])
    with np.errstate(over="ignore"):  # beyond the range of Float32 is as good as infinite
        columns = values.astype("<f4")
    ids = epochs["run_id"].to_numpy(dtype=np.int64)
    bounds = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)] if len(ids) else []
    return {int(ids[start]): columns[start:stop].T.tobytes() for start, stop in pairwise(bounds)}


def as_text(packed: bytes) -> str:
    """Give packed columns as base64, which can stand in a page."""
    return base64.b64encode(packed).decode("ascii")


def _phases(epochs: pd.DataFrame) -> dict[int, list[list[Any]]]:
    """Give, by run, where each phase begins and what it is called: its loss, or its number.

    A phase begins at the last evaluation of what was before it, as in the figures; the first one at its own.
    """
    phase = epochs["phase"].to_numpy(dtype=np.float64, na_value=np.nan)
    ids = epochs["run_id"].to_numpy(dtype=np.int64)
    begins = np.ones(len(ids), dtype=bool)
    begins[1:] = (ids[1:] != ids[:-1]) | (phase[1:] != phase[:-1])
    found: dict[int, list[list[Any]]] = {}
    for place in np.flatnonzero(begins & np.isfinite(phase)).tolist():
        loss = epochs["loss"].iloc[place]
        name = f"phase {phase[place]:.0f}" if pd.isna(loss) else str(loss).upper()
        follows = place > 0 and ids[place - 1] == ids[place]
        found.setdefault(int(ids[place]), []).append([int(epochs["epoch"].iloc[place - follows]), name])
    return found


def plain_cell(value: Any) -> Any:
    """Give a cell of a frame as a plain value, None for what is missing; a time as text, a width without its point."""
    if isinstance(value, (dict, list)):
        return value
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat(timespec="seconds")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value
