import random
from collections import UserDict
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from reference import reference_metrics
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, RandomSampler, TensorDataset

from ncdiag.errors import DataError, SpecError
from ncdiag.training.hooked import Hooked, measure_model

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


def loader(batch_size: int = 16, **given: Any) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(X, Y), batch_size=batch_size, **given)


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


class Merging(nn.Linear):
    """A layer that does something else than its flag says when its mode is set, as layers with adapters do."""

    merged = False

    def train(self, mode: bool = True) -> "Merging":
        self.merged = not mode
        return super().train(mode)


@pytest.mark.parametrize("training", [True, False])
def test_layers_that_change_with_their_mode_are_told_that_it_comes_back(training: bool) -> None:
    model = make_model()
    model.classifier = Merging(64, 3)
    model.train(training)
    model.body[1].eval()
    measure_model(model, "classifier", loader())
    assert [model.training, model.classifier.training, model.classifier.merged] == [training, training, not training]
    assert not model.body[1].training


@pytest.mark.parametrize("way", ["shuffle", "sampler", "batch_sampler"])
def test_a_loader_with_a_generator_of_its_own_goes_on_in_the_order_it_would_have_had(way: str) -> None:
    own = torch.Generator().manual_seed(3)
    data = TensorDataset(X, Y)
    order = RandomSampler(data, generator=own)
    batches = {
        "shuffle": lambda: DataLoader(data, batch_size=16, shuffle=True, generator=own),
        "sampler": lambda: DataLoader(data, batch_size=16, sampler=order),
        "batch_sampler": lambda: DataLoader(data, batch_sampler=BatchSampler(order, 16, drop_last=False)),
    }[way]()
    before = own.get_state()
    measure_model(make_model(), "classifier", batches, test=batches)
    assert torch.equal(own.get_state(), before)
    list(batches)
    assert not torch.equal(own.get_state(), before)  # so the comparison can fail


class Batch(NamedTuple):
    images: Tensor
    name: str


class Fields(dict[str, Any]):
    """A dictionary of its own kind, as many libraries have one."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


@pytest.mark.parametrize(
    ("make", "images"),
    [
        (lambda x: {"images": [x], "name": "a"}, lambda batch: batch["images"][0]),
        (lambda x: (x, "a"), lambda batch: batch[0]),
        (lambda x: Batch(x, "a"), lambda batch: batch.images),
        (lambda x: Fields(images=x), lambda batch: batch.images),
        (lambda x: SimpleNamespace(to=lambda device: SimpleNamespace(moved=x)), lambda batch: batch.moved),
    ],
    ids=["dict", "tuple", "named tuple", "own dict", "moves itself"],
)
def test_inputs_may_be_in_many_forms(make: Callable[[Tensor], Any], images: Callable[[Any], Tensor]) -> None:
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = make_model()

        def forward(self, batch: Any) -> Tensor:
            return self.model(images(batch))

    expected = measure_model(make_model(), "classifier", loader())
    assert measure_model(Asks(), "model.classifier", [(make(x), y) for x, y in loader()]) == expected


def test_the_head_may_be_called_by_the_name_of_its_input() -> None:
    class Named(Model):
        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(input=self.body(x) * self.scale)

    torch.manual_seed(1)
    assert measure_model(Named(), "classifier", loader()) == measure_model(make_model(), "classifier", loader())


def test_what_the_model_does_to_its_features_after_the_head_changes_nothing() -> None:
    class Reuses(Model):
        def forward(self, x: Tensor) -> Tensor:
            features = self.body(x) * self.scale
            logits = self.classifier(features)
            features.zero_()
            return logits

    torch.manual_seed(1)
    assert measure_model(Reuses(), "classifier", loader()) == measure_model(make_model(), "classifier", loader())


def test_features_that_are_one_token_of_many_do_not_keep_the_others_in_memory() -> None:
    class FirstToken(Model):
        def forward(self, x: Tensor) -> Tensor:
            tokens = (self.body(x) * self.scale)[:, None].repeat(1, 50, 1)
            return self.classifier(tokens[:, 0])

    features = Hooked(FirstToken().eval(), "classifier").features(X)
    assert features.untyped_storage().nbytes() == 4 * len(X) * 64


@pytest.mark.parametrize("in_place", [True, False])
def test_a_compiled_model_is_measured(in_place: bool) -> None:
    expected = measure_model(make_model(), "classifier", [(X, Y)])
    model: Any = make_model().eval()
    if in_place:
        model.compile(backend="eager")
    else:
        model = torch.compile(model, backend="eager")
    with torch.no_grad():
        model(X)  # from now on it would not hear of a hook, for batches of this shape
    assert measure_model(model, "classifier", [(X, Y)]) == expected


@pytest.mark.parametrize("compiled", [True, False])
def test_a_model_in_a_wrapper_for_several_devices_is_measured_without_it(compiled: bool) -> None:
    class Wrapper(nn.DataParallel):
        def forward(self, *inputs: Any, **named: Any) -> Any:
            raise AssertionError("it would compute on all devices, or wait for other processes")

    expected = measure_model(make_model(), "classifier", loader())
    model: Any = Wrapper(make_model())
    name = "_orig_mod.module.classifier" if compiled else "module.classifier"
    assert measure_model(torch.compile(model, backend="eager") if compiled else model, name, loader()) == expected


def test_a_model_whose_first_batch_makes_its_weights_is_refused_as_long_as_it_has_none() -> None:
    model = make_model()
    model.classifier = nn.LazyLinear(3)
    with pytest.raises(SpecError, match="measure it after that"):
        measure_model(model, "classifier", loader())
    assert isinstance(model.classifier, nn.LazyLinear)  # it was not made by being measured
    model(X)
    measure_model(model, "classifier", loader())


def test_a_loss_that_is_not_known_is_refused() -> None:
    with pytest.raises(SpecError, match="loss 'mae' is not known; expected one of ce, mse"):
        measure_model(make_model(), "classifier", loader(), loss="mae")  # type: ignore[arg-type]


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


@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="torch before 2.9 has one library only")
def test_bfloat16_within_products_is_not_for_the_measurement() -> None:
    everywhere, seen = torch.backends.mkldnn, []

    class Watching(Model):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(torch.backends.mkldnn.matmul.fp32_precision)
            return super().forward(x)

    before, everywhere.fp32_precision = everywhere.fp32_precision, "bf16"
    try:
        measure_model(Watching(), "classifier", [(X, Y)])
        after = everywhere.matmul.fp32_precision
    finally:
        everywhere.fp32_precision = before
    assert seen == ["ieee"]
    assert after == "bf16"


def test_autocast_that_the_model_enters_itself_does_not_lower_the_measurement() -> None:
    class Mixed(Model):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = super().forward(x)
            assert not torch.is_autocast_enabled("cpu")  # what it entered is left again
            return logits

    torch.manual_seed(1)
    mixed = Mixed()
    assert measure_model(mixed, "classifier", loader()) == measure_model(make_model(), "classifier", loader())
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert mixed.classifier(torch.ones(1, 64)).dtype == torch.bfloat16  # it works as before


class Reading(nn.Module):
    """A model that is called with its inputs by name, as those of Hugging Face are."""

    def __init__(self) -> None:
        super().__init__()
        self.model = make_model()

    def forward(self, pixel_values: Tensor, mask: Tensor) -> Tensor:
        return self.model(pixel_values * mask)


@pytest.mark.parametrize("kind", [dict, UserDict])
def test_a_batch_may_be_a_dict_of_what_the_model_takes_by_name(kind: type[Any]) -> None:
    batches = [kind(labels=y, pixel_values=2 * x, mask=torch.full_like(x, 0.5)) for x, y in loader()]
    expected = measure_model(make_model(), "classifier", loader(), test=loader())
    assert measure_model(Reading(), "model.classifier", batches, test=batches) == expected
    assert "labels" in batches[0]  # it is the owner's


class Counting(RandomSampler):
    """A sampler whose order follows from how often it was asked, as Accelerate's does."""

    passes = 0

    def __iter__(self) -> Iterator[int]:
        self.passes += 1
        return iter(torch.randperm(90, generator=torch.Generator().manual_seed(self.passes)).tolist())


