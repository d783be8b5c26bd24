"""The steps of networks that compute as one: a stack, its optimisers, and on a GPU a stream of their own.

On a GPU a step of a small network is over before the next one has been issued, so the step is captured once as a CUDA
graph and replayed. For that, everything a step reads lies on the device: the order, how far it has come, the learning
rates. Nothing waits for the device between `begin` and `finish`, and what one lane does waits for no other lane.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ncdiag.domain.spec import Precision
from ncdiag.training.datasets import Dataset
from ncdiag.training.objectives import LossFunction
from ncdiag.training.optimizers import Optimizer
from ncdiag.training.stack import Stack

WARM_UP = 3  # steps before a capture, in which torch and its libraries allocate what they keep


class Lane:
    """Goes through the data with one stack: `begin`, a `step` for each place of a whole batch, `finish`."""

    def __init__(
        self,
        stack: Stack,
        optimizers: Sequence[Optimizer],
        data: Dataset,
        *,
        batch_size: int,
        loss_of: LossFunction,
        precision: Precision,
        eager: bool,
    ) -> None:
        self.stack = stack
        self.optimizers = optimizers
        self.data = data
        self.loss_of = loss_of
        self.lowered: AbstractContextManager[Any] = nullcontext()
        if precision == "bf16":  # without a cache: what a captured step casts, it casts anew at every replay
            self.lowered = torch.autocast(data.device.type, dtype=torch.bfloat16, cache_enabled=False)
        self.moved = stack.by_network(stack.parameters)
        members, samples = len(stack.networks), len(data.train_labels)
        self.whole = samples // batch_size  # batches; the rest of the samples make a smaller one at the end
        self.batches = torch.zeros(self.whole, members, batch_size, dtype=torch.int64, device=data.device)
        self.rest = torch.zeros(members, samples % batch_size, dtype=torch.int64, device=data.device)
        self.place = torch.zeros(1, dtype=torch.int64, device=data.device)
        self.losses = torch.zeros(members, device=data.device)  # of each network, summed over the batches
        # What a sample counts in the mean over its batch: the gradient that the loss of each sample is given.
        self.share = torch.full((members * batch_size,), 1 / batch_size, device=data.device)
        self.stream = torch.cuda.Stream(data.device) if data.device.type == "cuda" else None
        self.captures = self.stream is not None and self.whole > 0 and not eager
        self.graph: torch.cuda.CUDAGraph | None = None

    def begin(self, orders: Sequence[Tensor], rates: Sequence[float]) -> None:
        """Take over where the caller has come to; `orders` and `rates` as in `Steps.take`."""
        if self.stream:
            self.stream.wait_stream(torch.cuda.current_stream(self.data.device))
        with self._on_stream():
            order = torch.stack(list(orders)).to(self.data.device)
            full, rest = order.tensor_split([order.shape[1] - self.rest.shape[1]], dim=1)
            self.batches.copy_(full.unflatten(1, (self.whole, self.batches.shape[2])).transpose(0, 1))
            self.rest.copy_(rest)
            self.place.zero_()
            self.losses.zero_()
            for optimizer, rate in zip(self.optimizers, rates, strict=True):
                optimizer.rate.fill_(rate)
            for network in self.stack.networks:
                network.train()
            if self.captures and self.graph is None:
                self.graph = self._capture()

    def step(self, place: int) -> None:
        """Take the step of a whole batch, at places 0, 1, ... in turn."""
        with self._on_stream():
            if self.graph:
                self.graph.replay()
            else:
                self.step_on(self.batches[place])

    def finish(self) -> None:
        """Take the step of the samples that are left, and let the caller go on where the lane has come to."""
        with self._on_stream():
            if self.rest.shape[1]:
                self.step_on(self.rest)
        if self.stream:
            torch.cuda.current_stream(self.data.device).wait_stream(self.stream)

    def step_on(self, index: Tensor) -> None:
        """Take one step of every network on the samples at `index`, int64 [E, B]."""
        x, labels = self.data.train_inputs(index), self.data.train_labels.index_select(0, index.flatten())
        with self.lowered:
            logits = self.stack.logits(x)
        losses = self.loss_of(logits.float().flatten(0, 1), labels)
        share = self.share if len(losses) == len(self.share) else torch.full_like(losses, 1 / index.shape[1])
        gradients = self.stack.by_network(torch.autograd.grad(losses, self.stack.parameters, share))
        for optimizer, parameters, ours in zip(self.optimizers, self.moved, gradients, strict=True):
            optimizer.step(parameters, ours)
        self.losses += losses.detach().view(index.shape).mean(1)

    def _on_stream(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self.stream) if self.stream else nullcontext()

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
            self.step_on(self.batches[0])
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self.step_on(self.batches.index_select(0, self.place)[0])
            self.place += 1
        with torch.no_grad():
            for tensor, value in zip(kept, before, strict=True):
                tensor.copy_(value)
        return graph
