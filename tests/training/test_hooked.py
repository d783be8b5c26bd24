import random
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from own_model import Model, X, Y, loader, make_model
from reference import reference_metrics
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ncdiag.domain.spec import Loss
from ncdiag.errors import SpecError
from ncdiag.training.hooked import Hooked, measure_model


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


def test_classes_without_a_sample_are_named_and_the_figures_that_compare_classes_are_nan() -> None:
    model = Model(classes=5)
    with pytest.warns(UserWarning, match=r"2 of the head's 5 classes have no sample \(3, 4\)") as caught:
        found = measure_model(model, "classifier", loader())
    assert [one.filename for one in caught] == [__file__]
    assert np.isnan(found["nc1"])
    assert np.isfinite(found["feature_norm"])


@pytest.mark.parametrize("loss", ["ce", None])
def test_a_test_set_has_figures_of_its_own(loss: Loss | None) -> None:
    model = make_model()
    test = [(X[:7], Y[:7]), (X[7:20], Y[7:20])]
    found = measure_model(model, "classifier", loader(), loss=loss, test=test)
    alone = measure_model(model, "classifier", test, loss="ce")
    assert found["test_accuracy"] == pytest.approx((model.eval()(X[:20]).argmax(1) == Y[:20]).double().mean().item())
    for name in ("feature_norm", "nc1"):
        assert found[f"test_{name}"] == pytest.approx(alone[name], rel=1e-9) != found[name]
    assert ("train_loss" in found, "test_loss" in found) == (loss is not None, loss is not None)
    if loss:
        assert found["test_loss"] == pytest.approx(alone["train_loss"], rel=1e-9)


def trained(*, measured: bool, spectral: bool) -> tuple[dict[str, Tensor], list[float]]:
    """Train with dropout, BatchNorm and a shuffled loader; give the state, and what the generators draw next."""
    torch.manual_seed(2), random.seed(2), np.random.seed(2)
    model = Model()
    if spectral:  # which in training takes a step whenever somebody reads the weight
        nn.utils.parametrizations.spectral_norm(model.classifier)
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


@pytest.mark.parametrize("spectral", [False, True])
def test_training_goes_on_as_if_it_had_not_been_measured(spectral: bool) -> None:
    plain, drawn = trained(measured=False, spectral=spectral)
    probed, drawn_too = trained(measured=True, spectral=spectral)
    assert all(torch.equal(plain[name], probed[name]) for name in plain)
    assert drawn == drawn_too


def test_modes_and_hooks_come_back() -> None:
    model = make_model()
    model.body[1].eval()  # a BatchNorm that its owner has frozen
    before = [module.training for module in model.modules()]
    measure_model(model, "classifier", loader())
    assert [module.training for module in model.modules()] == before
    assert not model.classifier._forward_pre_hooks
    assert not model.classifier._forward_hooks


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


def test_the_head_may_be_called_by_the_name_of_its_input() -> None:
    class Named(Model):
        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(input=self.body(x) * self.scale)

    torch.manual_seed(1)
    assert measure_model(Named(), "classifier", loader()) == measure_model(make_model(), "classifier", loader())


def test_hooks_of_the_head_run_once_and_count_in_what_is_measured() -> None:
    model, calls = make_model(), []
    model.classifier.register_forward_pre_hook(lambda _, given: (given[0] * 2,))
    model.classifier.register_forward_hook(lambda _, given, logits: calls.append(1) or logits + torch.arange(3.0))
    found = measure_model(model, "classifier", [(X, Y)], loss="ce")
    assert len(calls) == 1
    model.eval()
    with torch.no_grad():
        features, logits = model.body(X) * model.scale * 2, model(X)
    assert found["feature_norm"] == pytest.approx(features.norm(dim=1).mean().item(), rel=1e-5)
    assert found["train_loss"] == pytest.approx(nn.functional.cross_entropy(logits, Y).item(), rel=1e-5)
    assert found["train_accuracy"] == pytest.approx((logits.argmax(1) == Y).double().mean().item())


def test_what_the_model_does_to_features_and_logits_after_the_head_changes_nothing() -> None:
    class Reuses(Model):
        def forward(self, x: Tensor) -> Tensor:
            features = self.body(x) * self.scale
            logits = self.classifier(features)
            features.zero_()
            return logits.zero_()

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


def test_a_model_that_would_wait_for_other_processes_is_refused() -> None:
    class Wrapper(DistributedDataParallel):
        def __init__(self, module: nn.Module) -> None:  # without the processes that the real one asks for
            nn.Module.__init__(self)
            self.module = module

    wrapped = Wrapper(make_model())
    expected = measure_model(make_model(), "classifier", loader())
    assert measure_model(wrapped, "module.classifier", loader()) == expected
    with pytest.raises(SpecError, match="within the model is a DistributedDataParallel"):
        measure_model(nn.Sequential(wrapped), "0.module.classifier", loader())


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
    lower = make_model().bfloat16()
    found = measure_model(lower, "classifier", [(X.bfloat16(), Y)], loss="ce")
    exact = measure_model(make_model(), "classifier", [(X, Y)], loss="ce")
    assert found["feature_norm"] == pytest.approx(exact["feature_norm"], rel=0.02)
    assert found["feature_norm"] != exact["feature_norm"]
    logits = lower.eval()(X.bfloat16()).double()  # the loss of these is not rounded again
    assert found["train_loss"] == pytest.approx(nn.functional.cross_entropy(logits, Y).item(), rel=1e-6)


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


def test_threads_that_measure_at_once_leave_torch_as_it_was() -> None:
    """The first is over before the second, unless this one waits until it may begin."""
    first_begun, second_begun, first_over = (threading.Event() for _ in range(3))

    class First(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            first_begun.set()
            second_begun.wait(0.2)
            return super().__iter__()

    class Second(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            second_begun.set()
            first_over.wait(10)
            return super().__iter__()

    def first() -> None:
        measure_model(make_model(), "classifier", First([(X, Y)]))
        first_over.set()

    def process_wide() -> list[Any]:
        cudnn = torch.backends.cudnn
        return [torch.autocast.__enter__, cudnn.allow_tf32, cudnn.deterministic, torch.get_rng_state().tolist()]

    before = process_wide()
    thread = threading.Thread(target=first)
    thread.start()
    first_begun.wait(10)
    measure_model(make_model(), "classifier", Second([(X, Y)]))
    thread.join()
    assert process_wide() == before


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
        (Model, "fc", "has no module 'fc'; the linear layers are classifier$"),
        (
            Model,
            "body.0",
            r"is a Conv2d; expected the torch\.nn\.Linear(.|\n)*there is no linear layer",
        ),
        (Deep, "fc", r"the last of 9 linear layers are body\.1\.0, .*, classifier$"),
        (Deep, "body", r"the last of 8 linear layers are body\.0\.3, body\.1\.0, .*, body\.1\.3\."),
        (Model, "", r"the head is a own_model\.Model; expected"),
        (Model, loader(), r"the head is a torch\.utils\.data\.dataloader\.DataLoader; expected"),
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
