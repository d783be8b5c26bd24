from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.spec import Precision
from ncdiag.training import optimizers as optimizers_module
from ncdiag.training.datasets import Dataset
from ncdiag.training.member import Member
from ncdiag.training.reproducibility import batch_order, full_precision
from ncdiag.training.steps import Steps


def make_steps(
    data: Dataset,
    members: int = 1,
    precision: Precision = "float32",
    eager: bool = False,
    first_seed: int = 0,
    **given: Any,
) -> Steps:
    spec = {"depth": 2, "width": 16, "train_size": 200, "batch_size": 64, **given}
    seeds = range(first_seed, first_seed + members)
    group = [Member(seed, complete_spec({**spec, "seed": seed}), data, None) for seed in seeds]
    return Steps(
        [member.network for member in group],
        [member.optimizer for member in group],
        data,
        batch_size=group[0].spec.batch_size,
        loss="ce",
        precision=precision,
        eager=eager,
    )


def epoch(steps: Steps, number: int = 1) -> Tensor:
    samples = len(steps.lanes[0].data.train_labels)
    orders = [batch_order(seed, number, samples) for seed in range(steps.parts[-1].stop)]
    return steps.take(orders, [1e-3] * len(orders)).clone()


def weights(steps: Steps) -> list[Tensor]:
    return [tensor.cpu().clone() for lane in steps.lanes for one in lane.moved for tensor in one]


@pytest.mark.parametrize(("samples", "batch"), [(200, 64), (192, 64), (30, 64), (64, 64), (1, 1)])
def test_every_sample_is_visited_once_in_the_order_given(digits: Dataset, samples: int, batch: int) -> None:
    data = digits.subset(torch.arange(samples))
    steps = make_steps(data, batch_size=batch)
    visited: list[Tensor] = []
    (lane,) = steps.lanes
    step_on = lane.step_on

    def watch(index: Tensor) -> None:
        visited.append(index.clone())
        step_on(index)

    lane.step_on = watch  # type: ignore[method-assign]
    epoch(steps)
    order = batch_order(0, 1, samples)
    assert [index[0].tolist() for index in visited] == [part.tolist() for part in order.split(batch)]


def test_losses_are_summed_for_each_network_over_the_batches(digits: Dataset) -> None:
    steps = make_steps(digits, members=3)
    losses = [steps.take([torch.arange(200)] * 3, [0.0] * 3).clone() for _ in range(2)]  # at rate 0 the weights stay
    assert torch.equal(*losses)  # each of its own epoch
    networks = steps.lanes[0].stack.networks
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
            (lane,) = steps.lanes
            lane.step_on = lambda index, seen=seen: seen.append(matmul.allow_tf32)  # type: ignore[method-assign]
            epoch(steps)
            assert set(seen) == {precision == "tf32"}
            assert not matmul.allow_tf32


def convolutional(data: Dataset, **given: Any) -> tuple[Dataset, dict[str, Any]]:
    """Give the data and the specification of a small ResNet, which BatchNorm gives buffers."""
    return replace(data, channels=3), {"arch": "resnet20", "depth": 8, "width": 0.25, **given}


def test_networks_that_form_no_stack_take_their_steps_in_turn(digits: Dataset) -> None:
    data, shape = convolutional(digits)
    steps = make_steps(data, members=3, **shape)
    taken: list[tuple[int, int]] = []
    for number, lane in enumerate(steps.lanes):

        def watch(index: Tensor, number: int = number, step_on: Any = lane.step_on) -> None:
            taken.append((number, index.shape[1]))
            step_on(index)

        lane.step_on = watch  # type: ignore[method-assign]
    epoch(steps)
    assert taken == [(number, size) for size in (64, 64, 64, 8) for number in range(3)]


def test_networks_in_turn_are_the_ones_alone_bit_for_bit(digits: Dataset) -> None:
    data, shape = convolutional(digits)
    steps = make_steps(data, members=3, **shape)
    losses = [epoch(steps, number) for number in (1, 2)]
    for seed in range(3):
        alone = make_steps(data, members=1, first_seed=seed, **shape)
        orders = [[batch_order(seed, number, 200)] for number in (1, 2)]
        for order, together in zip(orders, losses, strict=True):
            assert torch.equal(alone.take(order, [1e-3]), together[seed : seed + 1])
        for a, b in zip(alone.lanes[0].moved[0], steps.lanes[seed].moved[0], strict=True):
            assert torch.equal(a, b)


