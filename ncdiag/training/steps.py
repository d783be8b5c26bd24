"""The training steps of an epoch, for a group of runs that each visit the data in an order of their own.

Networks that form one stack compute as one. Those that do not, convolutional ones and stacks of other shapes, take
their steps in turn: on a GPU each in a stream of its own, so that one fills what another leaves idle, by the same
kernels as if it were alone.
"""

from collections.abc import Iterator, Sequence
from itertools import count

import torch
from torch import Tensor

from ncdiag.domain.spec import Loss, Precision
from ncdiag.training.datasets import Dataset
from ncdiag.training.lane import Lane
from ncdiag.training.network import Network
from ncdiag.training.objectives import WITH_GRADIENT
from ncdiag.training.optimizers import Optimizer
from ncdiag.training.stack import make_stacks


class Steps:
    """Takes the steps of an epoch: networks of one shape, one loss, one batch size, for each network its optimiser.

    `eager` issues every step anew on a GPU too, instead of replaying one: to compare the two. What goes side by side
    with others takes the numbers of its lanes from `numbers`.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        optimizers: Sequence[Optimizer],
        data: Dataset,
        *,
        batch_size: int,
        loss: Loss,
        precision: Precision,
        eager: bool = False,
        numbers: Iterator[int] | None = None,
    ) -> None:
        self.lanes: list[Lane] = []
        self.parts: list[slice] = []  # of the members, for each lane
        numbers = numbers or count()
        start = 0
        for stack in make_stacks(networks):
            part = slice(start, start := start + len(stack.networks))
            self.parts.append(part)
            self.lanes.append(
                Lane(
                    stack,
                    optimizers[part],
                    data,
                    batch_size=batch_size,
                    loss_of=WITH_GRADIENT[loss],
                    precision=precision,
                    eager=eager,
                    number=next(numbers),
                )
            )

    def take(self, orders: Sequence[Tensor], rates: Sequence[float]) -> Tensor:
        """Go once through the data and give the sum of the batches' mean losses of each network, [E], on the device.

        `orders` holds a permutation of the samples for each network, on the CPU.
        """
        (losses,) = take_side_by_side([self], [orders], [rates])
        return losses


def take_side_by_side(
    several: Sequence[Steps], orders: Sequence[Sequence[Tensor]], rates: Sequence[Sequence[float]]
) -> list[Tensor]:
    """Take the steps of an epoch in several places at once, each as in `Steps.take`, and wait for none of them."""
    lanes = []
    for steps, their_orders, their_rates in zip(several, orders, rates, strict=True):
        for lane, part in zip(steps.lanes, steps.parts, strict=True):
            lane.begin(their_orders[part], their_rates[part])
            lanes.append(lane)
    for place in range(max(lane.whole for lane in lanes)):
        for lane in lanes:
            if place < lane.whole:
                lane.step(place)
    for lane in lanes:
        lane.finish()
    return [torch.cat([lane.losses for lane in steps.lanes]) for steps in several]
