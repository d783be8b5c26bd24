"""How the weights move: SGD with Nesterov momentum, Adam and AdamW, by torch's fused kernels.

The kernels are those behind torch.optim's `fused=True`, called directly. torch.optim imports torch._dynamo on its first
use, two seconds of every process that trains, and takes longer over its bookkeeping than over a small network's update.
An update written in tensor operations, eleven passes over the weights, takes three times as long as the kernel's one
(benchmarks/kernels.py).

Each run has an optimiser of its own, whatever it is trained together with: learning rate, weight decay and moments of
one run cannot reach another, and the update is the same in every grouping, bit for bit. Parameters must be float32: in
lower precision the fused SGD of torch 2.13 silently does nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ncdiag.domain.spec import OptimizerSpec

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # of Adam and AdamW


class Optimizer(ABC):
    """The optimiser of one run. Rate and step count lie on the device, so that a captured step reads them there."""

    moments: tuple[str, ...]  # what is remembered of each parameter

    def __init__(self, spec: OptimizerSpec, parameters: Sequence[Tensor]) -> None:
        self.spec = spec
        self.rate = torch.zeros((), device=parameters[0].device)
        self.steps = torch.zeros((), device=parameters[0].device)
        self.state = {name: [torch.zeros_like(p) for p in parameters] for name in self.moments}

    @abstractmethod
    def step(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Move the parameters, in place; each gradient has the strides of its parameter."""

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

    def step(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Move the parameters."""
        self.steps += 1
        kernel = torch._fused_adamw_ if self.spec.name == "adamw" else torch._fused_adam_
        kernel(
            parameters,
            gradients,
            self.state["first"],
            self.state["second"],
            [],
            [self.steps] * len(parameters),
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

    def step(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Move the parameters."""
        momentum = self.spec.momentum
        torch._fused_sgd_(
            parameters,
            gradients,
            self.state["momentum"] if momentum else [],
            weight_decay=self.spec.weight_decay,
            momentum=momentum,
            lr=cast(Any, self.rate),  # a tensor too, which torch's stubs do not say
            dampening=0.0,
            nesterov=momentum > 0,
            maximize=False,
            is_first_step=False,  # what is remembered starts at zero, and the first step is like any other
        )


def make_optimizer(spec: OptimizerSpec, parameters: Sequence[Tensor]) -> Optimizer:
    """Give a fresh optimiser for the parameters of one run, float32."""
    return SGD(spec, parameters) if spec.name == "sgd" else Adam(spec, parameters)
