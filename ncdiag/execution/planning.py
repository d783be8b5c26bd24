"""From options to the runs of a plan: the user's own data is identified by its content before a run gets its key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.spec import RunSpec
from ncdiag.domain.sweep import expand
from ncdiag.training.datasets import identify_dataset


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs of a plan, in order, and for each data set of the user's where it lies."""

    specs: list[RunSpec]
    paths: dict[str, Path]  # content SHA-256 -> folder or file

    @property
    def data(self) -> list[dict[str, str]]:
        """Give, for each run, what the store should remember of where its data lies."""
        return [{"path": str(self.paths[s.data.sha256])} if s.data.sha256 else {} for s in self.specs]


def make_plan(axes: Mapping[str, Sequence[Any]]) -> Plan:
    """Give the runs of a grid. Raises `SpecError` for one that cannot be run, `DataError` for unusable data."""
    names = {name: identify_dataset(name) for name in axes.get("dataset", ())}

    def make_spec(point: dict[str, Any]) -> RunSpec:
        if "dataset" in point:
            source = names[point["dataset"]]
            point |= {"dataset": source.name, "sha256": source.sha256}
        return complete_spec(point)

    paths = {source.sha256: source.path for source in names.values() if source.sha256 and source.path}
    return Plan(specs=expand(axes, make_spec), paths=paths)
