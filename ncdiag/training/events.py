"""What training tells whoever consumes it, in the order in which it happens."""

from dataclasses import dataclass
from typing import Any

from ncdiag.domain.records import EpochRecord, InterventionRecord, RunStatus


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """An epoch was trained and measured."""

    member: int
    record: EpochRecord


@dataclass(frozen=True, kw_only=True)
class Intervened:
    """A network was changed between two epochs."""

    member: int
    record: InterventionRecord


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state after an epoch, by reference: save or copy it before asking for the next event.

    It holds nothing of the other members: a run is continued in any group. `milestone` marks the end of a phase, where
    other runs may branch off, and the end of the run.
    """

    member: int
    epoch: int
    milestone: bool
    state: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run came to its end, planned or not; an error of it, or of its process, is told by whoever meets that."""

    member: int
    status: RunStatus
    reason: str | None = None


Event = EpochDone | Intervened | Checkpoint | Ended
