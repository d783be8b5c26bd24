"""The configuration of one run, checked when it is made, and its identity.

A `RunSpec` holds everything that decides the numbers of a run, and nothing else: the device, the name and the
folder of the data are not part of it. Its `key` is the SHA-256 of its canonical JSON, so two runs with one
key are the same experiment, and a sweep that is typed again finds what it has already trained.

Changing the canonical form changes every key: it is a schema change and needs a migration. A field that comes later
is therefore left out of it where it has the value that every earlier run had.
"""

import hashlib
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ncdiag.domain.words import nearest
from ncdiag.errors import SpecError

Arch = Literal["mlp", "cnn", "resnet20"]
Activation = Literal["relu", "leaky_relu", "gelu", "silu", "tanh"]
Loss = Literal["ce", "mse"]
OptimizerName = Literal["adam", "adamw", "sgd"]
Schedule = Literal["cosine", "multistep", "constant"]
Precision = Literal["float32", "tf32", "bf16"]

BUILTIN_DATASETS = ("digits", "mnist", "fashion_mnist", "cifar10")
# Activations with f(a x) = a f(x) for a > 0: only there does scaling a layer scale its features.
HOMOGENEOUS = ("relu", "leaky_relu")
_COMPENSATED = "+compensate-head"
_SMALLEST = sys.float_info.min  # below it a number is 0 while networks are trained: their denormals are flushed


def check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise a `SpecError` that names the nearest choice, unless `value` is one of them."""
    if value not in choices:
        raise SpecError(f"{what} {value!r} is not known; expected one of {', '.join(choices)}{nearest(value, choices)}")


def _check_whole(what: str, value: object, low: int, high: int = 1_000_000) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SpecError(f"{what} must be a whole number from {low} to {high}, not {value!r}")


def _check_real(what: str, value: float, *, positive: bool = False) -> None:
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise SpecError(f"{what} must be a finite number {'>' if positive else '>='} 0, not {value!r}")
    if 0 < value < _SMALLEST:
        raise SpecError(f"{what} must be at least {_SMALLEST:.3g}{'' if positive else ' or 0'}, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network: features, then a linear head.

    `depth` counts hidden layers (mlp), convolutions (cnn) or weighted layers, 6n + 2 (resnet20).
    `width` is the number of features for mlp and cnn, and the multiplier of 16/32/64 channels for resnet20.
    """

    arch: Arch
    depth: int
    width: int | float
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        check_choice("architecture", self.arch, get_args(Arch))
        check_choice("activation", self.activation, get_args(Activation))
        _check_whole("depth", self.depth, 1, 1000)
        _check_real("width", self.width, positive=True)
        if self.arch == "resnet20":
            if (self.depth - 2) % 6 or self.depth < 8:
                raise SpecError(f"the depth of a ResNet is 6n + 2 (8, 14, 20, 26, ...), not {self.depth}")
            if self.width * 16 != int(self.width * 16) or self.width > 64:
                raise SpecError(
                    "the width of a ResNet multiplies 16/32/64 channels: a multiple of 1/16 "
                    f"up to 64, not {self.width!r}"
                )
        else:
            if self.width != int(self.width):
                raise SpecError(f"the width of {self.arch} is its number of features, not {self.width!r}")
            _check_whole("width", int(self.width), 1, 65_536)
        if self.width == int(self.width):
            object.__setattr__(self, "width", int(self.width))  # 512.0 and 512 are one network, hence one key

    @property
    def convolves(self) -> bool:
        """Whether the network slides filters over images; one that does not is all products, and can be stacked."""
        return self.arch != "mlp"


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """A data set: its name, and for the user's own data the SHA-256 of its content instead of its path.

    `train_size` is the size of a class-balanced training subset, drawn with `subset_seed`; None is all of it.
    """

    dataset: str
    sha256: str | None = None
    train_size: int | None = None
    subset_seed: int = 0

    def __post_init__(self) -> None:
        if self.sha256 is None:
            check_choice("data set", self.dataset, BUILTIN_DATASETS)
        if self.train_size is not None:
            _check_whole("train size", self.train_size, 1, 10**9)
        _check_whole("subset seed", self.subset_seed, 0, 2**31 - 1)


