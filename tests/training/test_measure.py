import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from reference import clustered, reference_metrics
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ncdiag.domain.records import METRICS
from ncdiag.training import measure as module
from ncdiag.training.measure import Measurement, measuring
from ncdiag.training.network import Network
from ncdiag.training.objectives import LOSSES
from ncdiag.training.stages import finish

Data = tuple[Tensor, Tensor]


class Plain(Network):
    """A network whose features are its inputs."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(dim, num_classes)
        with torch.no_grad():
            self.head.weight.copy_(torch.linspace(-1, 1, dim * num_classes).sin().view(num_classes, dim))
            self.head.bias.copy_(torch.linspace(0, 1, num_classes))

    def features(self, x: Tensor) -> Tensor:
        return x

    @property
    def last_hidden(self) -> nn.Linear:
        raise NotImplementedError


class Normalised(Plain):
    """A network that would change if it were run in training mode: BatchNorm counts, Dropout draws."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__(dim, num_classes)
        self.hidden = nn.Sequential(nn.Linear(dim, dim), nn.BatchNorm1d(dim), nn.ReLU(), nn.Dropout(0.5))
        self.frozen = nn.BatchNorm1d(dim)

    def features(self, x: Tensor) -> Tensor:
        return self.frozen(self.hidden(x))


def split(data: Data, *sizes: int) -> Callable[[], list[Data]]:
    """Cut data into batches of these sizes and one with the rest."""
    features, labels = data
    parts = [*sizes, len(labels) - sum(sizes)]
    return lambda: list(zip(features.split(parts), labels.split(parts), strict=True))


def measured(network: Network, data: Data, *sizes: int, loss: str = "ce", **options: Any) -> Measurement:
    num_classes = network.head.out_features
    stages = measuring(
        network,
        split(data, *sizes),
        num_samples=len(data[1]),
        num_classes=num_classes,
        loss_of=LOSSES[loss],
        **options,
    )
    return finish(stages)


def clusters(*, counts: list[int], dim: int, ratio: float, offset: float = 0.0) -> Data:
    """Float32 features around class means, which the oracle will see as they are."""
    features, labels = clustered(np.random.default_rng(0), counts=counts, dim=dim, ratio=ratio, offset=offset)
    return torch.from_numpy(features.astype(np.float32)), torch.from_numpy(labels)


def assert_metrics(found: dict[str, float], network: Network, data: Data, rel: float) -> None:
    weight, bias = (p.detach().numpy() for p in (network.head.weight, network.head.bias))
    expected = reference_metrics(data[0].numpy(), data[1].numpy(), len(bias), weight, bias)
    assert set(found) == set(METRICS)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=rel, abs=0 if name.startswith(("nc1", "cdnv")) else 1e-7), name


