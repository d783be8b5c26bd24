"""A small store of runs whose onsets are known in closed form."""

import math
from pathlib import Path

from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs


def falling(name: str, *, depth: int, seed: int, norm: float, epochs: int = 120) -> ImportedRun:
    """Give a run whose NC1 is exp(-epoch / 20), so that it passes 0.01 at 20 ln 100 = 92.1, with a constant norm."""
    return ImportedRun(
        name=name,
        config={"arch": "mlp", "depth": depth, "width": 128.0, "dataset": "digits", "seed": seed, "weight_decay": 1e-4},
        epochs=tuple(
            EpochRecord(
                epoch=epoch,
                phase=1 if epoch <= 40 else 2,
                loss="ce" if epoch <= 40 else "mse",
                train_accuracy=1.0,
                feature_norm=norm,
                nc1=math.exp(-epoch / 20),
            )
            for epoch in range(10, epochs + 1, 10)
        ),
        source="synthetic.csv",
    )


def make_falling_store(path: Path) -> Path:
    """Make a store of two conditions with two collapsed runs each, and one run that ends before its onset."""
    runs = [
        falling("deep-0", depth=5, seed=0, norm=1.1),
        falling("deep-1", depth=5, seed=1, norm=1 / 1.1),
        falling("shallow-0", depth=3, seed=0, norm=1.2),
        falling("shallow-1", depth=3, seed=1, norm=1 / 1.2),
        falling("short", depth=3, seed=2, norm=1.5, epochs=80),
    ]
    with open_store(str(path), write=True) as store:
        import_runs(store, runs)
    return path
