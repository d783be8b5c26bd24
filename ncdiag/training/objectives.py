"""What a phase minimises, and how fast: loss and learning-rate schedule.

Every schedule is a function of the epoch alone, so a run that is continued needs no state of it.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ncdiag.domain.evaluations import rate_drops
from ncdiag.domain.spec import Loss, OptimizerSpec, PhaseSpec

LossFunction = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the cross-entropy of each sample, shape [N], from logits [N, K] and labels [N]."""
    return functional.cross_entropy(logits, labels, reduction="none")


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the squared error to the one-hot target, averaged over the K classes, for each sample, shape [N]."""
    target = torch.zeros_like(logits).scatter_(1, labels[:, None], 1.0)  # functional.one_hot would look at the labels
    return (logits - target).square().mean(dim=1)


LOSSES: dict[Loss, LossFunction] = {"ce": cross_entropy, "mse": squared_error}


def learning_rate(spec: OptimizerSpec, phase: PhaseSpec, epoch: int) -> float:
    """Give the learning rate of an epoch, counted from 1 within its phase.

    cosine: from `lr` at the first epoch towards 0 after the last. multistep: a tenth after each of the `rate_drops`.
    """
    if spec.schedule == "cosine":
        return spec.lr * (1 + math.cos(math.pi * (epoch - 1) / phase.epochs)) / 2
    return spec.lr * 0.1 ** sum(epoch > drop for drop in rate_drops(spec.schedule, phase))
