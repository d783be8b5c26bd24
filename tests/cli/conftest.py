import math
import shutil
from pathlib import Path

import pytest

from ncdiag.domain.records import EpochRecord, ImportedRun
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every step to last a millisecond, where it is not the matter: to try a ResNet takes seconds."""
    monkeypatch.setattr("ncdiag.execution.estimate.step_seconds", lambda *_: 1e-3)
    monkeypatch.setattr("ncdiag.execution.estimate.speedup", lambda *_: 1.0)


def collapsing(name: str, *, depth: int, seed: int, norm: float, time: float, epochs: int = 150) -> ImportedRun:
    """Give a run with a constant norm and NC1 = exp(-(epoch / time)^1.5), which passes 0.01 at 2.7676 times `time`."""
    return ImportedRun(
        name=name,
        config={"arch": "mlp", "depth": depth, "width": 128.0, "dataset": "digits", "seed": seed, "weight_decay": 1e-4},
        epochs=tuple(
            EpochRecord(
                epoch=epoch,
                phase=1 if epoch <= 40 else 2,
                loss="ce" if epoch <= 40 else "mse",
                train_loss=math.exp(-epoch / 30),
                train_accuracy=1.0,
                feature_norm=norm,
                nc1=math.exp(-((epoch / time) ** 1.5)),
            )
            for epoch in range(10, epochs + 1, 10)
        ),
        source="synthetic.csv",
    )


# Two conditions of two seeds, whose norms have the geometric mean 1; one run more ends before its onset.
RUNS = (
    collapsing("deep-0", depth=5, seed=0, norm=1.1, time=33),
    collapsing("deep-1", depth=5, seed=1, norm=1 / 1.1, time=36),
    collapsing("shallow-0", depth=3, seed=0, norm=1.2, time=31),
    collapsing("shallow-1", depth=3, seed=1, norm=1 / 1.2, time=35),
    collapsing("short", depth=3, seed=2, norm=1.5, time=34, epochs=80),
)


@pytest.fixture(scope="session")
def pristine_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "runs.db"
    with open_store(str(path), write=True) as store:
        import_runs(store, RUNS)
    return path


@pytest.fixture
def store(pristine_store: Path, here: Path) -> Path:
    """Give a store with `RUNS`, the one that commands use when none is named, in an otherwise empty folder."""
    return Path(shutil.copy(pristine_store, here / "ncdiag.db"))
