"""The phases of a run that somebody else trained: what is known of them, and of which epochs that can be said.

A file without a phase column does not say whether its run ever switched the loss. A plan that merely came with the
file is therefore believed only as far as it holds either way: up to the end of the first phase.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ncdiag.domain.importing.rows import shown, whole
from ncdiag.domain.records import LARGEST


@dataclass(frozen=True, kw_only=True)
class PhasePlan:
    """The phases of a run as (loss, epochs); the epochs of the last one may be unknown (None).

    `sure` says that the run is known to have gone through them.
    """

    phases: tuple[tuple[str | None, int | None], ...]
    sure: bool

    def phase_of(self, epoch: int) -> int | None:
        """Give the phase (from 1) that an epoch (from 1) belongs to, None where the plan cannot tell."""
        for phase, (_, epochs) in enumerate(self.phases, start=1):
            if epochs is None:
                return phase if self.sure else None
            if epoch <= epochs:
                return phase
            if not self.sure:
                return None
            epoch -= epochs
        return None

    def loss_of(self, phase: int | None) -> str | None:
        """Give the loss of a phase, None where the plan does not name it."""
        return self.phases[phase - 1][0] if phase is not None and phase <= len(self.phases) else None

    def text(self) -> str | None:
        """Write the plan as `ce:200,mse`; None where there is none or a loss is not known."""
        parts = [loss if epochs is None else f"{loss}:{epochs}" for loss, epochs in self.phases]
        return ",".join(map(str, parts)) if parts and all(loss for loss, _ in self.phases) else None


def phase_plan(description: Mapping[str, Any]) -> PhasePlan:
    """Give the phases that the description of a run names.

    `phases` is taken at its word. `phase1_loss`, `phase1_epochs`, `phase2_loss`, ... tell the losses of the phases
    that a file names, but not that a run whose file names none went through them.
    """
    if "phases" in description:
        return PhasePlan(phases=parse_phases(description["phases"]), sure=True)
    numbered: list[tuple[str | None, int | None]] = []
    while f"phase{len(numbered) + 1}_loss" in description or f"phase{len(numbered) + 1}_epochs" in description:
        prefix = f"phase{len(numbered) + 1}_"
        numbered.append((description.get(f"{prefix}loss"), description.get(f"{prefix}epochs")))
    return PhasePlan(phases=tuple(numbered), sure=False)


def parse_phases(text: str) -> tuple[tuple[str, int | None], ...]:
    """Read `ce:200,mse:400`; the last phase may leave its epochs out, and milestones (`@100`) are left out."""
    parts = [part.strip() for part in text.split(",")]
    phases: list[tuple[str, int | None]] = []
    for place, part in enumerate(parts, start=1):
        loss, colon, rest = part.partition(":")
        if not loss or (not colon and place < len(parts)):
            raise ValueError(f"{shown(text)} is not a list of phases such as ce:200,mse:400")
        epochs, *milestones = rest.split("@")
        for milestone in milestones:
            whole(milestone, 1, LARGEST)
        phases.append((loss_name(loss), whole(epochs, 1, LARGEST) if colon else None))
    return tuple(phases)


def list_changes(text: str) -> list[tuple[int, str]]:
    """Give after which epochs of a run something changes at once, and what: `ce:200@100,mse` has two."""
    changes, begun = [], 0
    phases = parse_phases(text)
    for part, (_, epochs) in zip(text.split(","), phases, strict=True):
        changes += [
            (begun + whole(milestone, 1, LARGEST), "the learning rate drops") for milestone in part.split("@")[1:]
        ]
        begun += epochs or 0
        changes.append((begun, "the loss changes"))
    return changes[:-1]  # after the last phase comes nothing


def loss_name(text: str) -> str:
    """Check the name of a loss: what phases are written with (`ce:200,mse`) cannot be part of it."""
    if not 0 < len(text) <= 64 or not text.isprintable() or any(mark in text for mark in ":,;@ "):
        raise ValueError(f"{shown(text)} is not the name of a loss, such as ce or mse")
    if _reads_as_number(text):
        raise ValueError(f"{shown(text)} is a number, and a loss is a name, such as ce or mse")
    return text


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