@dataclass(frozen=True, kw_only=True)
class PhaseSpec:
    """A stretch of training with one loss, a fresh optimiser and a fresh schedule.

    `milestones` are the epochs of the phase after which a multistep schedule divides the rate by ten.
    """

    loss: Loss
    epochs: int
    milestones: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, get_args(Loss))
        _check_whole("epochs of a phase", self.epochs, 1)
        rising = all(a < b for a, b in zip(self.milestones, self.milestones[1:], strict=False))
        if not rising or any(not 1 <= m < self.epochs for m in self.milestones):
            raise SpecError(
                f"milestones must rise within the phase's {self.epochs} epochs, not {list(self.milestones)}"
            )

    def __str__(self) -> str:
        return f"{self.loss}:{self.epochs}" + "".join(f"@{m}" for m in self.milestones)

    @classmethod
    def parse(cls, text: str) -> "PhaseSpec":
        """Read `ce:200`, or `ce:200@100@150` with the epochs at which a multistep schedule drops the rate."""
        loss, colon, rest = text.partition(":")
        try:
            epochs, *milestones = (int(part) for part in rest.split("@"))
        except ValueError:
            colon = ""
        if not colon:
            raise SpecError(f"a phase is LOSS:EPOCHS, such as ce:200 or ce:200@100@150, not {text!r}")
        return cls(loss=loss, epochs=epochs, milestones=tuple(milestones))  # type: ignore[arg-type]  # checked above


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """How the weights move. `weight_decay` is added to the gradient (adam, sgd) or decoupled (adamw)."""

    name: OptimizerName
    lr: float
    weight_decay: float
    momentum: float = 0.0
    schedule: Schedule = "cosine"

    def __post_init__(self) -> None:
        check_choice("optimizer", self.name, get_args(OptimizerName))
        check_choice("schedule", self.schedule, get_args(Schedule))
        _check_real("learning rate", self.lr, positive=True)
        _check_real("weight decay", self.weight_decay)
        _check_real("momentum", self.momentum)
        if self.momentum >= 1:
            raise SpecError(f"momentum must be below 1, not {self.momentum!r}")
        if self.momentum and self.name != "sgd":
            raise SpecError(f"momentum belongs to sgd; {self.name} has its own. Leave --momentum out")
        for field in ("lr", "weight_decay", "momentum"):
            object.__setattr__(self, field, float(getattr(self, field)))  # 1 and 1.0 are one rate, hence one key


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """Multiply weight and bias of the last hidden layer by `alpha` once `epoch` epochs have been trained.

    With `compensate_head` the head's weights are divided by `alpha`, which keeps the logits.
    """

    alpha: float
    epoch: int
    compensate_head: bool = False

    def __post_init__(self) -> None:
        _check_real("alpha", self.alpha, positive=True)
        _check_whole("epoch of the intervention", self.epoch, 0)
        object.__setattr__(self, "alpha", float(self.alpha))

    def __str__(self) -> str:
        return f"{self.alpha}@{self.epoch}" + (_COMPENSATED if self.compensate_head else "")

    @classmethod
    def parse(cls, text: str) -> "Intervention":
        """Read `ALPHA@EPOCH`, such as 0.3@200, or 0.3@200+compensate-head."""
        scaling = text.removesuffix(_COMPENSATED)
        alpha, _, epoch = scaling.partition("@")
        try:
            return cls(alpha=float(alpha), epoch=int(epoch), compensate_head=scaling != text)
        except ValueError:
            raise SpecError(
                f"an intervention is ALPHA@EPOCH, such as 0.3@200 or 0.3@200{_COMPENSATED}, not {text!r}"
            ) from None


def find_rescaling(text: object) -> Intervention | None:
    """Read what somebody wrote of an intervention, in any run; None for what is not a rescaling by a factor > 0."""
    try:
        return Intervention.parse(text) if isinstance(text, str) else None
    except SpecError:
        return None


