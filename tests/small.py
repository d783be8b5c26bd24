"""A run that is real and over at once, for the tests of what surrounds training."""

from typing import Any

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.spec import PhaseSpec, RunSpec


def small_spec(**given: Any) -> RunSpec:
    """Give a run on 200 digits, six epochs of about a hundredth of a second."""
    phases = (PhaseSpec.parse("ce:3"), PhaseSpec.parse("mse:3"))
    return complete_spec({"depth": 2, "width": 16, "train_size": 200, "phases": phases, **given})


# The same as options of the command line.
SMALL_OPTIONS = ["--depth", "2", "--width", "16", "--train-size", "200", "--phase", "ce:3", "--phase", "mse:3"]