@pytest.mark.parametrize("ratio", [1.0, 1e-2, 1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize("order", ["shuffled", "sorted by label"])
@pytest.mark.parametrize("keep_bytes", [2**30, 0])
def test_metrics_are_those_of_the_definitions_in_float64(ratio: float, order: str, keep_bytes: int) -> None:
    features, labels = clusters(counts=[400, 120, 7, 200, 63], dim=24, ratio=ratio, offset=3.0)
    if order == "sorted by label":
        index = labels.argsort()
        features, labels = features[index], labels[index]
    data, network = (features, labels), Plain(24, 5)

    found = measured(network, data, 1, 200, 64, 300, keep_bytes=keep_bytes)

    assert_metrics(found.metrics, network, data, rel=1e-7)


def test_features_fewer_than_classes() -> None:
    data, network = clusters(counts=[30] * 9, dim=3, ratio=0.1), Plain(3, 9)

    found = measured(network, data, 100)

    assert found.metrics["nc1_rank"] == 3
    assert_metrics(found.metrics, network, data, rel=1e-7)


def test_directions_that_only_rounding_makes_are_left_out() -> None:
    features, labels = clustered(np.random.default_rng(0), counts=[40] * 6, dim=3, ratio=0.1, offset=3.0)
    features = features @ np.random.default_rng(1).normal(size=(3, 32))
    network = Plain(32, 6)
    weight, bias = (p.detach().numpy() for p in (network.head.weight, network.head.bias))

    found = measured(network, (torch.from_numpy(features.astype(np.float32)), torch.from_numpy(labels)), 100)

    assert found.metrics["nc1_rank"] == 3
    expected = reference_metrics(features, labels, 6, weight, bias)["nc1_pinv"]
    assert found.metrics["nc1_pinv"] == pytest.approx(expected, rel=1e-5)


def test_a_batch_may_be_summed_in_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    data, network = clusters(counts=[40, 25, 9], dim=8, ratio=0.1), Plain(8, 3)
    monkeypatch.setattr(module, "_CHUNK", 8 * 7)

    assert_metrics(measured(network, data, 30).metrics, network, data, rel=1e-6)


@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_loss_and_accuracy_are_means_over_the_samples(loss: str) -> None:
    data, network = clusters(counts=[400, 120, 7], dim=6, ratio=1.0), Plain(6, 3)
    logits = network(data[0]).detach().double()
    target = nn.functional.one_hot(data[1], 3).double()
    losses = {"ce": -(logits.log_softmax(1) * target).sum(1).mean(), "mse": ((logits - target) ** 2).mean()}
    right = (logits.argmax(1) == data[1]).double()

    found = measured(network, data, 500, loss=loss)

    assert found.train_loss == pytest.approx(float(losses[loss]), rel=1e-6)
    assert found.train_accuracy == float(right.mean())
    assert found.test == {}


@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_a_test_set_has_the_figures_it_would_have_as_a_training_set(loss: str) -> None:
    """About its own class means: those of the training set are elsewhere."""
    data, network = clusters(counts=[400, 120, 7], dim=6, ratio=1.0), Plain(6, 3)
    test = 2 * data[0][300:] + 1, data[1][300:]
    weight, bias = (p.detach().numpy() for p in (network.head.weight, network.head.bias))
    expected = reference_metrics(test[0].numpy(), test[1].numpy(), 3, weight, bias)
    alone = measured(network, test, 150, loss=loss)

    found = measured(network, data, 500, loss=loss, test=split(test, 100)).test

    assert found["test_loss"] == pytest.approx(alone.train_loss, rel=1e-12)
    assert found["test_accuracy"] == alone.train_accuracy
    assert found["test_feature_norm"] == pytest.approx(expected["feature_norm"], rel=1e-7)
    assert found["test_nc1"] == pytest.approx(expected["nc1"], rel=1e-7)


def test_a_test_set_without_one_of_the_classes_has_no_nc1() -> None:
    data, network = clusters(counts=[40, 40, 40], dim=6, ratio=1.0), Plain(6, 3)
    x, labels = (each[data[1] > 0] for each in data)
    found = measured(network, data, 50, test=split((x, labels))).test
    assert np.isnan(found["test_nc1"])
    assert found["test_feature_norm"] == pytest.approx(float(x.norm(dim=1).mean()), rel=1e-6)


def test_exact_collapse_is_exactly_zero() -> None:
    labels = torch.arange(1000) % 10
    network = Plain(16, 10)
    found = measured(network, (3 + network.head.weight.detach()[labels], labels), 313, 400)

    assert (found.metrics["nc1"], found.metrics["nc1_pinv"], found.metrics["cdnv"]) == (0, 0, 0)


def test_equal_features_have_no_collapse_to_speak_of() -> None:
    found = measured(Plain(16, 10), (torch.full((1000, 16), 0.1), torch.arange(1000) % 10), 313).metrics

    assert found["feature_norm"] == pytest.approx(0.4)
    assert (found["nc1_rank"], found["feature_norm_centred"]) == (0, 0)
    assert all(np.isnan(found[name]) for name in ("nc1", "nc1_pinv", "cdnv", "nc2_etf", "nc3", "nc4"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("label", [0, 1])
def test_features_that_are_not_finite_give_nan_and_no_error(value: float, label: int) -> None:
    features, labels = clusters(counts=[40, 25, 9], dim=8, ratio=0.1)
    features[int((labels == label).nonzero()[-1]), 2] = value

    found = measured(Plain(8, 3), (features, labels), 30)

    assert np.isnan(found.train_loss)
    assert [name for name in METRICS if not np.isnan(found.metrics[name])] == ["weight_norm"]


def test_a_class_without_samples_leaves_only_the_norms() -> None:
    data = clusters(counts=[40, 0, 9], dim=8, ratio=0.1)

    found = measured(Plain(8, 3), data, 30).metrics

    assert [name for name in METRICS if not np.isnan(found[name])] == ["feature_norm", "weight_norm"]
    assert found["feature_norm"] == pytest.approx(float(data[0].norm(dim=1).mean()), rel=1e-6)


def states_of(network: Network) -> dict[str, Any]:
    """Everything that measuring could disturb."""
    return {
        "weights": {name: value.clone() for name, value in network.state_dict().items()},
        "gradients": [p.grad for p in network.parameters()],
        "modes": [m.training for m in network.modules()],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].tolist(),
        "python": random.getstate(),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "gradients on": torch.is_grad_enabled(),
    }


def mixed_modes() -> Network:
    """A network in training mode but for one layer."""
    network = Normalised(8, 3)
    network.frozen.eval()
    return network


def assert_equal_states(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, value in before.items():
        if name == "weights":
            assert all(torch.equal(value[key], after[name][key]) for key in value)
        elif name == "torch":
            assert torch.equal(value, after[name])
        else:
            assert value == after[name], name


def test_measuring_changes_nothing() -> None:
    data, network = clusters(counts=[40, 25, 9], dim=8, ratio=0.1), mixed_modes()
    before = states_of(network)

    for keep_bytes in (2**30, 0):
        measured(network, data, 30, keep_bytes=keep_bytes, test=split(data, 30))

    assert_equal_states(before, states_of(network))
    network(data[0])  # in training mode this does change it, so the comparison can fail
    with pytest.raises(AssertionError):
        assert_equal_states(before, states_of(network))


@pytest.mark.parametrize("where", ["batches", "test"])
def test_an_error_in_the_pass_leaves_the_modes_as_they_were(where: str) -> None:
    data, network = clusters(counts=[40, 25, 9], dim=8, ratio=0.1), mixed_modes()
    before = states_of(network)

    def broken() -> Iterator[Data]:
        yield data
        raise RuntimeError("the data went away")

    given = {"batches": split(data), where: broken}
    with pytest.raises(RuntimeError, match="went away"):
        finish(measuring(network, **given, num_samples=74, num_classes=3, loss_of=LOSSES["ce"]))
    assert_equal_states(before, states_of(network))


def test_the_pass_runs_in_eval_mode_without_gradients_or_tf32() -> None:
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    seen = []

    class Watching(Normalised):
        def features(self, x: Tensor) -> Tensor:
            modes = {m.training for m in self.modules()}
            seen.append((modes, torch.is_grad_enabled(), [b.allow_tf32 for b in backends]))
            return super().features(x)

    before = [b.allow_tf32 for b in backends]
    try:
        for b in backends:
            b.allow_tf32 = True
        measured(Watching(8, 3), clusters(counts=[40, 25, 9], dim=8, ratio=0.1))
        after = [b.allow_tf32 for b in backends]
    finally:
        for b, value in zip(backends, before, strict=True):
            b.allow_tf32 = value

    assert seen == [({False}, False, [False, False])]
    assert after == [True, True]


@pytest.mark.parametrize(("spare", "passes"), [(0, 1), (-1, 2)])
def test_features_are_computed_once_unless_they_are_too_large_to_keep(spare: int, passes: int) -> None:
    data, network = clusters(counts=[40, 25, 9], dim=8, ratio=0.1), Plain(8, 3)
    calls = []

    def batches() -> list[Data]:
        calls.append(1)
        return split(data, 30)()

    keep_bytes = 74 * 8 * 4 + spare
    stages = measuring(network, batches, num_samples=74, num_classes=3, loss_of=LOSSES["ce"], keep_bytes=keep_bytes)
    found = finish(stages)

    assert len(calls) == passes
    assert found == measured(network, data, 30)


class Recorder(TorchDispatchMode):
    """Write down every operation of torch, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def waits(names: list[str]) -> list[str]:
    """Operations for which the host would have to wait for a GPU."""
    return [name for name in names if "_local_scalar_dense" in name or "nonzero" in name]


@pytest.mark.parametrize("keep_bytes", [0, 2**20])
def test_no_stage_of_a_measurement_waits_for_what_it_has_asked_for(keep_bytes: int) -> None:
    data = clusters(counts=[40, 25, 9], dim=8, ratio=0.1)
    stages = measuring(
        Plain(8, 3),
        split(data, 30),
        num_samples=74,
        num_classes=3,
        loss_of=LOSSES["ce"],
        test=split(data, 20),
        keep_bytes=keep_bytes,
    )
    for expected in ("aten.argmax.default", "aten.mm.default"):
        with Recorder() as recorder:
            next(stages)
        assert expected in recorder.names
        assert waits(recorder.names) == []
    with Recorder() as recorder:
        float(torch.ones(3).sum())
    assert waits(recorder.names)  # a wait would be seen


@pytest.mark.gpu
def test_a_gpu_gives_the_numbers_of_the_cpu() -> None:
    data, network = clusters(counts=[400, 120, 70], dim=24, ratio=1e-8, offset=3.0), Plain(24, 3)
    expected = measured(network, data, 200).metrics

    found = measured(network.cuda(), (data[0].cuda(), data[1].cuda()), 200).metrics

    assert found == pytest.approx(expected, rel=1e-6, abs=1e-7)
