"""The steps of networks that compute as one: a stack, its optimisers, and on a GPU a stream of their own.

On a GPU a step of a small network is over before the next one has been issued, so the step is captured once as a CUDA
graph and replayed. For that, everything a step reads lies on the device: the order, how far it has come, the learning
rates. Nothing waits for the device between `begin` and `finish`, and what one lane does waits for no other lane.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor

from ncdiag.domain.spec import OptimizerSpec, Precision
from ncdiag.training.agreement import agrees
from ncdiag.training.datasets import Dataset
from ncdiag.training.mlp import MLP
from ncdiag.training.objectives import LossWithGradient
from ncdiag.training.optimizers import Optimizer, step_alike
from ncdiag.training.reproducibility import casting, lowered_precision
from ncdiag.training.stack import OneMLP, Stack, StackedMLP

WARM_UP = 3  # steps before a capture, in which torch and its libraries allocate what they keep


class Lane:
    """Goes through the data with one stack: `begin`, a `step` for each place of a whole batch, `finish`.

    Lanes that go side by side have numbers of their own.
    """

    def __init__(
        self,
        stack: Stack,
        optimizers: Sequence[Optimizer],
        data: Dataset,
        *,
        batch_size: int,
        loss_of: LossWithGradient,
        precision: Precision,
        eager: bool,
        number: int,
    ) -> None:
        self.stack = stack
        self.optimizers = optimizers
        self.data = data
        self.loss_of = loss_of
        self.precision = precision
        self.moved = stack.by_network(stack.parameters)
        self.alike: list[list[int]] = []  # networks whose optimisers move by one call, by their places
        self.stacks: dict[int, list[Stack]] = {}  # that compute a step together, by the size of its batches
        members, samples = len(stack.networks), len(data.train_labels)
        self.whole = samples // batch_size  # batches; the rest of the samples make a smaller one at the end
        self.batches = torch.zeros(self.whole, members, batch_size, dtype=torch.int64, device=data.device)
        self.rest = torch.zeros(members, samples % batch_size, dtype=torch.int64, device=data.device)
        self.place = torch.zeros(1, dtype=torch.int64, device=data.device)
        self.losses = torch.zeros(members, device=data.device)  # of each network, summed over the batches
        self.stream = _stream(data.device, number) if data.device.type == "cuda" else None
        self.number = number
        self.captures = self.stream is not None and self.whole > 0 and not eager
        self.graph: torch.cuda.CUDAGraph | None = None

    def begin(self, orders: Sequence[Tensor], rates: Sequence[float]) -> None:
        """Take over where the caller has come to; `orders` and `rates` as in `Steps.take`."""
        if self.stream:
            self.stream.wait_stream(torch.cuda.current_stream(self.data.device))
        with self._as_asked():
            order = torch.stack(list(orders)).to(self.data.device)
            full, rest = order.tensor_split([order.shape[1] - self.rest.shape[1]], dim=1)
            self.batches.copy_(full.unflatten(1, (self.whole, self.batches.shape[2])).transpose(0, 1))
            self.rest.copy_(rest)
            self.place.zero_()
            self.losses.zero_()
            self._set_rates(rates)
            for network in self.stack.networks:
                network.train()
            if self.captures and self.graph is None:
                self.graph = self._capture()

    def step(self, place: int) -> None:
        """Take the step of a whole batch, at places 0, 1, ... in turn."""
        if self.graph:  # of which the precision is a part
            with torch.cuda.stream(self.stream):
                self.graph.replay()
        else:
            with self._as_asked():
                self.step_on(self.batches[place])

    def finish(self) -> None:
        """Take the step of the samples that are left, and let the caller go on where the lane has come to."""
        with self._as_asked():
            if self.rest.shape[1]:
                self.step_on(self.rest)
        if self.stream:
            torch.cuda.current_stream(self.data.device).wait_stream(self.stream)

    def step_on(self, index: Tensor) -> None:
        """Take one step of every network on the samples at `index`, int64 [E, B]."""
        gradients: list[list[Tensor]] = []
        for stack in self._stacks(index.shape[1]):
            part = slice(len(gradients), len(gradients) + len(stack.networks))
            gradients += self._gradients(stack, index[part], self.losses[part])
        for places in self.alike:
            step_alike(
                [self.optimizers[place] for place in places],
                [self.moved[place] for place in places],
                [gradients[place] for place in places],
            )

    def _gradients(self, stack: Stack, index: Tensor, losses: Tensor) -> list[list[Tensor]]:
        """Give the gradients of each network of a stack, and add its mean loss to `losses`."""
        x, labels = self.data.train_inputs(index), self.data.train_labels.index_select(0, index.flatten())
        with casting(self.precision, self.data.device):
            logits, backward = stack.forward(x)
        share = 1 / index.shape[1]  # of a sample in the mean over its batch
        found, gradient = self.loss_of(logits.float().flatten(0, 1), labels, share)
        losses += found.view(index.shape).mean(1)
        return stack.by_network(backward(gradient.view_as(logits).to(logits.dtype)))

    def _stacks(self, size: int) -> list[Stack]:
        """Give what computes batches of a size: on a CPU each network alone, where the stack gives it other bits."""
        if size not in self.stacks:
            apart = (
                isinstance(self.stack, StackedMLP)
                and self.data.device.type == "cpu"
                and not agrees(self.stack, size, self.precision)
            )
            self.stacks[size] = [OneMLP(cast(MLP, one)) for one in self.stack.networks] if apart else [self.stack]
        return self.stacks[size]

    def _set_rates(self, rates: Sequence[float]) -> None:
        alike: dict[tuple[OptimizerSpec, float], list[int]] = {}
        for place, (optimizer, rate) in enumerate(zip(self.optimizers, rates, strict=True)):
            optimizer.rate.fill_(rate)
            alike.setdefault((optimizer.spec, rate), []).append(place)
        if self.alike != list(alike.values()):
            self.alike = list(alike.values())
            self.graph = None  # it moves by other calls

    def _as_asked(self) -> ExitStack:
        """Compute on the lane's stream, in the precision that was asked for."""
        stack = ExitStack()
        if self.stream:
            stack.enter_context(torch.cuda.stream(self.stream))
        if self.stream or self.precision == "tf32":  # a flag of GPUs, which takes a while to set
            stack.enter_context(lowered_precision(self.precision))
        return stack

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Record the step on the lane's stream; what the warm-up changed is put back.

        The stream decides on which device the recording is made: torch's own stream for it is of the current one.
        """
        kept = [*self.stack.parameters, self.losses]
        for network in self.stack.networks:
            kept += network.buffers()
        for optimizer in self.optimizers:
            kept += [optimizer.steps, *(tensor for tensors in optimizer.state.values() for tensor in tensors)]
        before = [tensor.detach().clone() for tensor in kept]
        for _ in range(WARM_UP):
            self._step_and_advance()
            self.place.zero_()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self._step_and_advance()
        with torch.no_grad():
            for tensor, value in zip(kept, before, strict=True):
                tensor.copy_(value)
        return graph

    def _step_and_advance(self) -> None:
        """Take the step of the place that the device knows: what is recorded, and tried before with all its kernels."""
        self.step_on(self.batches.index_select(0, self.place)[0])
        self.place += 1


@lru_cache
def _stream(device: torch.device, number: int) -> torch.cuda.Stream:
    """Give the stream of a lane, the same for every group: libraries keep memory for each stream they have seen."""
    return torch.cuda.Stream(device)
