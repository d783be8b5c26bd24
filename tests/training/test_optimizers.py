import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from ncdiag.domain.spec import OptimizerSpec
from ncdiag.training.optimizers import make_optimizer, step_alike


def _steps(spec: OptimizerSpec, gradients: list[float], start: float) -> list[float]:
    weight = torch.tensor([start])
    optimizer = make_optimizer(spec, [weight])
    optimizer.rate.fill_(spec.lr)
    path = []
    for gradient in gradients:
        optimizer.step([weight], [torch.tensor([gradient])])
        path.append(weight.item())
    return path


GRADIENTS = [0.5, -0.2, 0.1, 0.7]


def test_adam_adds_the_decay_to_the_gradient() -> None:
    lr, decay, w, m, v, expected = 0.01, 0.1, 1.5, 0.0, 0.0, []
    for step, gradient in enumerate(GRADIENTS, start=1):  # Kingma and Ba 2015, algorithm 1, with an L2 term
        g = gradient + decay * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= lr * (m / (1 - 0.9**step)) / (math.sqrt(v / (1 - 0.999**step)) + 1e-8)
        expected.append(w)
    spec = OptimizerSpec(name="adam", lr=lr, weight_decay=decay)
    np.testing.assert_allclose(_steps(spec, GRADIENTS, 1.5), expected, rtol=1e-5)


def test_adamw_decouples_the_decay() -> None:
    lr, decay, w, m, v, expected = 0.01, 0.1, 1.5, 0.0, 0.0, []
    for step, g in enumerate(GRADIENTS, start=1):  # Loshchilov and Hutter 2019, algorithm 2
        w -= lr * decay * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= lr * (m / (1 - 0.9**step)) / (math.sqrt(v / (1 - 0.999**step)) + 1e-8)
        expected.append(w)
    spec = OptimizerSpec(name="adamw", lr=lr, weight_decay=decay)
    np.testing.assert_allclose(_steps(spec, GRADIENTS, 1.5), expected, rtol=1e-5)


def test_sgd_takes_the_nesterov_step() -> None:
    lr, decay, momentum, w, buffer, expected = 0.1, 0.01, 0.9, 1.5, 0.0, []
    for gradient in GRADIENTS:  # Sutskever et al. 2013 as torch documents it
        g = gradient + decay * w
        buffer = momentum * buffer + g
        w -= lr * (g + momentum * buffer)
        expected.append(w)
    spec = OptimizerSpec(name="sgd", lr=lr, weight_decay=decay, momentum=momentum)
    np.testing.assert_allclose(_steps(spec, GRADIENTS, 1.5), expected, rtol=1e-5)


def test_sgd_without_momentum_is_plain() -> None:
    spec = OptimizerSpec(name="sgd", lr=0.1, weight_decay=0)
    np.testing.assert_allclose(_steps(spec, [1.0, 1.0], 0.0), [-0.1, -0.2], rtol=1e-6)


MAKERS: dict[str, Any] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": lambda p, **options: torch.optim.SGD(p, **options, nesterov=options["momentum"] > 0),
}


@pytest.mark.parametrize(
    ("name", "momentum"), [("adam", 0.0), ("adamw", 0.0), ("sgd", 0.0), ("sgd", 0.5), ("sgd", 0.9)]
)
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_steps_equal_those_of_torch(name: str, momentum: float, weight_decay: float) -> None:
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(shape, generator=generator) for shape in [(40, 30), (7,), (4, 3, 3, 3)]]
    ours[2] = ours[2].to(memory_format=torch.channels_last)
    theirs = [torch.nn.Parameter(tensor.clone()) for tensor in ours]
    optimizer = make_optimizer(
        OptimizerSpec(name=name, lr=0.1, weight_decay=weight_decay, momentum=momentum),  # type: ignore[arg-type]
        ours,
    )
    options = {"momentum": momentum} if name == "sgd" else {}
    oracle = MAKERS[name](theirs, lr=0.1, weight_decay=weight_decay, **options)
    for rate in (0.1, 0.1, 0.03, 0.01, 0.01):
        gradients = [torch.randn(t.shape, generator=generator).to(memory_format=_format(t)) for t in ours]
        optimizer.rate.fill_(rate)
        optimizer.step(ours, gradients)
        for group in oracle.param_groups:
            group["lr"] = rate
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient
        oracle.step()
    for mine, parameter in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, parameter.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_optimisers_that_move_together_move_as_each_alone(name: str) -> None:
    spec = OptimizerSpec(name=name, lr=0.1, weight_decay=0.01, momentum=0.9 if name == "sgd" else 0.0)  # type: ignore[arg-type]
    drawn = torch.Generator().manual_seed(0)
    weights = [[torch.randn(shape, generator=drawn) for shape in [(40, 30), (7,)]] for _ in range(3)]
    copies = [[tensor.clone() for tensor in own] for own in weights]
    together, alone = ([make_optimizer(spec, own) for own in of] for of in (weights, copies))
    for optimizer in (*together, *alone):
        optimizer.rate.fill_(0.1)
    for step in range(4):
        gradients = [[torch.randn(tensor.shape, generator=drawn) for tensor in own] for own in weights]
        moving = [0, 1, 2] if step else [1]  # one of them is a step ahead of the others
        step_alike(*([of[place] for place in moving] for of in (together, weights, gradients)))
        for place in moving:
            alone[place].step(copies[place], gradients[place])
    for ours, theirs in zip(weights, copies, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def _format(tensor: torch.Tensor) -> torch.memory_format:
    return torch.channels_last if tensor.dim() == 4 else torch.contiguous_format


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_state_continues_where_it_was_taken(name: str) -> None:
    spec = OptimizerSpec(name=name, lr=0.1, weight_decay=0.01, momentum=0.9 if name == "sgd" else 0.0)  # type: ignore[arg-type]
    whole, halves = ([torch.ones(3)], [torch.ones(3)])
    gradients = [torch.tensor([1.0, -0.5, 0.1 * step]) for step in range(6)]
    first, second = make_optimizer(spec, whole), make_optimizer(spec, halves)
    for step, gradient in enumerate(gradients):
        if step == 3:
            state = second.state_dict()
            second = make_optimizer(spec, halves)
            second.load_state_dict(state)
        for optimizer, parameters in ((first, whole), (second, halves)):
            optimizer.rate.fill_(0.1)
            optimizer.step(parameters, [gradient])
    assert torch.equal(whole[0], halves[0])


def test_training_does_not_load_the_compiler_of_torch() -> None:
    program = """
import sys
import torch
from ncdiag.domain.spec import NetworkSpec, OptimizerSpec
from ncdiag.training.networks import count_parameters
from ncdiag.training.optimizers import make_optimizer
for arch in ("mlp", "cnn"):
    count_parameters(NetworkSpec(arch=arch, depth=1, width=4), input_shape=(1, 8, 8), num_classes=3)
weights = [torch.ones(3)]
make_optimizer(OptimizerSpec(name="adam", lr=0.1, weight_decay=0), weights).step(weights, [torch.ones(3)])
assert "torch._dynamo" not in sys.modules
torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])  # the proof can fail
assert "torch._dynamo" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
