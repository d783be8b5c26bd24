"""Runs that this process holds, trained as one group: each is stored, told of and ended by itself.

The records that the runs of a group leave after an epoch are committed together: a commit waits for the disk, about as
long as a small network trains for an epoch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from ncdiag.errors import StoreError
from ncdiag.execution.held import HeldRun
from ncdiag.execution.signals import raise_if_asked
from ncdiag.store.faults import StoreBusyError
from ncdiag.store.recorder import store_together
from ncdiag.training.datasets import Dataset
from ncdiag.training.events import EpochDone
from ncdiag.training.loop import train
from ncdiag.training.memory import give_back_memory
from ncdiag.training.out_of_memory import is_out_of_memory

T = TypeVar("T")


def train_held(held: Sequence[HeldRun], load: Callable[[], Dataset], device: torch.device) -> None:
    """Train claimed runs on the data that `load` gives to their ends, which `HeldRun.ended` then says.

    An error that is of one run ends that run alone. A group for which the device has too little memory is halved, and
    one half trained after the other. Raises nothing but what asks the process to stop.
    """
    try:
        _Group(held).train(load, device)
        return
    except Exception as error:
        raise_if_asked()  # what was raised for that may have been taken for an error
        left = {member: one for member, one in enumerate(held) if one.ended is None}
        if len(held) == 1 or not is_out_of_memory(error):
            for member, one in left.items():
                one.fail(error, member=member)
            return
    # Only here, outside the handler, is the memory of the group free: the error holds on to its tensors.
    give_back_memory()
    for member, one in left.items():
        try:
            one.rewind()
        except Exception as error:  # a full disk, say
            one.fail(error, member=member)
    again = [one for one in left.values() if one.ended is None]
    half = (len(again) + 1) // 2
    for part in (again[:half], again[half:]):
        if part:
            train_held(part, load, device)


@dataclass
class _Group:
    held: Sequence[HeldRun]
    given_up: set[int] = field(default_factory=set)  # members that an error of their own has ended

    def train(self, load: Callable[[], Dataset], device: torch.device) -> None:
        data = load()
        data = data.to(device) if device.type == "cuda" else data.normalised()
        for member, one in enumerate(self.held):
            self.attempt(member, one.prepare, data)
        records: list[EpochDone] = []
        for event in train(
            [one.spec for one in self.held],
            data,
            states={member: one.state for member, one in enumerate(self.held) if one.state},
            given_up=self.given_up,
        ):
            raise_if_asked()
            if isinstance(event, EpochDone):
                records.append(event)
                continue
            if records:
                self.store(records)
                for done in records:
                    self.attempt(done.member, self.held[done.member].tell, done)
                records = []
            self.attempt(event.member, self.held[event.member].keep, event)

    def attempt(self, member: int, act: Callable[[T], None], argument: T) -> None:
        """Do something with a run; an error ends it, and one that has ended so is left alone.

        Too little memory is an error of the whole group, as long as it is one.
        """
        if member in self.given_up:
            return
        try:
            act(argument)
        except Exception as error:
            raise_if_asked()
            if len(self.held) > 1 and is_out_of_memory(error):
                raise
            self.held[member].fail(error, member=member)
            self.given_up.add(member)

    def store(self, records: Sequence[EpochDone]) -> None:
        """Store the records of an epoch at once; where that fails, each by itself."""
        left = {done.member: done.record for done in records if done.member not in self.given_up}
        at_once = {member: record for member, record in left.items() if not self.held[member].recorder.waiting}
        postponed: set[int] = set()
        try:
            store_together([(self.held[member].recorder, record) for member, record in at_once.items()])
            left = {member: record for member, record in left.items() if member not in at_once}
        except StoreBusyError:  # each by itself would wait as long, in vain
            postponed = set(at_once)
        except StoreError:  # of one of them, or of all: each by itself tells
            pass
        for member, record in left.items():
            recorder = self.held[member].recorder
            self.attempt(member, recorder.postpone if member in postponed else recorder.add, record)
