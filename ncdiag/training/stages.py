"""Work that the CPU and the device do in turn, several pieces at once, so that neither waits for the other.

A piece of work is a generator that gives the device something to do, pauses, and needs the outcome when it goes on.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Stages = Generator[None, None, T]


class HostCopy:
    """Tensors on their way to the CPU."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        on_gpu = [tensor.device for tensor in tensors.values() if tensor.device.type == "cuda"]
        # Only where an event tells when they have arrived may the copies come later than this call.
        self.copies = {name: tensor.to("cpu", non_blocking=bool(on_gpu)) for name, tensor in tensors.items()}
        self.arrival = torch.cuda.current_stream(on_gpu[0]).record_event() if on_gpu else None

    def arrays(self) -> dict[str, Any]:
        """Wait until they have arrived, and for nothing that the device was given later."""
        if self.arrival:
            self.arrival.synchronize()
        return {name: copy.numpy() for name, copy in self.copies.items()}


def finish(stages: Stages[T]) -> T:
    """Do a piece of work to its end."""
    (result,) = overlapped([stages], 1)
    return result


def timed(stages: Stages[T], spend: Callable[[float], None]) -> Stages[T]:
    """Do the same, and say of every stage how many seconds it took."""
    while True:
        started = time.perf_counter()
        try:
            next(stages)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            spend(time.perf_counter() - started)
        yield


def overlapped(work: Iterable[Stages[T]], number: int) -> Iterator[T]:
    """Do pieces of work, up to `number` of them at once, and give their results in order."""
    coming, under_way = iter(work), deque[_Piece[T]]()
    while True:
        # A new piece first: the device is busy with it while the others go on.
        begun = [_Piece(stages) for stages in islice(coming, 1 if len(under_way) < number else 0)]
        for piece in under_way:
            piece.go_on()
        under_way.extend(begun)
        if not under_way:
            return
        while under_way and under_way[0].ended:
            yield under_way.popleft().result


class _Piece(Generic[T]):
    """A piece of work that has begun."""

    result: T

    def __init__(self, stages: Stages[T]) -> None:
        self.stages = stages
        self.ended = False
        self.go_on()

    def go_on(self) -> None:
        if self.ended:
            return
        try:
            next(self.stages)
        except StopIteration as end:
            self.ended, self.result = True, end.value
