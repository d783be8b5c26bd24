"""The values that cross layers: what one evaluation measured, and what the store knows of a run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeAlias

from ncdiag.domain.spec import Intervention, RunSpec, hash_json
from ncdiag.errors import DataError, SpecError

METRICS = (
    "feature_norm",
    "feature_norm_centred",
    "nc1",
    "nc1_pinv",
    "nc1_rank",
    "cdnv",
    "nc2_equinorm",
    "nc2_equiangular",
    "nc2_etf",
    "nc3",
    "nc3_duality",
    "nc4",
    "weight_norm",
)
TEST_METRICS = ("test_feature_norm", "test_nc1")
ONSET_METRICS = (*METRICS, *TEST_METRICS)  # what an onset may be the fall of
# What may announce an onset. The rank behind nc1_pinv is a count of numbers that were not lost to rounding, and says
# nothing of the run.
OBSERVED = tuple(name for name in METRICS if name != "nc1_rank")


def nonfinite_fields(values: Mapping[str, object]) -> dict[str, str]:
    """Give the names of the values that are NaN or infinite, each with what it is: `nan`, `inf` or `-inf`."""
    return {
        name: "nan" if math.isnan(v) else "inf" if v > 0 else "-inf"
        for name, v in values.items()
        if isinstance(v, float) and not math.isfinite(v)
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """What was measured after one epoch.

    `epoch` counts from 1 over all phases, `phase` from 1. None means not measured; NaN and infinities are
    measurements and are kept as such. Losses and accuracies are of the whole set in eval mode, accuracies in [0, 1].
    The metrics are defined in `ncdiag.domain.metrics`; `test_feature_norm` and `test_nc1` are those of the test set,
    about its own class means.
    """

    epoch: int
    phase: int | None = None
    loss: str | None = None
    lr: float | None = None
    seconds: float | None = None
    train_loss: float | None = None
    train_accuracy: float | None = None
    test_accuracy: float | None = None
    feature_norm: float | None = None
    feature_norm_centred: float | None = None
    nc1: float | None = None
    nc1_pinv: float | None = None
    nc1_rank: float | None = None
    cdnv: float | None = None
    nc2_equinorm: float | None = None
    nc2_equiangular: float | None = None
    nc2_etf: float | None = None
    nc3: float | None = None
    nc3_duality: float | None = None
    nc4: float | None = None
    weight_norm: float | None = None
    test_loss: float | None = None
    test_feature_norm: float | None = None
    test_nc1: float | None = None

    def nonfinite(self) -> dict[str, str]:
        """Give the fields that are NaN or infinite as `nan`, `inf` or `-inf`, which no database keeps by itself."""
        return nonfinite_fields(self.values())

    def values(self) -> dict[str, Any]:
        """Give every field by its name; `dataclasses.asdict` does the same ten times slower."""
        return {name: getattr(self, name) for name in EPOCH_COLUMNS}

    def phase_falls(self, before: "EpochRecord") -> bool:
        """Tell whether this one is said to be of an earlier phase than the record before it."""
        return self.phase is not None and before.phase is not None and self.phase < before.phase


EPOCH_COLUMNS = tuple(f.name for f in fields(EpochRecord))
_SHARES = ("train_accuracy", "test_accuracy", "nc4")
_ANY_SIGN = ("train_loss", "test_loss", "nc3")  # nc3 is a difference, whose 0 may be rounded to less
LAST_PHASE = 1000


def range_of(column: str) -> tuple[float, float]:
    """Give the least and the largest number that may have been measured; a logarithm would pass for a collapse."""
    return -math.inf if column in _ANY_SIGN else 0.0, 1.0 if column in _SHARES else math.inf


class RunStatus(StrEnum):
    """Where a run stands. `done`, `diverged` and `dead` are final; training can go on from every other.

    `lost` is never stored: a run that says `running` is shown as lost when the process that trained it is gone.
    """

    PENDING = "pending"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    DONE = "done"
    DIVERGED = "diverged"
    DEAD = "dead"
    FAILED = "failed"
    LOST = "lost"


FINAL = (RunStatus.DONE, RunStatus.DIVERGED, RunStatus.DEAD)
UNFINISHED = tuple(status for status in RunStatus if status not in FINAL)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A stored run: its identity, where it stands, and its configuration as plain values.

    `config` is the canonical specification of a run that ncdiag trained, and whatever was said of an imported one;
    None in the other fields means that an import did not say.
    """

    id: int
    name: str
    key: str
    origin: str  # "trained" or "imported"
    status: RunStatus
    reason: str | None
    arch: str | None
    depth: int | None
    width: float | None
    activation: str | None
    dataset: str | None
    train_size: int | None
    optimizer: str | None
    lr: float | None
    momentum: float | None
    weight_decay: float | None
    schedule: str | None
    batch_size: int | None
    seed: int | None
    phases: str | None
    intervention: str | None
    epochs_planned: int | None
    epochs_done: int
    device: str | None
    data_sha256: str | None
    data: dict[str, Any]  # where the data came from (path, data_dir), its sizes, its class count
    config: dict[str, Any]
    environment: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    seconds: float
    fingerprint: dict[str, Any] = field(default_factory=dict)
    inexact: bool = False  # resumed under another numeric fingerprint
    source: str | None = None  # the file of an imported run
    finished_at: datetime | None = None

    @property
    def identity(self) -> str:
        """Give what no run of another store has: the moment at which the run was made, and its key."""
        return f"{self.created_at.isoformat()} {self.key}"

    @cached_property
    def spec(self) -> RunSpec:
        """The specification of a run that ncdiag trains; raises `SpecError` for a configuration that is none."""
        return RunSpec.from_dict(self.config)


