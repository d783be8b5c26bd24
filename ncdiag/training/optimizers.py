"""How the weights move: SGD with Nesterov momentum, Adam and AdamW, by torch's fused kernels.

The kernels are those behind torch.optim's `fused=True`, called directly. torch.optim imports torch._dynamo on its first
use, two seconds of every process that trains, and takes longer over its bookkeeping than over a small network's update.
An update written in tensor operations, eleven passes over the weights, takes three times as long as the kernel's one on
Intel, and a tenth longer on AMD's Zen 4 (benchmarks/kernels.py).

Each run has an optimiser of its own, whatever it is trained together with: moments and step count of one run cannot
reach another, and on a CPU the update is the same in every grouping, bit for bit. Those that are specified alike, such
as the seeds of one condition, move by one call of the kernel: on a GPU the update of one small network would fill a
tenth of the chip. Parameters must be float32: in lower precision the fused SGD of torch 2.13 silently does nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor

from ncdiag.domain.spec import OptimizerName, OptimizerSpec

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # of Adam and AdamW


class Optimizer(ABC):
    """The optimiser of one run. Rate and step count lie on the device, so that a captured step reads them there."""

    moments: tuple[str, ...]  # what is remembered of each parameter

    def __init__(self, spec: OptimizerSpec, parameters: Sequence[Tensor]) -> None:
        self.spec = spec
        self.rate = torch.zeros((), device=parameters[0].device)
        self.steps = torch.zeros((), device=parameters[0].device)
        self.state = {name: [torch.zeros_like(p) for p in parameters] for name in self.moments}

    def step(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Move the parameters, in place; each gradient has the strides of its parameter."""
        step_alike([self], [parameters], [gradients])

    @abstractmethod
    def _move(
        self, parameters: list[Tensor], gradients: list[Tensor], state: dict[str, list[Tensor]], steps: list[Tensor]
    ) -> None:
        """Move parameters, of this optimiser and others alike, given moments and step count of each."""

    def state_dict(self) -> dict[str, Any]:
        """Give the state by reference, as plain tensors."""
        return {"steps": self.steps, **self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a copy of a state, from any device."""
        self.steps.copy_(state["steps"])
        for name in self.moments:
            for ours, theirs in zip(self.state[name], state[name], strict=True):
                ours.copy_(theirs)


class Adam(Optimizer):
    """Adam with the decay in the gradient (Kingma and Ba 2015) or decoupled (Loshchilov and Hutter 2019)."""

    moments = ("first", "second")

    def _move(
        self, parameters: list[Tensor], gradients: list[Tensor], state: dict[str, list[Tensor]], steps: list[Tensor]
    ) -> None:
        kernel = torch._fused_adamw_ if self.spec.name == "adamw" else torch._fused_adam_
        kernel(
            parameters,
            gradients,
            state["first"],
            state["second"],
            [],
            steps,
            lr=self.rate,
            beta1=BETA1,
            beta2=BETA2,
            weight_decay=self.spec.weight_decay,
            eps=EPS,
            amsgrad=False,
            maximize=False,
        )


class SGD(Optimizer):
    """Gradient descent with the decay in the gradient and, where there is momentum, Nesterov's step as torch has it."""

    moments = ("momentum",)

    def _move(
        self, parameters: list[Tensor], gradients: list[Tensor], state: dict[str, list[Tensor]], steps: list[Tensor]
    ) -> None:
        momentum = self.spec.momentum
        torch._fused_sgd_(
            parameters,
            gradients,
            state["momentum"] if momentum else [],
            weight_decay=self.spec.weight_decay,
            momentum=momentum,
            lr=cast(Any, self.rate),  # a tensor too, which torch's stubs do not say
            dampening=0.0,
            nesterov=momentum > 0,
            maximize=False,
            is_first_step=False,  # what is remembered starts at zero, and the first step is like any other
        )


OPTIMIZERS: dict[OptimizerName, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": Adam}


def make_optimizer(spec: OptimizerSpec, parameters: Sequence[Tensor]) -> Optimizer:
    """Give a fresh optimiser for the parameters of one run, float32."""
    return OPTIMIZERS[spec.name](spec, parameters)


def step_alike(
    optimizers: Sequence[Optimizer], parameters: Sequence[list[Tensor]], gradients: Sequence[list[Tensor]]
) -> None:
    """Move the parameters of several runs whose optimisers have one specification and, now, one rate."""
    first = optimizers[0]
    torch._foreach_add_([optimizer.steps for optimizer in optimizers], 1)
    first._move(
        list(chain.from_iterable(parameters)),
        list(chain.from_iterable(gradients)),
        {name: list(chain.from_iterable(one.state[name] for one in optimizers)) for name in first.moments},
        [one.steps for one, own in zip(optimizers, parameters, strict=True) for _ in own],
    )
