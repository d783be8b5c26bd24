"""What the runs of a sweep would have measured, without the training: fn falls, and NC1 collapses where it is fn*."""

import math
import zlib
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from recorded import append

from ncdiag.analysis.conditions import CONDITION_COLUMNS
from ncdiag.domain.defaults import complete_spec, find_default
from ncdiag.domain.records import EpochRecord, ImportedRun, Run, RunStatus
from ncdiag.domain.spec import PhaseSpec, RunSpec
from ncdiag.execution.worker import Outcome
from ncdiag.store.engine import open_store
from ncdiag.store.leases import hold_lease, new_owner
from ncdiag.store.runs import claim_run, finish_run

_EVALUATIONS = 60
_ONSET = 0.45  # of the training, where nothing makes it come earlier or later
_ACTIVATIONS = {"relu": (1.0, 0.0), "gelu": (1.2, 0.3), "tanh": (0.8, -0.2)}  # speed, shift of ln fn*


def measured(spec: RunSpec) -> list[EpochRecord]:
    """Give the evaluations of a run whose seed decides its speed and its fn*, each evaluation with its own noise."""
    seed = np.random.default_rng(zlib.crc32(f"{spec.network}{spec.data}{spec.optimizer}{spec.seed}".encode()))
    noise = np.random.default_rng(zlib.crc32(spec.key.encode()))
    last = spec.epochs
    epochs = np.unique(np.linspace(1, last, min(_EVALUATIONS, last)).astype(int))
    speed, shift = _ACTIVATIONS[spec.network.activation]
    speed *= _relative_speed(spec) * math.exp(seed.normal(0, 0.04))
    log_star = shift + 0.3 * (zlib.crc32(f"{spec.network.arch}{spec.data.dataset}".encode()) % 5) + seed.normal(0, 0.02)
    time = epochs / last / _ONSET * speed
    log_fn = log_star + 2 * (np.exp(-2 * time) - math.exp(-2))
    if spec.intervention:
        since = np.maximum(epochs - spec.intervention.epoch, 0) / last
        log_fn += np.where(since > 0, math.log(spec.intervention.alpha) * np.exp(-since / 0.15), 0)
    reached = np.flatnonzero(log_fn <= log_star)
    start = epochs[reached[0]] if len(reached) and not _prevented(spec) else math.inf
    log_nc1 = np.where(epochs < start, -0.5, -0.5 - 60 * (epochs - start) / last)
    columns = {
        "feature_norm": np.exp(log_fn + noise.normal(0, 0.01, len(epochs))),
        "nc1": np.exp(np.maximum(log_nc1, -9) + noise.normal(0, 0.03, len(epochs))),
        "train_loss": np.exp(-time + noise.normal(0, 0.02, len(epochs))),
        "weight_norm": np.exp(-time / 4 + noise.normal(0, 0.005, len(epochs))),
    }
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*(c.tolist() for c in columns.values()), strict=True)
    ]
    return [_record(spec, epoch, row) for epoch, row in zip(epochs.tolist(), rows, strict=True)]


def _relative_speed(spec: RunSpec) -> float:
    """Give how much faster a run is for its depth, width and weight decay: the defaults are best, wider is faster."""
    depth, width, decay = (find_default(spec.network.arch, name) for name in ("depth", "width", "weight_decay"))
    weight_decay = max(spec.optimizer.weight_decay, 1e-7) / decay
    best = math.exp(-0.3 * abs(math.log(spec.network.depth / depth)) - 0.12 * abs(math.log(weight_decay)))
    return best * (spec.network.width / width) ** 0.1


def _prevented(spec: RunSpec) -> bool:
    return bool(spec.optimizer.weight_decay > 4 * find_default(spec.network.arch, "weight_decay"))


def _record(spec: RunSpec, epoch: int, row: dict[str, Any]) -> EpochRecord:
    phase, _ = spec.phase_of(epoch)
    return EpochRecord(epoch=epoch, phase=phase, loss=spec.phases[phase - 1].loss, lr=1e-3, train_accuracy=1.0, **row)


def train_none(location: str, todo: Sequence[Run], *_: Any, **__: Any) -> list[Outcome]:
    """Stand in for `train_all`: store what the runs would have measured."""
    with open_store(location, write=True) as store:
        for run in todo:
            owner = new_owner()
            with hold_lease(store, run.id, owner):
                claim_run(store, run.id, owner=owner, device="cpu", environment={})
                append(store, run, *measured(RunSpec.from_dict(run.config)), owner=owner)
                finish_run(store, run.id, owner=owner, status=RunStatus.DONE)
    return [Outcome(run=run, status=RunStatus.DONE) for run in todo]


def imagined_runs(phases: str = "ce:20,mse:80", **axes: Sequence[Any]) -> Iterator[ImportedRun]:
    """Give the runs of a grid as somebody else would have logged them, which are stored at once."""
    split = tuple(map(PhaseSpec.parse, phases.split(",")))
    for values in product(*axes.values()):
        spec = complete_spec({"phases": split, **dict(zip(axes, values, strict=True))})
        described = {name: value for name, value in spec.settings().items() if name in (*CONDITION_COLUMNS, "seed")}
        yield ImportedRun(config=described, epochs=tuple(measured(spec)), source="imagined.csv")
