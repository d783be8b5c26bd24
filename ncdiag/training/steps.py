"""The training steps of an epoch, for a group of runs that each visit the data in an order of their own.

Networks that form one stack compute as one. Those that do not, convolutional ones, take their steps in turn: on a GPU
each in a stream of its own, so that one fills what another leaves idle, by the same kernels as if it were alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ncdiag.domain.spec import Loss, Precision
from ncdiag.training.datasets import Dataset
from ncdiag.training.lane import Lane
from ncdiag.training.network import Network
from ncdiag.training.objectives import LOSSES
from ncdiag.training.optimizers import Optimizer
from ncdiag.training.reproducibility import lowered_precision
from ncdiag.training.stack import make_stacks


class Steps:
    """Takes the steps of an epoch: networks of one shape, one loss, one batch size, for each network its optimiser.

    `eager` issues every step anew on a GPU too, instead of replaying one: to compare the two.
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
    ) -> None:
        self.precision = precision
        self.lanes: list[Lane] = []
        self.parts: list[slice] = []  # of the members, for each lane
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
                    loss_of=LOSSES[loss],
                    precision=precision,
                    eager=eager,
                    number=len(self.lanes),
                )
            )

    def take(self, orders: Sequence[Tensor], rates: Sequence[float]) -> Tensor:
        """Go once through the data and give the sum of the batches' mean losses of each network, [E], on the device.

        `orders` holds a permutation of the samples for each network, on the CPU.
        """
        with lowered_precision(self.precision):
            for lane, part in zip(self.lanes, self.parts, strict=True):
                lane.begin(orders[part], rates[part])
            for place in range(self.lanes[0].whole):
                for lane in self.lanes:
                    lane.step(place)
            for lane in self.lanes:
                lane.finish()
            return torch.cat([lane.losses for lane in self.lanes])
