"""Write a store of the present schema, for later versions to open: python tests/store/make_released.py

Run it once, when a schema is released, and commit `released/<schema>.db`. It is never written again.
"""

import math
import shutil
import sys
from pathlib import Path

from ncdiag.domain.records import METRICS, TEST_METRICS, EpochRecord, ImportedRun, InterventionRecord, RunStatus
from ncdiag.domain.spec import DataSpec, Intervention, NetworkSpec, OptimizerSpec, PhaseSpec, RunSpec, StopRule
from ncdiag.store import schema
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs
from ncdiag.store.leases import hold_lease
from ncdiag.store.recorder import Recorder
from ncdiag.store.runs import claim_run, describe_data, finish_run
from ncdiag.store.sweeps import plan_sweep

FOLDER = Path(__file__).parent / "released"
EPOCHS = 6


def specs() -> list[RunSpec]:
    """Give three configurations that between them use every part of a specification."""
    plain = RunSpec(
        network=NetworkSpec(arch="mlp", depth=3, width=32),
        data=DataSpec(dataset="digits"),
        phases=(PhaseSpec(loss="ce", epochs=2), PhaseSpec(loss="mse", epochs=4)),
        optimizer=OptimizerSpec(name="adam", lr=1e-3, weight_decay=1e-4),
        batch_size=32,
    )
    rescaled = RunSpec(
        network=NetworkSpec(arch="cnn", depth=2, width=16, activation="leaky_relu"),
        data=DataSpec(dataset="mine", sha256="ab" * 32, train_size=100, subset_seed=3),
        phases=(PhaseSpec(loss="mse", epochs=6, milestones=(2, 4)),),
        optimizer=OptimizerSpec(name="sgd", lr=0.1, weight_decay=0.0, momentum=0.9, schedule="multistep"),
        batch_size=16,
        seed=1,
        eval_every=2,
        intervention=Intervention(alpha=0.3, epoch=4, compensate_head=True),
        stop=StopRule(eps=0.02, patience=2),
    )
    waiting = RunSpec(
        network=NetworkSpec(arch="resnet20", depth=8, width=0.5),
        data=DataSpec(dataset="mnist"),
        phases=(PhaseSpec(loss="ce", epochs=6),),
        optimizer=OptimizerSpec(name="adamw", lr=0.01, weight_decay=0.1, schedule="constant"),
        batch_size=128,
        seed=2,
    )
    return [plain, rescaled, waiting]


def record(epoch: int, revision: str = schema.REVISION) -> EpochRecord:
    """Give what was measured after an epoch: a number of its own in every column, with what is not finite."""
    tested = ("test_loss", *TEST_METRICS) if revision > "0001" else ()
    numbers: dict[str, float] = {name: (epoch + place) / 7 for place, name in enumerate((*METRICS, *tested))}
    if epoch == 4:
        numbers |= {"nc1": math.inf, "nc3": math.nan}
    return EpochRecord(epoch=epoch, phase=1 + (epoch > 2), loss="ce" if epoch <= 2 else "mse", seconds=0.5, **numbers)


def make(path: Path) -> None:
    """Write a store with a sweep, runs in several states, an intervention and an imported run."""
    with open_store(str(path), write=True) as store:
        first, second, _ = plan_sweep(store, name="three", specs=specs(), config={"seed": "0:3"})
        for run, status, evaluated in ((first, RunStatus.DONE, range(1, 7)), (second, RunStatus.INTERRUPTED, (2, 4))):
            with hold_lease(store, run.id, "me"):
                claim_run(
                    store, run.id, owner="me", device="cpu", environment={"torch": "2"}, fingerprint={"threads": 1}
                )
                describe_data(store, run.id, owner="me", sha256="cd" * 32, sizes={"n_train": 100})
                recorder = Recorder(store, run, owner="me", tell=print)
                for epoch in evaluated:
                    recorder.add(record(epoch))
                if run is second:
                    recorder.add(InterventionRecord(epoch=4, alpha=0.3, compensate_head=True))
                finish_run(store, run.id, owner="me", status=status)
        epochs = tuple(EpochRecord(epoch=10 * n, nc1=1 / n) for n in (1, 2, 3))
        config = {"arch": "mlp", "depth": 5, "width": 512.0, "dataset": "mnist", "of": "somebody"}
        import_runs(store, [ImportedRun(name="foreign", config=config, epochs=epochs, source="a.csv")])


if __name__ == "__main__":
    target = FOLDER / f"{schema.REVISION}.db"
    if target.exists():
        sys.exit(f"{target} is there; a released schema does not change")
    make(target)
    shutil.rmtree(f"{target}.runs")
