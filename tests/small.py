"""A run that is real and over at once, for the tests of what surrounds training."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.records import Run, RunStatus
from ncdiag.domain.spec import PhaseSpec, RunSpec
from ncdiag.store.handle import Store
from ncdiag.store.runs import add_run

if TYPE_CHECKING:
    from ncdiag.execution.worker import Outcome


def small_spec(**given: Any) -> RunSpec:
    """Give a run on 200 digits, six epochs of about a hundredth of a second."""
    phases = (PhaseSpec.parse("ce:3"), PhaseSpec.parse("mse:3"))
    return complete_spec({"depth": 2, "width": 16, "train_size": 200, "phases": phases, **given})


# The same as options of the command line.
SMALL_OPTIONS = ["--depth", "2", "--width", "16", "--train-size", "200", "--phase", "ce:3", "--phase", "mse:3"]


def add_group(store: Store, *specs: RunSpec) -> list[Run]:
    return [add_run(store, spec)[0] for spec in specs]


def statuses(outcomes: "Iterable[Outcome]") -> list[RunStatus]:
    return [outcome.status for outcome in outcomes]


def ignore(run: Run, event: object) -> None:
    """Listen to training, and make nothing of what it tells."""
