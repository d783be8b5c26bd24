import math

import numpy as np
import pytest
import torch

from ncdiag.domain.spec import Loss, OptimizerSpec, PhaseSpec
from ncdiag.training.objectives import LOSSES, WITH_GRADIENT, learning_rate

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])


def test_cross_entropy_is_minus_log_softmax_of_the_label() -> None:
    logits = LOGITS.numpy()
    expected = [-math.log(math.exp(row[k]) / np.exp(row).sum()) for row, k in zip(logits, [0, 2], strict=True)]
    np.testing.assert_allclose(LOSSES["ce"](LOGITS, LABELS).numpy(), expected, rtol=1e-12)


def test_squared_error_is_averaged_over_classes() -> None:
    expected = [((2 - 1) ** 2 + 1 + 0.25) / 3, 1 / 3]
    np.testing.assert_allclose(LOSSES["mse"](LOGITS, LABELS).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("loss", ["ce", "mse"])
@pytest.mark.parametrize("batch", [1, 20, 128])
def test_the_gradient_of_the_mean_loss_has_the_bits_of_autograd(loss: Loss, batch: int) -> None:
    generator = torch.Generator().manual_seed(batch)
    logits = 3 * torch.randn(batch, 10, generator=generator)
    labels = torch.randint(10, (batch,), generator=generator)
    of_each = LOSSES[loss](logits.requires_grad_(), labels)
    of_each.mean().backward()
    losses, gradient = WITH_GRADIENT[loss](logits.detach(), labels, 1 / batch)
    assert torch.equal(losses, of_each)
    assert logits.grad is not None
    assert torch.equal(gradient, logits.grad)


def _torch_schedule(name: str, epochs: int, milestones: list[int]) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler: torch.optim.lr_scheduler.LRScheduler
    if name == "cosine":
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    else:
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones)
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("name", "phase", "milestones"),
    [
        ("cosine", PhaseSpec(loss="ce", epochs=40), []),
        ("multistep", PhaseSpec(loss="ce", epochs=40, milestones=(7, 30)), [7, 30]),
        ("multistep", PhaseSpec(loss="ce", epochs=200), [100, 150]),  # the published drops
        ("multistep", PhaseSpec(loss="mse", epochs=600), [300, 450]),
    ],
)
def test_schedule_equals_that_of_torch(name: str, phase: PhaseSpec, milestones: list[int]) -> None:
    spec = OptimizerSpec(name="sgd", lr=0.1, weight_decay=0, momentum=0.9, schedule=name)  # type: ignore[arg-type]
    rates = [learning_rate(spec, phase, epoch) for epoch in range(1, phase.epochs + 1)]
    np.testing.assert_allclose(rates, _torch_schedule(name, phase.epochs, milestones), rtol=1e-9, atol=1e-15)


def test_constant_schedule_stays() -> None:
    spec = OptimizerSpec(name="sgd", lr=0.1, weight_decay=0, schedule="constant")
    assert {learning_rate(spec, PhaseSpec(loss="ce", epochs=9), e) for e in range(1, 10)} == {0.1}
