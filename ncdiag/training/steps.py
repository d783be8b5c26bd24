"""The training steps of an epoch, for a stack of networks that each visit the data in an order of their own.

On a GPU a step of a small network is over before the next one has been issued, so the step is captured once as a CUDA
graph and replayed. For that, everything a step reads lies on the device: the order, how far it has come, the learning
rates. Nothing waits for the device before the epoch is over.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ncdiag.domain.spec import Loss, Precision
from ncdiag.training.datasets import Dataset
from ncdiag.training.objectives import LOSSES
from ncdiag.training.optimizers import Optimizer
from ncdiag.training.reproducibility import lowered_precision
from ncdiag.training.stack import Stack

WARM_UP = 3  # steps before a capture, in which torch and its libraries allocate what they keep


class Steps:
    """Takes the steps of an epoch: one loss, one batch size, and for each network its optimiser."""

    def __init__(
        self,
        stack: Stack,
        optimizers: Sequence[Optimizer],
        data: Dataset,
        *,
        batch_size: int,
        loss: Loss,
        precision: Precision,
    ) -> None:
        self.stack = stack
        self.optimizers = optimizers
        self.data = data
        self.loss_of = LOSSES[loss]
        self.precision = precision
        self.moved = stack.by_network(stack.parameters)
        members, samples = len(stack.networks), len(data.train_labels)
        self.whole = samples // batch_size  # batches; the rest of the samples make a smaller one at the end
        self.batches = torch.zeros(self.whole, members, batch_size, dtype=torch.int64, device=data.device)
        self.place = torch.zeros(1, dtype=torch.int64, device=data.device)
        self.losses = torch.zeros(members, device=data.device)
        self.captured: torch.cuda.CUDAGraph | None = None

    def take(self, orders: Sequence[Tensor], rates: Sequence[float]) -> Tensor:
        """Go once through the data and give the sum of the batches' mean losses of each network, [E].

        `orders` holds a permutation of the samples for each network, on the CPU.
        """
        order = torch.stack(list(orders)).to(self.data.device)
        full, rest = order.tensor_split([self.whole * self.batches.shape[2]], dim=1)
        self.batches.copy_(full.unflatten(1, (self.whole, self.batches.shape[2])).transpose(0, 1))
        self.place.zero_()
        self.losses.zero_()
        for optimizer, rate in zip(self.optimizers, rates, strict=True):
            optimizer.rate.fill_(rate)
        for network in self.stack.networks:
            network.train()
        with lowered_precision(self.precision):
            step = self._find_step()
            for _ in range(self.whole):
                step()
            if rest.shape[1]:
                self._step(rest)
        return self.losses

    def _find_step(self) -> Callable[[], None]:
        if self.data.device.type == "cpu" or not self.whole:
            return self._step_at_place
        if self.captured is None:
            self.captured = self._capture()
        return self.captured.replay

    def _step_at_place(self) -> None:
        self._step(self.batches.index_select(0, self.place)[0])
        self.place += 1

    def _step(self, index: Tensor) -> None:
        """Take one step of every network on the samples at `index`, int64 [E, B]."""
        x, labels = self.data.train_inputs(index), self.data.train_labels[index]
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16", cache_enabled=False):
            logits = self.stack.logits(x)
        losses = self.loss_of(logits.float().flatten(0, 1), labels.flatten()).unflatten(0, index.shape).mean(1)
        gradients = self.stack.by_network(torch.autograd.grad(losses.sum(), self.stack.parameters))
        for optimizer, parameters, ours in zip(self.optimizers, self.moved, gradients, strict=True):
            optimizer.step(parameters, ours)
        self.losses += losses.detach()

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Record the step on a GPU; what the warm-up changed is put back."""
        kept = [*self.stack.parameters, self.place, self.losses]
        for network in self.stack.networks:
            kept += network.buffers()
        for optimizer in self.optimizers:
            kept += [optimizer.steps, *(tensor for tensors in optimizer.state.values() for tensor in tensors)]
        before = [tensor.detach().clone() for tensor in kept]
        stream = torch.cuda.Stream(self.data.device)
        stream.wait_stream(torch.cuda.current_stream(self.data.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._step_at_place()
                self.place.zero_()
        torch.cuda.current_stream(self.data.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step_at_place()
        with torch.no_grad():
            for tensor, value in zip(kept, before, strict=True):
                tensor.copy_(value)
        return graph
