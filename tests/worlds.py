"""Worlds whose truth is known: trajectories in which fn does, or does not, have anything to do with collapse.

- `causal`: fn relaxes towards a floor; NC1 stays high until fn falls below a value fn* of the pair, then collapses.
- `shared`: fn and NC1 are both functions of one clock, which runs at another speed in each run.
- `late`: fn and NC1 each have a clock of their own, and fn is nearly flat by the time of collapse.
- `flat`: fn does not move at all.
- `never`: fn falls as in `causal`, and no run collapses.

Each run has a speed that its condition and its seed decide. `rescale` adds, for each seed, runs whose fn was multiplied
by 3 and by 0.3 at an epoch; the factor fades. Where fn causes collapse that moves the onset, elsewhere it does not.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

EPOCHS, STEP, RESCALED_AT = 400, 2, 10
FN_STAR = 1.2
_FLOOR, _HEIGHT, _TIME = np.log(0.9), np.log(8.0), 60.0  # ln fn falls from ln 7.2 to ln 0.9
_NOISE = 0.01


def make_world(
    kind: str, seed: int, *, conditions: int = 4, seeds: int = 5, spread: float = 0.02, rescale: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give the frames of the runs and the epochs of a world."""
    generator = np.random.default_rng(seed)
    t = np.arange(STEP, EPOCHS + 1, STEP, dtype=np.float64)
    arms: list[float] = [1.0, 3.0, 0.3] if rescale else [1.0]
    rows, tables = [], []
    for condition in range(conditions):
        faster = generator.normal(0, 0.15)
        for number in range(seeds):
            own = _Run(
                speed=np.exp(faster + generator.normal(0, 0.1)),
                other=np.exp(generator.normal(0, 0.15)),
                log_star=np.log(FN_STAR) + generator.normal(0, spread),
            )
            for alpha in arms:
                name = f"c{condition}-s{number}-x{alpha:g}"
                values = _trajectory(kind, t, own, alpha, generator)
                tables.append(pd.DataFrame({"run": name, "epoch": t.astype(int), **values}))
                rows.append(_about(name, condition, number, alpha))
    runs = pd.DataFrame(rows)
    runs["run_id"] = range(1, len(runs) + 1)
    epochs = pd.concat(tables, ignore_index=True).assign(
        phase=1, loss="mse", lr=1e-3, train_accuracy=1.0, nonfinite=None
    )
    return runs, epochs


@dataclass(frozen=True)
class _Run:
    """What a seed decides, whatever its features are multiplied by."""

    speed: float
    other: float  # the speed of a clock that fn knows nothing of
    log_star: float


def _trajectory(
    kind: str, t: np.ndarray, own: _Run, alpha: float, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    speed, other, log_star = own.speed, own.other, own.log_star
    kick = np.where(t > RESCALED_AT, np.log(alpha) * np.exp(-(t - RESCALED_AT) / 40), 0.0)
    log_fn = _FLOOR + _HEIGHT * np.exp(-t * speed / _TIME)
    at_own_pace = 20 * (0.9 - t * speed / 200)  # ln NC1 on the clock of the run
    if kind in ("causal", "never"):
        reached = np.flatnonzero(log_fn + kick <= log_star)
        start = t[reached[0]] if len(reached) and kind == "causal" else np.inf
        log_nc1 = np.where(t < start, -0.5, -0.5 - 0.4 * (t - start))
    elif kind == "shared":
        log_nc1 = at_own_pace
    else:
        log_nc1 = 20 * (0.9 - t * other / 200)
        if kind == "flat":
            log_fn = np.full(len(t), log_star)
        elif kind == "late":
            log_fn = log_star + 0.5 * np.exp(-t / 50)
    return {
        "feature_norm": np.exp(log_fn + kick + _ar(generator, len(t), _NOISE)),
        "nc1": np.exp(np.maximum(log_nc1, -9.0) + _ar(generator, len(t), 3 * _NOISE)),
        "weight_norm": 10 * np.exp(-0.5 * t * speed / 200 + _ar(generator, len(t), _NOISE / 2)),
        "train_loss": np.exp(-t * speed / 80 + _ar(generator, len(t), 2 * _NOISE)),
    }


def _ar(generator: np.random.Generator, n: int, sd: float) -> np.ndarray:
    """Give noise whose neighbours go together (r = 0.5)."""
    white = generator.normal(0, sd, n)
    noise = np.empty(n)
    last = 0.0
    for place, value in enumerate(white.tolist()):
        last = 0.5 * last + 0.866 * value
        noise[place] = last
    return noise


def _about(name: str, condition: int, seed: int, alpha: float) -> dict[str, Any]:
    unknown = ("train_size", "momentum", "batch_size", "data_sha256", "schedule", "other")
    return {
        **dict.fromkeys(unknown),
        "run": name,
        "status": "done",
        "arch": "mlp",
        "depth": 5,
        "width": 512.0,
        "activation": "relu",
        "dataset": "mnist",
        "optimizer": "adam",
        "lr": 1e-3,
        "weight_decay": 1e-4 * 2.0**condition,
        "phases": f"mse:{EPOCHS}",
        "intervention": None if alpha == 1 else f"{alpha}@{RESCALED_AT}",
        "seed": seed,
        "origin": "trained",
        "device": "cpu",
        "config": {},
        "epochs_done": EPOCHS,
        "epochs_planned": EPOCHS,
    }
