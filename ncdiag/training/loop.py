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
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor

from ncdiag.domain.kinds import step_kind
from ncdiag.domain.spec import RunSpec
from ncdiag.training.datasets import Dataset
from ncdiag.training.events import Event
from ncdiag.training.member import Member
from ncdiag.training.reproducibility import batch_order, full_precision
from ncdiag.training.stages import overlapped
from ncdiag.training.steps import Steps, take_side_by_side

_Key = tuple[tuple[int, int], ...]  # of each member of a group: its index and the number of its phase

MEASURED_AT_ONCE = 3  # networks on a GPU: each has three stages, and while one computes there, the others do here


def train(
    specs: Sequence[RunSpec],
    data: Dataset,
    *,
    states: Mapping[int, dict[str, Any]] | None = None,
    given_up: Collection[int] = (),
) -> Iterator[Event]:
    """Train a number of runs on one data set, on the device where the data lies.

    `states` holds, for members that are continued, the checkpoint they start from. Members whose next steps are of one
    kind take them as one; on a CPU, where a convolution fills a core, not those that convolve. A member in `given_up`,
    which may grow meanwhile, is not trained from the next epoch on. Every other member ends with `Ended`; one that
    diverges or dies leaves the others as they are.
    """
    with full_precision():
        members = [Member(i, spec, data, (states or {}).get(i)) for i, spec in enumerate(specs)]
        for member in members:
            if member.epoch and (ended := member.ending(0.0)):  # killed between its last checkpoint and its end
                member.live = False
                yield ended
        steps: dict[_Key, Steps] = {}
        orders = _Orders(len(data.train_labels))
        for epoch in range(1, max(spec.epochs for spec in specs) + 1):
            orders.forget(before=epoch)
            ready = [m for m in members if m.live and m.epoch == epoch - 1 and m.index not in given_up]
            groups = {_key(group): group for group in _groups(ready, data.device)}
            # Those of groups that are no more go first: on a GPU they hold the memory that new ones need.
            steps = {key: steps[key] for key in groups if key in steps}
            for at_once in _side_by_side(groups, data.device):
                yield from _train_epoch(at_once, steps, orders, data)


def _train_epoch(
    groups: Mapping[_Key, list[Member]], steps: dict[_Key, Steps], orders: "_Orders", data: Dataset
) -> Iterator[Event]:
    """Train groups for an epoch, side by side; `steps` is given those of new groups."""
    everyone = [member for group in groups.values() for member in group]
    on_gpu = _is_gpu(data.device)
    for member in everyone:
        yield from member.begin_epoch()
    for key, group in groups.items():
        if key not in steps:
            steps[key] = _make_steps(group, data, beside=steps.values())
    started = time.perf_counter()
    losses = take_side_by_side(
        [steps[key] for key in groups],
        [[orders.of(member.spec.seed, member.epoch) for member in group] for group in groups.values()],
        [[member.lr for member in group] for group in groups.values()],
    )
    for member in everyone if on_gpu else ():  # which is at work meanwhile
        orders.of(member.spec.seed, member.epoch + 1)
    total_losses = torch.cat(losses).tolist()  # waits for the device
    seconds = (time.perf_counter() - started) / len(everyone)
    evaluations = (member.evaluate(seconds) for member in everyone)
    yield from filter(None, overlapped(evaluations, MEASURED_AT_ONCE if on_gpu else 1))
    for member, loss in zip(everyone, total_losses, strict=True):
        yield from member.conclude(loss)


def _groups(members: list[Member], device: torch.device) -> Iterator[list[Member]]:
    """Give the members that will take the steps of their next epoch as one, or side by side."""
    kinds: dict[tuple[Hashable, ...], list[Member]] = {}
    for member in members:
        phase = member.spec.phases[member.coming_phase[0] - 1]
        kinds.setdefault(step_kind(member.spec, phase), []).append(member)
    for alike in kinds.values():
        if alike[0].spec.network.convolves and not _is_gpu(device):
            yield from ([member] for member in alike)
        else:
            yield alike


def _key(group: list[Member]) -> _Key:
    """Give what must stay for a group's steps to go on: who is in it, and the phase of each."""
    return tuple((member.index, member.coming_phase[0]) for member in group)


def _side_by_side(groups: dict[_Key, list[Member]], device: torch.device) -> list[dict[_Key, list[Member]]]:
    """Sort groups by when they take their steps: on a GPU, which few of them fill, all at once."""
    if _is_gpu(device):
        return [groups] if groups else []
    return [{key: group} for key, group in groups.items()]


def _is_gpu(device: torch.device) -> bool:
    return device.type == "cuda"


def _make_steps(group: list[Member], data: Dataset, beside: Iterable[Steps]) -> Steps:
    spec = group[0].spec
    taken = {lane.number for steps in beside for lane in steps.lanes}
    return Steps(
        [member.network for member in group],
        [member.optimizer for member in group],
        data,
        batch_size=spec.batch_size,
        loss=group[0].phase.loss,
        precision=spec.precision,
        numbers=(number for number in count() if number not in taken),
    )


class _Orders:
    """The orders in which epochs visit the samples, each drawn once for all runs of its seed."""

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples
        self.drawn: dict[tuple[int, int], Tensor] = {}

    def of(self, seed: int, epoch: int) -> Tensor:
        """Give the order of an epoch, which is not to be changed."""
        if (seed, epoch) not in self.drawn:
            self.drawn[seed, epoch] = batch_order(seed, epoch, self.num_samples)
        return self.drawn[seed, epoch]

    def forget(self, *, before: int) -> None:
        """Keep the orders of an epoch and later ones."""
        self.drawn = {key: order for key, order in self.drawn.items() if key[1] >= before}
