import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from reference import reference_metrics
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ncdiag.errors import DataError, SpecError
from ncdiag.training.hooked import measure_model

DRAWN = torch.Generator().manual_seed(0)
X, Y = torch.randn(90, 1, 6, 6, generator=DRAWN), torch.arange(90) % 3


class Model(nn.Module):
    """A model of somebody's own: convolution, BatchNorm, dropout, and a head that is not its last attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Dropout(0.5), nn.Flatten())
        self.classifier = nn.Linear(64, 3)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.body(x) * self.scale)


def make_model() -> Model:
    torch.manual_seed(1)
    return Model()


def loader(**given: Any) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(X, Y), batch_size=16, **given)


@pytest.mark.parametrize("head", ["classifier", None])
@pytest.mark.parametrize("shuffle", [True, False])
def test_metrics_are_those_of_the_definitions(head: str | None, shuffle: bool) -> None:
    model = make_model()
    found = measure_model(model, head or model.classifier, loader(shuffle=shuffle), loss="ce")
    model.eval()
    with torch.no_grad():
        features, logits = model.body(X) * model.scale, model(X)
    head_of = model.classifier
    expected = reference_metrics(
        features.numpy(), Y.numpy(), 3, head_of.weight.detach().numpy(), head_of.bias.detach().numpy()
    )
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert found["train_loss"] == pytest.approx(nn.functional.cross_entropy(logits, Y).item(), rel=1e-5)
    assert found["train_accuracy"] == pytest.approx((logits.argmax(1) == Y).double().mean().item())
    assert "test_accuracy" not in found


def test_squared_error_is_to_the_one_hot_target() -> None:
    model = make_model()
    found = measure_model(model, "classifier", loader(), loss="mse")
    logits = model.eval()(X)
    expected = nn.functional.mse_loss(logits, nn.functional.one_hot(Y, 3).float())
    assert found["train_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_accuracy_of_a_test_set_is_added() -> None:
    model = make_model()
    test = [(X[:7], Y[:7]), (X[7:20], Y[7:20])]
    found = measure_model(model, "classifier", loader(), test=test)
    assert found["test_accuracy"] == pytest.approx((model.eval()(X[:20]).argmax(1) == Y[:20]).double().mean().item())
    assert "train_loss" not in found


def trained(*, measured: bool) -> tuple[dict[str, Tensor], list[float]]:
    """Train with dropout, BatchNorm and a shuffled loader; give the state, and what the generators draw next."""
    torch.manual_seed(2), random.seed(2), np.random.seed(2)
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = loader(shuffle=True)
    for _ in range(3):
        for x, y in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        if measured:
            measure_model(model, "classifier", batches, loss="ce", test=batches)
    return model.state_dict(), [torch.rand(()).item(), random.random(), float(np.random.rand())]


def test_training_goes_on_as_if_it_had_not_been_measured() -> None:
    (plain, drawn), (probed, drawn_too) = trained(measured=False), trained(measured=True)
    assert all(torch.equal(plain[name], probed[name]) for name in plain)
    assert drawn == drawn_too


def test_modes_and_hooks_come_back() -> None:
    model = make_model()
    model.body[1].eval()  # a BatchNorm that its owner has frozen
    before = [module.training for module in model.modules()]
    measure_model(model, "classifier", loader())
    assert [module.training for module in model.modules()] == before
    assert not model.classifier._forward_pre_hooks


def test_inputs_may_be_dictionaries() -> None:
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = make_model()

        def forward(self, batch: dict[str, Any]) -> Tensor:
            return self.model(batch["images"][0])

    expected = measure_model(make_model(), "classifier", loader())
    batches = [({"images": [x], "name": "a"}, y) for x, y in loader()]
    assert measure_model(Asks(), "model.classifier", batches) == expected


def test_a_model_in_lower_precision_is_measured() -> None:
    found = measure_model(make_model().bfloat16(), "classifier", [(X.bfloat16(), Y)], loss="ce")
    exact = measure_model(make_model(), "classifier", [(X, Y)], loss="ce")
    assert found["feature_norm"] == pytest.approx(exact["feature_norm"], rel=0.02)
    assert found["feature_norm"] != exact["feature_norm"]


def test_autocast_around_it_does_not_lower_the_measurement() -> None:
    model = make_model()
    exact = measure_model(model, "classifier", loader())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert measure_model(model, "classifier", loader()) == exact


class Twice(Model):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(x)


class Tokens(Model):
    def forward(self, x: Tensor) -> Tensor:
        return self.classifier((self.body(x) * self.scale)[:, None])[:, 0]


class Never(Model):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)[:, :3]


@pytest.mark.parametrize(
    ("model", "head", "said"),
    [
        (Model, "fc", "has no module 'fc'; its linear layers are classifier"),
        (Model, "body.0", "is a Conv2d; expected the torch.nn.Linear"),
        (Model, nn.Linear(64, 3), "no part of the model"),
        (Twice, "classifier", "called its head 2 times"),
        (Never, "classifier", "called its head 0 times"),
        (Tokens, "classifier", r"with features of shape \[16, 1, 64\]"),
    ],
)
def test_a_head_that_is_none_is_refused(model: type[Model], head: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        measure_model(model(), head, loader())


def once() -> Iterator[tuple[Tensor, Tensor]]:
    yield X, Y


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        (once(), "once only"),
        ([X], "no pair"),
        ([(X, Y, Y)], "no pair"),
        ([(X, nn.functional.one_hot(Y))], r"torch.int64 of shape \[90, 3\]"),
        ([(X, Y.float())], "torch.float32"),
        ([(X, Y + 1)], "labels from 1 to 3; expected 0 to 2, as the head has 3 outputs"),
        ([(X, Y - 1)], "labels from -1 to 1"),
    ],
)
def test_batches_that_cannot_be_used_are_refused(batches: Any, said: str) -> None:
    model = make_model()
    with pytest.raises(DataError, match=said):
        measure_model(model, "classifier", batches)
    assert model.training