@dataclass(frozen=True, kw_only=True)
class InterventionRecord:
    """A rescaling that was carried out, and the feature norm just before and just after it."""

    epoch: int
    alpha: float
    compensate_head: bool
    feature_norm_before: float | None = None
    feature_norm_after: float | None = None


Plain: TypeAlias = str | int | float | bool
LARGEST = 2**31 - 1  # what an integer column holds in every database

# The part of an imported run's configuration that has a column of its own, and what each holds.
IMPORT_FIELDS: dict[str, type] = {
    "arch": str,
    "depth": int,
    "width": float,
    "activation": str,
    "dataset": str,
    "train_size": int,
    "optimizer": str,
    "lr": float,
    "momentum": float,
    "weight_decay": float,
    "schedule": str,
    "batch_size": int,
    "seed": int,
    "phases": str,
    "intervention": str,
    "epochs_planned": int,
    "device": str,
    "data_sha256": str,
}


# What the settings are often called elsewhere.
_ALSO_CALLED = {
    "wd": "weight_decay",
    "learning_rate": "lr",
    "bs": "batch_size",
    "batchsize": "batch_size",
    "optim": "optimizer",
}


def _import_value(name: str, said: Any) -> Plain:
    is_number = getattr(said, "shape", None) == ()  # of numpy or torch
    value: Plain = said.item() if is_number else said
    if not isinstance(value, Plain):
        raise SpecError(f"{name} must be a text, a number, True or False, not {said!r}")
    kind = IMPORT_FIELDS.get(_ALSO_CALLED.get(name, name))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)  # 512 and 512.0 are one width, hence one key
    if kind is not None and type(value) is not kind:
        expected = {str: "text", int: "a whole number", float: "a number"}[kind]
        raise SpecError(f"{name} must be {expected}, not {value!r}")
    if name == "intervention":
        Intervention.parse(str(value))
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"{name} must be a finite number, not {value!r}")
    if kind is int and abs(value) > LARGEST:  # type: ignore[arg-type]  # a whole number, as just checked
        raise SpecError(f"{name} must be a whole number up to {LARGEST}, not {value!r}")
    return value


def check_described(said: Mapping[str, Plain | None]) -> dict[str, Plain]:
    """Give what was said of a run that ncdiag does not train: fields of `IMPORT_FIELDS` and any other plain values.

    What is None was not said. Raises `SpecError` for a value that its field cannot have, or that is said twice.
    """
    found: dict[str, Plain] = {}
    for name, value in said.items():
        field = _ALSO_CALLED.get(name, name)
        if field in found:
            raise SpecError(f"{field} is said twice, once as {name}; say it once")
        if value is not None:
            found[field] = _import_value(name, value)
    return found


@dataclass(frozen=True, kw_only=True)
class ImportedRun:
    """A trajectory that somebody else logged, and what was said of it.

    `config` may hold the fields of `IMPORT_FIELDS`, each of its type, and any other plain values, which are kept as
    they are; what is None was not said, and is left out. `epochs` rise strictly, from 0 at the least. The content
    alone is the identity: name and source are not part of `key`, so importing a file again finds the run it made.

    A run that ncdiag trained to its end comes with its `spec`, which is its identity then as it was where it was
    trained: a sweep that asks for it finds it. `status` and `reason` say how it ended.
    """

    name: str | None = None
    config: Mapping[str, Plain | None]
    epochs: tuple[EpochRecord, ...]
    source: str
    spec: RunSpec | None = None
    status: RunStatus = RunStatus.DONE
    reason: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", check_described(self.config))
        if not self.epochs:
            raise DataError(f"{self.source} holds no epochs; expected a row for each evaluated epoch")
        numbers = [record.epoch for record in self.epochs]
        for before, after in zip([-1, *numbers], numbers, strict=False):
            if not before < after <= LARGEST:
                raise DataError(
                    f"{self.source}: epoch {after} follows epoch {before}; expected them to rise, 0 to {LARGEST}"
                )

    @cached_property
    def key(self) -> str:
        """That of the specification; without one, the SHA-256 of the canonical JSON of configuration and epochs."""
        if self.spec:
            return self.spec.key
        rows = [values | nonfinite_fields(values) for values in map(EpochRecord.values, self.epochs)]
        return hash_json({"config": self.config, "epochs": rows})