def test_optimisers_alike_move_by_one_call(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    group = [
        Member(seed, complete_spec({"depth": 2, "width": 16, "seed": seed, "weight_decay": decay}), digits, None)
        for seed, decay in enumerate((1e-3, 1e-4, 1e-3))
    ]
    networks, optimizers = [member.network for member in group], [member.optimizer for member in group]
    steps = Steps(networks, optimizers, digits, batch_size=64, loss="ce", precision="float32")
    moved: list[int] = []

    def step_alike(some: list[Any], *tensors: Any) -> None:
        moved.append(len(some))
        optimizers_module.step_alike(some, *tensors)

    monkeypatch.setattr("ncdiag.training.lane.step_alike", step_alike)
    orders = [torch.arange(64)] * 3
    (lane,) = steps.lanes
    for rates, expected in (([1e-3] * 3, [2, 1]), ([1e-3, 1e-3, 1e-4], [1, 1, 1])):
        moved.clear()
        lane._set_rates(rates)
        lane.step_on(torch.stack(orders))
        assert moved == expected


@pytest.mark.gpu
@pytest.mark.parametrize("arch", ["mlp", "resnet20"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_a_captured_step_does_what_the_step_does(
    digits: Dataset, arch: str, optimizer: str, precision: Precision
) -> None:
    data, shape = (digits, {}) if arch == "mlp" else convolutional(digits)
    data = data.to("cuda")
    with full_precision():
        eager, captured = (
            make_steps(data, precision=precision, eager=eager, optimizer=optimizer, **shape) for eager in (True, False)
        )
        for number in (1, 2, 3):
            torch.testing.assert_close(epoch(eager, number), epoch(captured, number), rtol=1e-5, atol=1e-6)
    assert eager.lanes[0].graph is None
    assert captured.lanes[0].graph is not None
    for a, b in zip(state(eager), state(captured), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def state(steps: Steps) -> list[Tensor]:
    """Give everything that steps change, on the CPU: weights, buffers, moments and counts."""
    tensors = weights(steps)
    for lane in steps.lanes:
        tensors += [buffer.cpu().clone() for network in lane.stack.networks for buffer in network.buffers()]
        for optimizer in lane.optimizers:
            tensors += [optimizer.steps.cpu(), *(t.cpu().clone() for ts in optimizer.state.values() for t in ts)]
    return tensors


@pytest.mark.gpu
@pytest.mark.parametrize("arch", ["mlp", "resnet20"])
def test_capturing_trains_nothing(digits: Dataset, arch: str) -> None:
    data, shape = (digits, {}) if arch == "mlp" else convolutional(digits)
    steps = make_steps(data.to("cuda"), **shape)
    before = state(steps)
    for lane in steps.lanes:
        lane._set_rates([1e-3])
        with torch.cuda.stream(lane.stream):
            lane._capture()
    torch.cuda.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(before, state(steps), strict=True))


@pytest.mark.gpu
def test_nothing_waits_for_the_gpu_within_the_steps(digits: Dataset) -> None:
    steps = make_steps(digits.to("cuda"), members=2)
    (lane,) = steps.lanes
    orders = [batch_order(seed, 1, 200) for seed in range(2)]
    lane.begin(orders, [1e-3] * 2)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for place in range(lane.whole):
            lane.step(place)
        lane.finish()  # issues the smaller batch step by step
        with pytest.raises(RuntimeError, match="synchroniz"):
            lane.losses.tolist()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_a_captured_step_of_squared_error_does_what_the_step_does(digits: Dataset) -> None:
    data = digits.to("cuda")
    spec = complete_spec({"depth": 2, "width": 16})
    both = []
    with full_precision():
        for eager in (True, False):
            member = Member(0, spec, data, None)
            steps = Steps(
                [member.network],
                [member.optimizer],
                data,
                batch_size=64,
                loss="mse",
                precision="float32",
                eager=eager,
            )
            both.append([epoch(steps, number).cpu() for number in (1, 2, 3)])
    torch.testing.assert_close(both[0], both[1], rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
def test_a_graph_is_made_anew_where_rates_part(digits: Dataset) -> None:
    data = digits.to("cuda")
    eager, captured = make_steps(data, members=2, eager=True), make_steps(data, members=2)
    with full_precision():
        for rates in ([1e-3, 1e-3], [1e-3, 1e-4], [1e-3, 1e-4]):
            orders = [batch_order(seed, 1, len(data.train_labels)) for seed in range(2)]
            found = [steps.take(orders, rates).clone() for steps in (eager, captured)]
            torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
def test_networks_side_by_side_on_a_gpu_are_the_ones_alone_bit_for_bit(digits: Dataset) -> None:
    data, shape = convolutional(digits)
    data = data.to("cuda")
    with full_precision():
        steps = make_steps(data, members=4, **shape)
        assert len({lane.stream.cuda_stream for lane in steps.lanes if lane.stream}) == 4
        for number in range(1, 6):
            epoch(steps, number)
        for seed in range(4):
            alone = make_steps(data, first_seed=seed, **shape)
            for number in range(1, 6):
                alone.take([batch_order(seed, number, 200)], [1e-3])
            for a, b in zip(alone.lanes[0].moved[0], steps.lanes[seed].moved[0], strict=True):
                assert torch.equal(a, b)


@pytest.mark.gpu
def test_a_step_is_captured_on_the_device_of_the_data(digits: Dataset) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    first, second = make_steps(digits.to("cuda:0")), make_steps(digits.to("cuda:1"))
    for number in (1, 2):
        torch.testing.assert_close(epoch(first, number).cpu(), epoch(second, number).cpu(), rtol=1e-5, atol=1e-6)
    assert torch.cuda.current_device() == 0


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