def test_a_loader_that_counts_its_passes_goes_on_in_the_order_it_would_have_had() -> None:
    orders = []
    for measured in (False, True):
        sampler = Counting(TensorDataset(X, Y))
        sampler.passes = 3
        batches = loader(sampler=sampler)
        if measured:
            measure_model(make_model(), "classifier", batches, test=batches)
        orders.append(torch.cat([x for x, _ in batches]))
        assert sampler.passes == 4
    assert torch.equal(*orders)


@pytest.mark.parametrize("where", ["batches", "test"])
def test_a_loader_that_is_spread_over_processes_is_refused(where: str) -> None:
    sampler = DistributedSampler(TensorDataset(X, Y), num_replicas=2, rank=0)
    given = {"batches": loader(), where: loader(sampler=sampler)}
    with pytest.raises(DataError, match=r"each of 2 processes a part of the set \(DistributedSampler\)"):
        measure_model(make_model(), "classifier", **given)
    alone = loader(sampler=DistributedSampler(TensorDataset(X, Y), num_replicas=1, rank=0))
    assert measure_model(make_model(), "classifier", alone)["train_accuracy"] > 0


def test_the_weights_of_the_head_are_left_as_they_were() -> None:
    """An array of numpy that shares their memory would forbid what FSDP does with it after every step."""
    model = make_model()
    measure_model(model, "classifier", loader())
    assert model.classifier.weight.untyped_storage().resizable()


class Twice(Model):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(x)


class Tokens(Model):
    def forward(self, x: Tensor) -> Tensor:
        return self.classifier((self.body(x) * self.scale)[:, None])[:, 0]


class Single(Model):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(64, 1)


class Never(Model):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)[:, :3]


class Deep(Model):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Sequential(*(nn.Linear(4, 4) for _ in range(4))) for _ in range(2)))
        self.classifier = nn.Linear(4, 3)


@pytest.mark.parametrize(
    ("model", "head", "said"),
    [
        (Model, "fc", "has no module 'fc'; its linear layers are classifier"),
        (Model, "body.0", "is a Conv2d; expected the torch.nn.Linear(.|\n)*measure_features"),
        (Deep, "fc", r"the last of its 9 linear layers are body\.1\.0, .*, classifier$"),
        (Model, nn.Linear(64, 3), "no part of the model"),
        (Twice, "classifier", "called its head 2 times"),
        (Never, "classifier", "called its head 0 times"),
        (Tokens, "classifier", r"with features of shape \[16, 1, 64\]"),
        (Single, "classifier", "the head has 1 output"),
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
        ([X], "a batch is a Tensor; expected a pair"),
        ([(X, Y, "a")], r"a batch is a tuple of Tensor, Tensor, str; expected a pair \(x, y\)"),
        ([(X, Y.numpy())], "a tuple of Tensor, ndarray"),
        ([{"x": X, "label": Y}], "a batch is a dict with x, label; expected .* a dict with y under 'labels'"),
        ([], "no sample"),
        (loader(batch_size=91, drop_last=True), "no sample"),
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


def test_a_test_set_that_was_used_up_is_refused() -> None:
    with pytest.raises(DataError, match="no sample"):
        measure_model(make_model(), "classifier", loader(), test=iter([]))
