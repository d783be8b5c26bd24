from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.spec import Precision
from ncdiag.training.datasets import Dataset
from ncdiag.training.member import Member
from ncdiag.training.reproducibility import batch_order, full_precision
from ncdiag.training.stack import make_stack
from ncdiag.training.steps import Steps


def make_steps(data: Dataset, members: int = 1, precision: Precision = "float32", **given: Any) -> Steps:
    spec = {"depth": 2, "width": 16, "train_size": 200, "batch_size": 64, **given}
    group = [Member(seed, complete_spec({**spec, "seed": seed}), data, None) for seed in range(members)]
    return Steps(
        make_stack([member.network for member in group]),
        [member.optimizer for member in group],
        data,
        batch_size=group[0].spec.batch_size,
        loss="ce",
        precision=precision,
    )


def epoch(steps: Steps, number: int = 1) -> Tensor:
    samples = len(steps.data.train_labels)
    orders = [batch_order(seed, number, samples) for seed in range(len(steps.optimizers))]
    return steps.take(orders, [1e-3] * len(orders)).clone()


def weights(steps: Steps) -> list[Tensor]:
    return [tensor.cpu() for one in steps.stack.by_network(steps.stack.parameters) for tensor in one]


@pytest.mark.parametrize(("samples", "batch"), [(200, 64), (192, 64), (30, 64), (64, 64), (1, 1)])
def test_every_sample_is_visited_once_in_the_order_given(digits: Dataset, samples: int, batch: int) -> None:
    data = digits.subset(torch.arange(samples))
    steps = make_steps(data, batch_size=batch)
    visited: list[Tensor] = []
    step = steps._step

    def watch(index: Tensor) -> None:
        visited.append(index.clone())
        step(index)

    steps._step = watch  # type: ignore[method-assign]
    epoch(steps)
    order = batch_order(0, 1, samples)
    assert [index[0].tolist() for index in visited] == [part.tolist() for part in order.split(batch)]


def test_losses_are_summed_for_each_network_over_the_batches(digits: Dataset) -> None:
    steps = make_steps(digits, members=3)
    losses = [steps.take([torch.arange(200)] * 3, [0.0] * 3).clone()]  # at rate 0 the weights stay
    networks = steps.stack.networks
    for network, loss in zip(networks, losses[0], strict=True):
        parts = torch.arange(200).split(64)
        expected = sum(
            torch.nn.functional.cross_entropy(network(digits.train_inputs(part)), digits.train_labels[part])
            for part in parts
        )
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)


def test_lower_precision_is_of_the_products_alone(digits: Dataset) -> None:
    exact, lower = make_steps(digits), make_steps(digits, precision="bf16")
    losses = epoch(exact), epoch(lower)
    torch.testing.assert_close(losses[0], losses[1], rtol=0.02, atol=0)
    assert not torch.equal(losses[0], losses[1])
    assert all(tensor.dtype == torch.float32 for tensor in weights(lower))
    # a difference of bfloat16's size, 2^-8, in what the steps moved; none in what is stored
    for a, b in zip(weights(exact), weights(lower), strict=True):
        torch.testing.assert_close(a, b, rtol=0.05, atol=5e-3)


def test_tf32_is_asked_for_during_the_steps_only(digits: Dataset) -> None:
    matmul = torch.backends.cuda.matmul
    with full_precision():
        for precision in ("float32", "tf32"):
            steps = make_steps(digits, precision=precision)  # type: ignore[arg-type]
            seen: list[bool] = []
            steps._step = lambda index, seen=seen: seen.append(matmul.allow_tf32)  # type: ignore[method-assign]
            epoch(steps)
            assert set(seen) == {precision == "tf32"}
            assert not matmul.allow_tf32


@pytest.mark.gpu
@pytest.mark.parametrize("arch", ["mlp", "resnet20"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_captured_step_does_what_the_step_does(digits: Dataset, arch: str, optimizer: str) -> None:
    data = digits.to("cuda") if arch == "mlp" else replace(digits, channels=3).to("cuda")
    given = {"optimizer": optimizer} | ({"arch": arch, "depth": 8, "width": 0.25} if arch == "resnet20" else {})
    with full_precision():
        eager, captured = make_steps(data, **given), make_steps(data, **given)
        eager._find_step = lambda: eager._step_at_place  # type: ignore[method-assign]
        for number in (1, 2, 3):
            torch.testing.assert_close(epoch(eager, number), epoch(captured, number), rtol=1e-5, atol=1e-6)
    assert captured.captured is not None
    for a, b in zip(weights(eager), weights(captured), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.gpu
def test_capturing_trains_nothing(digits: Dataset) -> None:
    steps = make_steps(digits.to("cuda"))
    before = weights(steps)
    steps._capture()
    assert all(torch.equal(a, b) for a, b in zip(before, weights(steps), strict=True))
    assert not any(tensor.any() for optimizer in steps.optimizers for tensor in optimizer.state["first"])


@pytest.mark.gpu
def test_a_group_on_a_gpu_repeats_and_is_near_to_its_members(digits: Dataset) -> None:
    data = digits.to("cuda")
    with full_precision():
        twice = []
        for _ in range(2):
            together = make_steps(data, members=4)
            for number in range(1, 6):  # 20 steps
                epoch(together, number)
            twice.append(weights(together))
        assert all(torch.equal(a, b) for a, b in zip(*twice, strict=True))
        alone = make_steps(data)
        for number in range(1, 6):
            epoch(alone, number)
    for a, b in zip(weights(alone), twice[0][: len(weights(alone))], strict=True):
        assert (a - b).norm() <= 1e-5 * a.norm()