@dataclass(frozen=True, kw_only=True)
class StopRule:
    """End the run once NC1 has been below `eps` for `patience` evaluations in a row, all in the last phase.

    A run that collapses under cross-entropy goes on, so that it can be compared to the others under squared error.
    """

    eps: float = 0.01
    patience: int = 3

    def __post_init__(self) -> None:
        _check_real("eps", self.eps, positive=True)
        _check_whole("patience", self.patience, 1)


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Everything that decides the numbers of one run.

    `eval_every` is a number of epochs, or `log` for the spacing of `ncdiag.domain.evaluations`. `metric_samples` is the
    size of the part of the training set that is measured, `test_samples` that of the part of the test set; None is all
    of it. `precision` is that of the products of training; metrics are float32 with
    float64 sums whatever it is.
    """

    network: NetworkSpec
    data: DataSpec
    phases: tuple[PhaseSpec, ...]
    optimizer: OptimizerSpec
    batch_size: int
    seed: int = 0
    eval_every: int | Literal["log"] = 1
    intervention: Intervention | None = None
    stop: StopRule | None = None
    metric_samples: int | None = None
    test_samples: int | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if not self.phases:
            raise SpecError("a run needs at least one phase, such as --phase ce:200")
        _check_whole("batch size", self.batch_size, 1, 10**9)
        _check_whole("seed", self.seed, 0, 2**31 - 1)
        if self.eval_every != "log":
            _check_whole("--eval-every", self.eval_every, 1)
        if self.metric_samples is not None:
            _check_whole("--metric-samples", self.metric_samples, 1, 10**9)
        if self.test_samples is not None:
            _check_whole("--test-samples", self.test_samples, 1, 10**9)
        check_choice("precision", self.precision, get_args(Precision))
        if self.optimizer.schedule != "multistep" and any(p.milestones for p in self.phases):
            raise SpecError(f"milestones (@) need --schedule multistep, not {self.optimizer.schedule}")
        if self.intervention:
            self._check_intervention(self.intervention)

    def _check_intervention(self, intervention: Intervention) -> None:
        _check_whole("--scale-features: epoch of the intervention", intervention.epoch, 1)  # 0 is left to others' runs
        if intervention.epoch >= self.epochs:
            raise SpecError(
                f"the intervention at epoch {intervention.epoch} comes after the last of {self.epochs} epochs"
            )
        if self.network.arch == "resnet20":
            raise SpecError(
                "--scale-features needs one last hidden layer; the features of a ResNet are the sum of a\n"
                "residual branch and an identity shortcut, which no single layer scales. Use mlp or cnn"
            )
        if intervention.compensate_head and self.network.activation not in HOMOGENEOUS:
            raise SpecError(
                f"--compensate-head keeps the logits only for {' and '.join(HOMOGENEOUS)}, "
                f"not for {self.network.activation}"
            )

    @property
    def epochs(self) -> int:
        """Number of epochs planned, over all phases."""
        return sum(phase.epochs for phase in self.phases)

    def phase_of(self, epoch: int) -> tuple[int, int]:
        """Give the phase (from 1) of an epoch (from 1), and the epoch's place within that phase (from 1)."""
        for number, phase in enumerate(self.phases, start=1):
            if epoch <= phase.epochs:
                return number, epoch
            epoch -= phase.epochs
        raise IndexError("epoch beyond the last phase")

    def settings(self) -> dict[str, Any]:
        """Give every setting by the name of its option; phases and intervention as they are written.

        None is all of a set, no seed of a subset where there is none, and no intervention.
        """
        network, data, optimizer = self.network, self.data, self.optimizer
        return {
            "arch": network.arch,
            "depth": network.depth,
            "width": network.width,
            "activation": network.activation,
            "dataset": data.dataset,
            "train_size": data.train_size,
            "subset_seed": None if data.train_size is None else data.subset_seed,
            "optimizer": optimizer.name,
            "lr": optimizer.lr,
            "momentum": optimizer.momentum,
            "weight_decay": optimizer.weight_decay,
            "schedule": optimizer.schedule,
            "batch_size": self.batch_size,
            "phases": ",".join(map(str, self.phases)),
            "intervention": self.intervention and str(self.intervention),
            "eval_every": self.eval_every,
            "metric_samples": self.metric_samples,
            "test_samples": self.test_samples,
            "precision": self.precision,
            "seed": self.seed,
        }

    def to_dict(self) -> dict[str, Any]:
        """Give the specification as JSON-ready values; `from_dict` is its inverse."""
        values = asdict(self)
        return {name: value for name, value in values.items() if _LATER.get(name, ...) != value}

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "RunSpec":
        """Rebuild the specification that `to_dict` wrote; raises `SpecError` for what is none."""
        try:
            return cls(
                network=NetworkSpec(**config["network"]),
                data=DataSpec(**config["data"]),
                phases=tuple(PhaseSpec(**{**p, "milestones": tuple(p["milestones"])}) for p in config["phases"]),
                optimizer=OptimizerSpec(**config["optimizer"]),
                batch_size=config["batch_size"],
                seed=config["seed"],
                eval_every=config["eval_every"],
                intervention=Intervention(**config["intervention"]) if config["intervention"] else None,
                stop=StopRule(**config["stop"]) if config["stop"] else None,
                **{name: config.get(name, usual) for name, usual in _LATER.items()},
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise SpecError(
                f"this configuration of a run cannot be read: {error}\na newer version of ncdiag may have written it"
            ) from error

    @classmethod
    def from_json(cls, text: str) -> "RunSpec":
        """Rebuild the specification from the JSON of `to_dict`; raises `SpecError` for what is none."""
        try:
            config = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"this configuration of a run is no JSON: {error}") from error
        return cls.from_dict(config)

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON: the identity of the experiment."""
        return hash_json(self.to_dict())


# Fields of a run that earlier specifications did not have, and the value that all of their runs had.
_LATER: dict[str, Any] = {"metric_samples": None, "test_samples": None, "precision": "float32"}


def is_canonical(config: object) -> bool:
    """Tell whether a configuration is one of `RunSpec.to_dict`; the values of any other are plain."""
    return isinstance(config, Mapping) and isinstance(config.get("network"), Mapping)


def canonical_json(value: Any) -> str:
    """Give the one JSON text of a value: sorted keys, no spaces, ASCII, shortest floats, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_json(value: Any) -> str:
    """Give the SHA-256 of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
