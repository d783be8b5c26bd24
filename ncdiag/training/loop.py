"""The training loop: runs on one data set go in, what happens to each comes out, an event at a time.

The loop writes nothing. It yields an event and goes on when it is asked for the next, so whoever consumes the events
decides what is stored, and an epoch counts as done only once its record has been taken. A checkpoint of an epoch is
therefore offered after the epoch's record: a state that is on disk never lacks its row. The records of a group come
one after another, so that they can be stored as one.

Runs whose networks have one shape take their steps together (`ncdiag.training.steps`), yet share nothing but the data:
each has its own weights, optimiser, order and fate, and comes out as if it had been alone. Who is in a group is
decided anew at every epoch, so a run that ended or has not been reached yet costs the others nothing.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch

from ncdiag.domain.spec import RunSpec
from ncdiag.training.datasets import Dataset
from ncdiag.training.events import Checkpoint, Ended, EpochDone, Event, Intervened
from ncdiag.training.member import Member
from ncdiag.training.reproducibility import batch_order, full_precision
from ncdiag.training.steps import Steps

__all__ = ["Checkpoint", "Ended", "EpochDone", "Event", "Intervened", "train"]


def train(
    specs: Sequence[RunSpec],
    data: Dataset,
    *,
    states: Mapping[int, dict[str, Any]] | None = None,
    together: int = 1,
    given_up: Collection[int] = (),
) -> Iterator[Event]:
    """Train a number of runs on one data set, on the device where the data lies.

    `states` holds, for members that are continued, the checkpoint they start from; up to `together` members that can
    will take their steps as one. A member in `given_up`, which may grow meanwhile, is not trained from the next epoch
    on. Every other member ends with `Ended`; one that diverges or dies leaves the others as they are.
    """
    with full_precision():
        members = [Member(i, spec, data, (states or {}).get(i)) for i, spec in enumerate(specs)]
        for member in members:
            if member.epoch and (ended := member.ending(0.0)):  # killed between its last checkpoint and its end
                member.live = False
                yield ended
        steps: dict[tuple[tuple[int, int], ...], Steps] = {}
        for epoch in range(1, max(spec.epochs for spec in specs) + 1):
            ready = [m for m in members if m.live and m.epoch == epoch - 1 and m.index not in given_up]
            groups = {_key(group, epoch): group for group in _groups(ready, data.device, together)}
            # Those of groups that are no more go first: on a GPU they hold the memory that new ones need.
            steps = {key: steps[key] for key in groups if key in steps}
            for key, group in groups.items():
                for member in group:
                    yield from member.begin_epoch()
                if key not in steps:
                    steps[key] = _make_steps(group, data)
                started = time.perf_counter()
                orders = [batch_order(member.spec.seed, epoch, len(data.train_labels)) for member in group]
                losses = steps[key].take(orders, [member.lr for member in group]).tolist()  # waits for the device
                seconds = (time.perf_counter() - started) / len(group)
                for member in group:
                    yield from member.evaluate(seconds)
                for member, loss in zip(group, losses, strict=True):
                    yield from member.conclude(loss)


def _groups(members: list[Member], device: torch.device, together: int) -> Iterator[list[Member]]:
    """Give the members that will take the steps of their next epoch as one, or side by side."""
    kinds: dict[tuple[Any, ...], list[Member]] = {}
    for member in members:
        spec, (number, _) = member.spec, member.spec.phase_of(member.epoch + 1)
        kind = spec.network, spec.batch_size, spec.precision, spec.phases[number - 1].loss
        kinds.setdefault(kind, []).append(member)
    for (network, *_), alike in kinds.items():
        size = together if network.arch == "mlp" or device.type == "cuda" else 1
        yield from (alike[start : start + size] for start in range(0, len(alike), size))


def _key(group: list[Member], epoch: int) -> tuple[tuple[int, int], ...]:
    """Give what must stay for a group's steps to go on: who is in it, and the phase of each."""
    return tuple((member.index, member.spec.phase_of(epoch)[0]) for member in group)


def _make_steps(group: list[Member], data: Dataset) -> Steps:
    spec = group[0].spec
    return Steps(
        [member.network for member in group],
        [member.optimizer for member in group],
        data,
        batch_size=spec.batch_size,
        loss=group[0].phase.loss,
        precision=spec.precision,
    )
