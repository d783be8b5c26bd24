"""A run's configuration as one would type it: the options that differ from the defaults, and a `sweep` of them."""

import shlex
from collections.abc import Mapping
from typing import Any

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.spec import RunSpec

# In an order in which each beginning of the list describes a run: milestones need their schedule, and lr its optimiser.
_ORDER = (
    *("depth", "width", "activation", "train_size", "subset_seed", "optimizer", "schedule", "phases"),
    *("lr", "momentum", "weight_decay", "batch_size", "eval_every", "precision", "metric_samples", "test_samples"),
)


def spoken_options(spec: RunSpec) -> dict[str, Any]:
    """Give the options that lead to a run, without its seed, stop and intervention: names and values, as few as do."""
    wanted = _options(spec)
    said: dict[str, Any] = {"arch": wanted["arch"], "dataset": wanted["dataset"]}
    if spec.data.sha256:
        said["sha256"] = spec.data.sha256
    for name in _ORDER:
        if _options(complete_spec(said))[name] != wanted[name]:
            said[name] = wanted[name]
    return said


def sweep_command(said: Mapping[str, Any], axes: Mapping[str, str], *, path: str | None = None) -> str:
    """Give the `ncdiag sweep` line for options and the texts of what varies; `path` is that of the user's own data.

    Raises `SpecError` where a run of the options alone would not be possible.
    """
    complete_spec(said)
    words = ["ncdiag", "sweep"]
    spoken = {name: value for name, value in said.items() if name != "sha256" and name not in axes}
    if path is not None and "dataset" in spoken:
        spoken["dataset"] = path
    for name, value in {**spoken, **axes}.items():
        if name == "phases":
            for phase in value:
                words += ["--phase", str(phase)]
        else:
            words += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _options(spec: RunSpec) -> dict[str, Any]:
    return {**spec.settings(), "subset_seed": spec.data.subset_seed, "phases": spec.phases}
