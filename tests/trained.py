"""Runs trained to their end in memory, with all that was told and every state on the way."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.spec import PhaseSpec, RunSpec
from ncdiag.training.datasets import Dataset
from ncdiag.training.events import Checkpoint, EpochDone, Event
from ncdiag.training.loop import train


def make_spec(**given: Any) -> RunSpec:
    phases = (PhaseSpec.parse("ce:3"), PhaseSpec.parse("mse:3"))
    small = {"depth": 2, "width": 16, "train_size": 200, "phases": phases, "batch_size": 64, "weight_decay": 1e-3}
    return complete_spec(small | given)


def copied(event: Checkpoint) -> dict[str, Any]:
    weights = {name: value.clone() for name, value in event.state["weights"].items()}
    optimizer = torch.load(_bytes(event.state["optimizer"]), weights_only=True)
    return {**event.state, "weights": weights, "optimizer": optimizer}


def _bytes(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


def run(
    specs: Sequence[RunSpec], data: Dataset, **options: Any
) -> tuple[list[Event], dict[tuple[int, int], dict[str, Any]]]:
    """Train to the end; give the events, and a copy of every checkpoint by member and epoch."""
    events, states = [], {}
    for event in train(specs, data, **options):
        events.append(event)
        if isinstance(event, Checkpoint):
            states[event.member, event.epoch] = copied(event)
    return events, states


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def records(events: list[Event], member: int = 0) -> list[Any]:
    return [
        replace(event.record, seconds=None)
        for event in events
        if isinstance(event, EpochDone) and event.member == member
    ]
