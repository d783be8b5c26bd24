"""Which states of a run are kept on disk: the ends of its phases, and its latest.

A state goes to disk every so many epochs, at the end of a phase, and when minutes have passed since the last one. In
between it is copied in memory, so that a run that is asked to stop loses no finished epoch.

A folder may outlive its store, or hold what another store left. So each checkpoint names the run that it is of, by
when the run was made and what it is, and one of another run is never continued.
"""

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ncdiag.domain.records import Run
from ncdiag.run_files import list_checkpoints, remove_unfinished
from ncdiag.training.checkpoint import (
    DamagedCheckpointError,
    load_checkpoint,
    remove_checkpoints,
    save_checkpoint,
    set_aside,
)
from ncdiag.training.events import Checkpoint

MINUTES_APART = 5.0  # what a kill without warning may cost at most, in time; writing a state takes well under a second


def find_state(folder: Path, run: Run, tell: Callable[[str], None]) -> dict[str, Any] | None:
    """Give the latest state of the run that can be read, if the folder has one; those of other runs are removed.

    A damaged checkpoint is renamed to `*.damaged`, and `tell` is called with a sentence about it: the one before
    leads to the same end. Call it while holding the lock of the run: what a killed process has begun is removed.
    """
    remove_unfinished(folder)
    for epoch in reversed(list_checkpoints(folder)):
        try:
            state = load_checkpoint(folder, epoch)
        except DamagedCheckpointError as error:
            aside = set_aside(folder, epoch)
            tell(f"{run.name}: {str(error).splitlines()[0]}. It was renamed to {aside.name}, and is not used")
            continue
        if state.get("run") == run.identity:
            return state
        remove_checkpoints(folder, [epoch])
    return None


class Keeper:
    """Keeps the states of one run as they come."""

    def __init__(self, folder: Path, run: Run, *, every: int) -> None:
        self.folder = folder
        self.identity = run.identity
        self.phase_ends = list(itertools.accumulate(phase.epochs for phase in run.spec.phases))
        self.every = every
        self.saved_at = time.monotonic()
        self.unsaved: tuple[int, dict[str, Any]] | None = None

    def keep(self, checkpoint: Checkpoint) -> None:
        """Save a state, or remember a copy of it until the next."""
        # A copy, of this run alone: its tensors are parts of its group's, and torch.save writes the whole of a part.
        epoch, state = checkpoint.epoch, _copied({**checkpoint.state, "run": self.identity})
        overdue = time.monotonic() - self.saved_at > 60 * MINUTES_APART
        if checkpoint.milestone or overdue or epoch % self.every == 0:
            self._save(epoch, state)
        else:
            self.unsaved = epoch, state

    def save_latest(self) -> None:
        """Save the state that is only remembered, if there is one."""
        if self.unsaved:
            self._save(*self.unsaved)

    def _save(self, epoch: int, state: dict[str, Any]) -> None:
        save_checkpoint(self.folder, epoch, state)
        keep = {*self.phase_ends, epoch}
        remove_checkpoints(self.folder, [old for old in list_checkpoints(self.folder) if old not in keep])
        self.unsaved = None
        self.saved_at = time.monotonic()


def _copied(value: Any) -> Any:
    """Copy a state on its device; training goes on to change the tensors in place."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(item) for item in value)
    return value
