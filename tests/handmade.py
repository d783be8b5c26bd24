"""Reports whose runs and curves a test makes up, without a store."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ncdiag.report.contents import Report
from ncdiag.report.runs import CURVES, LATEST, UNREAD, as_text

_COLUMNS = ("status", "arch", "depth", "width", "dataset", "weight_decay", "seed", "epochs_done", "epochs_planned")


def make_row(number: int, **values: Any) -> dict[str, Any]:
    """Give the row of a run, finished and called `run-<number>`, in which all is missing that is not given."""
    row = dict.fromkeys((*_COLUMNS, *LATEST)) | UNREAD | {"facts": {}, "status": "done", "unfinished": False}
    row["epochs_done"] = 0
    return row | {"id": number, "run": f"run-{number}"} | values


def pack(**columns: Sequence[float]) -> bytes:
    """Give packed columns of curves; those that are not given were not measured."""
    missing = [np.nan] * len(columns["epoch"])
    return np.array([columns.get(name, missing) for name in CURVES], dtype="<f4").tobytes()


def make_report(rows: Sequence[Mapping[str, Any]], curves: Mapping[int, bytes], **values: Any) -> Report:
    """Give a report without questions of these runs."""
    texts: dict[str, Any] = dict.fromkeys(("title", "store", "made", "rule", "command"), "x")
    packed = {number: as_text(content) for number, content in curves.items()}
    return Report(**texts | {"eps": 0.01, "notes": [], "sections": [], "runs": rows, "curves": packed} | values)
