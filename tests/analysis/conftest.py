"""Frames as the store gives them, built by hand: `Int64` and `object` columns, missing as None, NaN or NA."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ncdiag.domain.result import Result

WHOLE = ("depth", "train_size", "batch_size", "seed", "epochs_done", "epochs_planned")
REAL = ("width", "lr", "momentum", "weight_decay", "seconds")
TEXT = (
    *("run", "status", "arch", "activation", "dataset", "optimizer", "schedule", "phases", "intervention"),
    *("device", "started_at", "origin", "data_sha256", "config", "other"),
)
DEFAULTS: dict[str, Any] = {
    "status": "done",
    "arch": "mlp",
    "depth": 5,
    "width": 512,
    "activation": "relu",
    "dataset": "mnist",
    "optimizer": "adam",
    "lr": 1e-3,
    "weight_decay": 1e-4,
    "phases": "ce:200,mse:400",
    "origin": "trained",
    "device": "cpu",
    "config": {},
}
MEASURED = ("feature_norm", "train_accuracy", "nc1", "lr", "weight_norm", "train_loss")

Frames = tuple[pd.DataFrame, pd.DataFrame]


def typed(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    frame = {}
    for kind, names in columns.items():
        for name in names:
            values = [row.get(name) for row in rows]
            if kind == "Int64":
                frame[name] = pd.array(values, dtype="Int64")
            elif kind == "float64":
                frame[name] = np.array([np.nan if v is None else v for v in values], dtype=float)
            else:
                frame[name] = pd.Series(values, dtype=object)
    return pd.DataFrame(frame)


def build(runs: Mapping[str, Mapping[str, Any]]) -> Frames:
    """Give the frames of runs: per name its hyperparameters, and `epoch` with lists of what was measured there."""
    described, measured = [], []
    for seed, (name, said) in enumerate(runs.items()):
        known = {key: value for key, value in said.items() if key in (*WHOLE, *REAL, *TEXT)}
        about = {
            key: value for key, value in known.items() if not isinstance(value, list)
        }  # lr is also a column of epochs
        epochs = said.get("epoch", [])
        described.append({"seed": seed, "epochs_done": max(epochs, default=0), **DEFAULTS, **about, "run": name})
        for row, epoch in enumerate(epochs):
            told = ("phase", "loss", "nonfinite", *MEASURED)
            cells = {key: said[key][row] for key in told if isinstance(said.get(key), list)}
            measured.append({"run": name, "epoch": epoch, "phase": 1, "loss": "mse", **cells})
    epochs_frame = typed(
        measured,
        {"object": ("run", "loss", "nonfinite"), "Int64": ("epoch", "phase"), "float64": MEASURED},
    )
    return typed(described, {"Int64": WHOLE, "float64": REAL, "object": TEXT}), epochs_frame


def decay(rate: float = 20.0, *, norm: float = 1.0, epochs: int = 200, step: int = 1, **about: Any) -> dict[str, Any]:
    """A run with NC1 = exp(-t / rate), onset at rate ln 100, and fn = norm there, falling slowly."""
    t = np.arange(step, epochs + 1, step)
    onset = rate * np.log(100)
    return {
        "epoch": t.tolist(),
        "nc1": np.exp(-t / rate).tolist(),
        "feature_norm": (norm * np.exp(-(t - onset) / 400)).tolist(),
        "train_accuracy": [0.99] * len(t),
        **about,
    }


def pick(results: Sequence[Result], quantity: str, **said: Any) -> Result:
    """Give the one result of a quantity that says all of this."""
    wanted = [r for r in results if r.quantity == quantity and all(r.extra.get(k) == v for k, v in said.items())]
    assert len(wanted) == 1, [r.extra for r in wanted]
    return wanted[0]


@pytest.fixture
def make_frames() -> Callable[[Mapping[str, Mapping[str, Any]]], Frames]:
    return build


@pytest.fixture(scope="session")
def make_run() -> Callable[..., dict[str, Any]]:
    return decay
