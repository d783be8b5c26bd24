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
LossWithGradient = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]

_aten = torch.ops.aten
_EACH, _NO_LABEL = 0, -100  # no reduction; the label that counts for nothing, torch's default


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the cross-entropy of each sample, shape [N], from logits [N, K] and labels [N]."""
    return functional.cross_entropy(logits, labels, reduction="none")


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the squared error to the one-hot target, averaged over the K classes, for each sample, shape [N]."""
    return _differences(logits, labels).square().mean(dim=1)


LOSSES: dict[Loss, LossFunction] = {"ce": cross_entropy, "mse": squared_error}


def cross_entropy_and_gradient(logits: Tensor, labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Give what `cross_entropy` does, and the gradient [N, K] of its sum times `share`, by autograd's kernels."""
    logs = _aten._log_softmax(logits, 1, False)
    losses, counted = _aten.nll_loss_forward(logs, labels, None, _EACH, _NO_LABEL)
    shares = torch.full_like(losses, share)
    gradient = _aten.nll_loss_backward(shares, logs, labels, None, _EACH, _NO_LABEL, counted)
    return losses, _aten._log_softmax_backward_data(gradient, logs, 1, logs.dtype)


def squared_error_and_gradient(logits: Tensor, labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Give what `squared_error` does, and the gradient [N, K] of its sum times `share`."""
    differences = _differences(logits, labels)
    losses = differences.square().mean(dim=1)
    return losses, torch.full_like(losses, share)[:, None] / logits.shape[1] * (2 * differences)


# Autograd would find the same bits, and take a tenth of a small network's step for it.
WITH_GRADIENT: dict[Loss, LossWithGradient] = {"ce": cross_entropy_and_gradient, "mse": squared_error_and_gradient}


def _differences(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the logits less the one-hot target, [N, K]."""
    target = torch.zeros_like(logits).scatter_(1, labels[:, None], 1.0)  # functional.one_hot would look at the labels
    return logits - target


def learning_rate(spec: OptimizerSpec, phase: PhaseSpec, epoch: int) -> float:
    """Give the learning rate of an epoch, counted from 1 within its phase.

    cosine: from `lr` at the first epoch towards 0 after the last. multistep: a tenth after each of the `rate_drops`.
    """
    if spec.schedule == "cosine":
        return spec.lr * (1 + math.cos(math.pi * (epoch - 1) / phase.epochs)) / 2
    return spec.lr * 0.1 ** sum(epoch > drop for drop in rate_drops(spec.schedule, phase))
