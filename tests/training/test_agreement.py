from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.spec import Precision
from ncdiag.training import agreement
from ncdiag.training.agreement import agrees
from ncdiag.training.datasets import Dataset
from ncdiag.training.member import Member
from ncdiag.training.products import Products, pick_products, using_products
from ncdiag.training.reproducibility import batch_order
from ncdiag.training.stack import OneMLP, StackedMLP
from ncdiag.training.steps import Steps
from ncdiag.training.threads import computing_threads

LIBRARIES = sorted({"default", pick_products()})


@pytest.fixture(autouse=True, params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Iterator[Products]:
    """Every library that this processor may use, on one thread as in a sweep."""
    with using_products(request.param), computing_threads(1):
        yield request.param


def make_steps(data: Dataset, seeds: range, batch_size: int, precision: Precision, **network: object) -> Steps:
    members = [Member(seed, complete_spec({**network, "seed": seed}), data, None) for seed in seeds]
    networks, optimizers = [member.network for member in members], [member.optimizer for member in members]
    return Steps(networks, optimizers, data, batch_size=batch_size, loss="ce", precision=precision)


def trained(steps: Steps, seeds: range) -> list[list[Tensor]]:
    """Train for three epochs; give the weights of each network."""
    for epoch in range(1, 4):
        orders = [batch_order(seed, epoch, len(steps.lanes[0].data.train_labels)) for seed in seeds]
        steps.take(orders, [1e-3] * len(orders))
    return [
        [p.detach().clone() for p in network.parameters()] for lane in steps.lanes for network in lane.stack.networks
    ]


# Among them those for which a batch of products has other bits than one on AMD Zen 4: batches of few rows, which the
# last of an epoch are (200 = 3 x 64 + 8), sizes that are no multiples of 16, and a head behind 16 features.
@pytest.mark.parametrize(("width", "batch_size"), [(16, 64), (16, 20), (17, 33), (33, 7), (64, 29), (100, 128), (3, 5)])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_network_is_the_same_in_every_group_and_place_bit_for_bit(
    digits: Dataset, width: int, batch_size: int, activation: str
) -> None:
    data = digits.subset(torch.arange(200))
    shape = {"depth": 2, "width": width, "activation": activation}
    alone = [
        trained(make_steps(data, range(s, s + 1), batch_size, "float32", **shape), range(s, s + 1)) for s in range(5)
    ]
    for seeds in (range(5), range(3, 5), range(2, 5)):
        for seed, found in zip(
            seeds, trained(make_steps(data, seeds, batch_size, "float32", **shape), seeds), strict=True
        ):
            assert all(torch.equal(a, b) for a, b in zip(found, alone[seed][0], strict=True))


def test_so_it_is_on_two_threads(digits: Dataset) -> None:
    data = digits.subset(torch.arange(200))
    with computing_threads(2):
        alone = trained(make_steps(data, range(1), 64, "float32", depth=2, width=17), range(1))
        group = trained(make_steps(data, range(3), 64, "float32", depth=2, width=17), range(3))
    assert all(torch.equal(a, b) for a, b in zip(group[0], alone[0], strict=True))


def test_so_it_is_in_lower_precision(digits: Dataset) -> None:
    data = digits.subset(torch.arange(200))
    alone = trained(make_steps(data, range(1), 64, "bf16", depth=2, width=32), range(1))
    group = trained(make_steps(data, range(3), 64, "bf16", depth=2, width=32), range(3))
    assert all(torch.equal(a, b) for a, b in zip(group[0], alone[0], strict=True))


def test_networks_whose_bits_differ_in_a_stack_take_their_steps_one_by_one(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = digits.subset(torch.arange(200))
    monkeypatch.setattr("ncdiag.training.lane.agrees", lambda stack, size, precision: size == 64)
    steps = make_steps(data, range(3), 64, "float32", depth=2, width=16)
    (lane,) = steps.lanes
    trained(steps, range(3))
    assert {size: [type(stack) for stack in stacks] for size, stacks in lane.stacks.items()} == {
        64: [StackedMLP],
        8: [OneMLP] * 3,
    }


def make_stack() -> StackedMLP:
    """Make a stack of which nothing has been asked yet."""
    spec = complete_spec({"depth": 2, "width": 64}).network
    networks = [
        agreement.MLP(spec, input_shape=(1, 8, 8), num_classes=10, generator=torch.Generator().manual_seed(seed))
        for seed in range(2)
    ]
    agreement._agrees.cache_clear()
    return StackedMLP(networks)


@pytest.mark.parametrize("changed", ["logits", "gradient"])
def test_one_bit_is_found(monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    stack = make_stack()
    name = {"logits": "baddbmm", "gradient": "bmm"}[changed]
    kernel = getattr(torch, name)

    def otherwise(*tensors: Tensor) -> Tensor:
        product: Tensor = kernel(*tensors)
        product.view(-1)[-1:] = product.view(-1)[-1:].nextafter(torch.tensor(torch.inf))
        return product

    monkeypatch.setattr(torch, name, otherwise)
    assert not agrees(stack, 64, "float32")
    agreement._agrees.cache_clear()


def test_an_answer_is_kept_for_its_setting() -> None:
    stack = make_stack()
    first = agrees(stack, 64, "float32"), agreement._agrees.cache_info().misses
    assert (agrees(stack, 64, "float32"), agreement._agrees.cache_info().misses) == first
    agrees(stack, 32, "float32")
    assert agreement._agrees.cache_info().misses == 2
