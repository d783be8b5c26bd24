"""What a run does where the user said nothing: the published protocol of its architecture.

Values follow arXiv 2604.00230. It trained no small convolutional net and no `digits`; those rows are ncdiag's own.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ncdiag.domain.spec import (
    DataSpec,
    Intervention,
    NetworkSpec,
    OptimizerSpec,
    PhaseSpec,
    RunSpec,
    StopRule,
)
from ncdiag.errors import SpecError

_TWO_PHASES = (PhaseSpec(loss="ce", epochs=200), PhaseSpec(loss="mse", epochs=400))
_RESNET_PHASES = (PhaseSpec(loss="ce", epochs=200), PhaseSpec(loss="mse", epochs=600))

_BY_ARCH: dict[str, dict[str, Any]] = {
    "mlp": {"depth": 5, "width": 512, "optimizer": "adam", "weight_decay": 1e-4, "phases": _TWO_PHASES},
    "cnn": {"depth": 3, "width": 128, "optimizer": "adam", "weight_decay": 1e-4, "phases": _TWO_PHASES},
    "resnet20": {"depth": 20, "width": 1, "optimizer": "sgd", "weight_decay": 1e-3, "phases": _RESNET_PHASES},
}
_BY_OPTIMIZER: dict[str, dict[str, Any]] = {
    "adam": {"lr": 1e-3, "momentum": 0.0, "schedule": "cosine"},
    "adamw": {"lr": 1e-3, "momentum": 0.0, "schedule": "cosine"},
    "sgd": {"lr": 0.1, "momentum": 0.9, "schedule": "multistep"},
}


# Options that say nothing without another.
_COMPANIONS = {"eps": "stop_at_onset", "patience": "stop_at_onset", "compensate_head": "scale_features"}


def find_default(arch: str | None, setting: str) -> Any:
    """Give what a run of this architecture has where the user said nothing, None for what has no such default."""
    return _BY_ARCH.get(arch or "", {}).get(setting)


def _default_batch_size(arch: str, dataset: str) -> int:
    if dataset == "digits":
        return 32  # 1,437 images: the published 256 would leave six steps an epoch
    if arch == "resnet20":
        return 128 if dataset == "cifar10" else 512
    return 256


def complete_spec(given: Mapping[str, Any]) -> RunSpec:
    """Give the specification of a run from what was said, and the defaults of its architecture for the rest.

    `given` maps option names (`arch`, `depth`, `weight_decay`, `phases`, ...) to values; None counts as not said.
    Raises `SpecError` where the result cannot be run.
    """
    said = {name: value for name, value in given.items() if value is not None}
    _check_companions(given)
    arch = said.get("arch", "mlp")
    dataset = said.get("dataset", "digits")
    by_arch = _BY_ARCH.get(arch, _BY_ARCH["mlp"])  # NetworkSpec refuses an unknown name
    optimizer = said.get("optimizer", by_arch["optimizer"])
    by_optimizer = _BY_OPTIMIZER.get(optimizer, _BY_OPTIMIZER["adam"])
    value = {**by_arch, **by_optimizer, **said}
    network = NetworkSpec(
        arch=arch, depth=value["depth"], width=value["width"], activation=value.get("activation", "relu")
    )
    return RunSpec(
        network=network,
        data=DataSpec(
            dataset=dataset,
            sha256=value.get("sha256"),
            train_size=value.get("train_size"),
            subset_seed=value.get("subset_seed", 0),
        ),
        phases=tuple(value["phases"]),
        optimizer=OptimizerSpec(
            name=optimizer,
            lr=value["lr"],
            weight_decay=value["weight_decay"],
            momentum=value["momentum"],
            schedule=value["schedule"],
        ),
        batch_size=value.get("batch_size", _default_batch_size(arch, dataset)),
        seed=value.get("seed", 0),
        eval_every=value.get("eval_every", 1),
        intervention=_intervention(value),
        stop=StopRule(**{name: value[name] for name in ("eps", "patience") if name in value})
        if value.get("stop_at_onset")
        else None,
        metric_samples=value.get("metric_samples"),
        test_samples=value.get("test_samples"),
        precision=value.get("precision", "float32"),
    )


def _check_companions(given: Mapping[str, Any]) -> None:
    """Refuse options that would be ignored without the one they belong to."""
    for name, needed in _COMPANIONS.items():
        said = given.get(name) is not None and given[name] is not False  # 0 is said, and wrong
        if said and needed not in given:  # the control of a grid is there, as None
            flags = [f"--{word.replace('_', '-')}" for word in (name, needed)]
            raise SpecError(f"{flags[0]} means something only with {flags[1]}; give that too, or leave it out")


def _intervention(value: Mapping[str, Any]) -> Intervention | None:
    scaling: Intervention | None = value.get("scale_features")
    if scaling and value.get("compensate_head"):
        return replace(scaling, compensate_head=True)
    return scaling
