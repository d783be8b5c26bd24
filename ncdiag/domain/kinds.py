"""What must be equal in runs on one data set for them to take their steps together; all else may differ."""

from collections.abc import Hashable

from ncdiag.domain.spec import PhaseSpec, RunSpec


def step_kind(spec: RunSpec, phase: PhaseSpec) -> tuple[Hashable, ...]:
    """Give what must be equal for a step in a phase: the same products of the same sizes, and the same loss."""
    return spec.network, spec.batch_size, spec.precision, phase.loss


def run_kind(spec: RunSpec) -> tuple[Hashable, ...]:
    """Give what must be equal for all steps of runs, from the first to the last."""
    return *step_kind(spec, spec.phases[0]), spec.phases
