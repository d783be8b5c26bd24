"""From options to the runs of a plan: the user's own data is identified by its content before a run gets its key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.records import Run
from ncdiag.domain.spec import Arch, DataSpec, NetworkSpec, OptimizerName, RunSpec
from ncdiag.domain.sweep import expand
from ncdiag.errors import NCDiagError, SpecError, UnsafeError
from ncdiag.execution.worker import TrainingOptions, pick_device
from ncdiag.training.builtin_sets import BUILTINS, Builtin
from ncdiag.training.datasets import Dataset, identify_dataset, load_dataset, shape_seen_by
from ncdiag.training.footprint import check_memory
from ncdiag.training.networks import check_fit
from ncdiag.training.reproducibility import check_precision
from ncdiag.training.subset import balanced_shares, proportional_shares


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs of a plan, in order, and for each data set of the user's where it lies."""

    specs: list[RunSpec]
    paths: dict[str, Path]  # content SHA-256 -> folder or file
    data_dir: Path | None

    @property
    def data(self) -> list[dict[str, str]]:
        """Give, for each run, what the store should remember of where its data lies."""
        downloaded = {"data_dir": str(self.data_dir.absolute())} if self.data_dir else {}
        return [{"path": str(self.paths[s.data.sha256])} if s.data.sha256 else downloaded for s in self.specs]


def make_plan(axes: Mapping[str, Sequence[Any]], *, data_dir: Path | None = None) -> Plan:
    """Give the runs of a grid. Raises `SpecError` for one that cannot be run, `DataError` for unusable data."""
    names = {name: identify_dataset(name) for name in axes.get("dataset", ())}

    def make_spec(point: dict[str, Any]) -> RunSpec:
        if "dataset" in point:
            source = names[point["dataset"]]
            point |= {"dataset": source.name, "sha256": source.sha256}
        return complete_spec(point)

    paths = {source.sha256: source.path for source in names.values() if source.sha256 and source.path}
    return Plan(specs=expand(axes, make_spec), paths=paths, data_dir=data_dir)


def find_moved_data(run: Run, dataset: str) -> dict[str, str]:
    """Give what the store should remember of where a run's data lies now, if that is what `--dataset` names.

    Raises `UnsafeError` if the content is another, and the errors of `identify_dataset`.
    """
    found, known = identify_dataset(dataset), run.spec.data
    if found.sha256 is None or known.sha256 is None:
        if found.name == known.dataset and found.sha256 == known.sha256:
            return {}
        raise SpecError(f"{run.name} is trained on {known.dataset}, not on {found.name}. Leave --dataset out")
    if found.sha256 != known.sha256:
        raise UnsafeError(
            f"{found.path} is not what {run.name} is trained on: its content has the SHA-256 {found.sha256[:12]}..., "
            f"and that of the run {known.sha256[:12]}...\n"
            "Give the data of the run, or train another run on this"
        )
    return {"path": str(found.path)}


def check_plan(plan: Plan, options: TrainingOptions) -> None:
    """Raise what would keep a run from beginning, before anything of the plan is stored.

    That is an unknown device, a precision that it lacks, data that is not there or cannot be used, a network or a
    part to measure that does not fit the data, and a network that is too large for the memory of the device. What can
    be said without the data is said before any is downloaded.
    """
    device = pick_device(options.device)
    _check_without_data(plan.specs, device)
    _check_with_data(plan, plan.specs, options, device)


def find_refusal(plan: Plan, options: TrainingOptions) -> str | None:
    """Give what `check_plan` would say, as far as that is known without downloading data; None if nothing is."""
    device = pick_device(options.device)
    try:
        _check_without_data(plan.specs, device)
        _check_with_data(plan, [spec for spec in plan.specs if spec.data.sha256], options, device)
    except NCDiagError as error:
        return str(error)
    return None


def _check_without_data(specs: Sequence[RunSpec], device: torch.device) -> None:
    """Check what needs no data: everything, for the sets of which ncdiag knows the sizes."""
    differing = {(s.network, s.optimizer.name, s.data, s.precision, s.metric_samples, s.test_samples): s for s in specs}
    for spec in differing.values():
        check_precision(spec.precision, device)
        if spec.data.sha256 is None:
            known = BUILTINS[spec.data.dataset]
            _check_network(spec, shape_seen_by(spec.network.arch, known.image), known.num_classes, device)
            _check_parts(spec, known)


def _check_with_data(plan: Plan, specs: Sequence[RunSpec], options: TrainingOptions, device: torch.device) -> None:
    loaded: dict[tuple[DataSpec, Arch], Dataset] = {}
    checked: set[tuple[NetworkSpec, OptimizerName, DataSpec]] = set()
    for spec in specs:
        key = spec.data, spec.network.arch
        if key not in loaded:
            path = plan.paths.get(spec.data.sha256 or "")
            loaded[key] = load_dataset(spec.data, arch=spec.network.arch, data_dir=options.data_dir, path=path)
        data = loaded[key]
        data.measured_part(spec)
        trained = spec.network, spec.optimizer.name, spec.data
        if trained not in checked:
            _check_network(spec, data.input_shape, data.num_classes, device)
            checked.add(trained)


def _check_network(spec: RunSpec, input_shape: tuple[int, int, int], num_classes: int, device: torch.device) -> None:
    check_fit(spec.network, input_shape=input_shape)
    check_memory(spec, input_shape, num_classes, device)


def _check_parts(spec: RunSpec, known: Builtin) -> None:
    """Check the parts of a known set that a run is trained and measured on, as taking them would."""
    train, test = np.array(known.train_counts), np.array(known.test_counts)
    if spec.data.train_size is not None:
        train = balanced_shares(train, spec.data.train_size)
    if spec.metric_samples is not None:
        proportional_shares(train, spec.metric_samples, "--metric-samples")
    if spec.test_samples is not None:
        proportional_shares(test, spec.test_samples, "--test-samples")
