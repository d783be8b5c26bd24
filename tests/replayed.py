"""The rules of a CUDA graph, kept on a CPU: what was recorded is done again, on the tensors it was recorded with.

A recording computes nothing that lasts. A replay runs no Python: a number that Python gave is the one of the recording,
and a tensor that has been put in the place of another is not seen. What would wait for the device, or draw a random
number, cannot be recorded.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ncdiag.training.lane import Lane

FORBIDDEN = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.nondeterministic_seeded}


class Recording:
    """Stands in for `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        with torch.no_grad(), torch._C._AutoDispatchBelowAutograd():
            for operation, args, options, results in self.calls:
                again = operation(*args, **options)
                for ours, theirs in zip(tensors(results), tensors(again), strict=True):
                    if ours.data_ptr() != theirs.data_ptr():  # else it was written there
                        ours.copy_(theirs)


class _Recorder(TorchDispatchMode):
    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording
        self.overwritten: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if found := FORBIDDEN.intersection(operation.tags):
            raise RuntimeError(f"{operation} cannot be captured: {found}")
        options = kwargs or {}
        for tensor in _written(operation, args, options):
            self.overwritten.append((tensor, tensor.clone()))
        results = operation(*args, **options)
        if not operation.is_view:
            self.recording.calls.append((operation, args, options, results))
        return results


def _written(operation: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Iterator[Tensor]:
    """Give the tensors that an operation changes."""
    for place, argument in enumerate(operation._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from tensors(args[place] if place < len(args) else options[argument.name])


def tensors(tree: Any) -> list[Tensor]:
    """Give the tensors in nested tuples, lists and dictionaries."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


@contextmanager
def record(recording: Recording, stream: object = None) -> Iterator[None]:
    """Stand in for `torch.cuda.graph`."""
    recorder = _Recorder(recording)
    with recorder:
        yield
    with torch.no_grad():
        for tensor, before in reversed(recorder.overwritten):
            tensor.copy_(before)


class _Stream:
    def wait_stream(self, other: object) -> None:
        """On a CPU what was issued is done."""


def replay_steps(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    """Let every lane that is made from now on record its step and replay it; give the recordings, as they are made."""
    recordings: list[Recording] = []

    def make_recording() -> Recording:
        recordings.append(Recording())
        return recordings[-1]

    def make_lane(lane: Lane, *args: Any, eager: bool, **options: Any) -> None:
        make(lane, *args, eager=eager, **options)
        lane.stream = stream  # type: ignore[assignment]
        lane.captures = lane.whole > 0 and not eager

    make, stream = Lane.__init__, _Stream()
    monkeypatch.setattr(Lane, "__init__", make_lane)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", make_recording)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    return recordings
