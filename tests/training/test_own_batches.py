from collections import UserDict
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from own_model import X, Y, loader, make_model
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, RandomSampler, TensorDataset

from ncdiag.errors import DataError
from ncdiag.training import hooked
from ncdiag.training.hooked import measure_model
from ncdiag.training.measure import KEEP_BYTES


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


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_pass_of_the_training_loop_over_workers_that_persist_goes_on() -> None:
    batches = loader(num_workers=1, persistent_workers=True)
    seen = []
    for x, _ in batches:
        seen.append(x)
        if len(seen) == 2:
            found = measure_model(make_model(), "classifier", batches)
    assert torch.equal(torch.cat(seen), X)
    assert found == measure_model(make_model(), "classifier", loader())


@pytest.mark.parametrize("where", ["batches", "test"])
def test_a_loader_that_is_spread_over_processes_is_refused(where: str) -> None:
    sampler = DistributedSampler(TensorDataset(X, Y), num_replicas=2, rank=0)
    given = {"batches": loader(), where: loader(sampler=sampler)}
    with pytest.raises(DataError, match=r"each of 2 processes a part of the set \(DistributedSampler\)"):
        measure_model(make_model(), "classifier", **given)
    alone = loader(sampler=DistributedSampler(TensorDataset(X, Y), num_replicas=1, rank=0))
    assert measure_model(make_model(), "classifier", alone)["train_accuracy"] > 0


@pytest.mark.parametrize("keep_bytes", [KEEP_BYTES, 0])
def test_a_batch_without_a_sample_counts_for_nothing(keep_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooked, "measuring", partial(hooked.measuring, keep_bytes=keep_bytes))
    whole, empty = [(X[:40], Y[:40]), (X[40:], Y[40:])], (X[:0], Y[:0])
    expected = measure_model(make_model(), "classifier", whole, loss="ce", test=whole)
    for gaps in ([empty, *whole], [whole[0], empty, whole[1]], [*whole, empty]):
        assert measure_model(make_model(), "classifier", gaps, loss="ce", test=gaps) == expected


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.uint16, torch.uint32, torch.uint64])
def test_labels_may_be_whole_numbers_of_any_kind(kind: torch.dtype) -> None:
    expected = measure_model(make_model(), "classifier", [(X, Y)])
    assert measure_model(make_model(), "classifier", [(X, Y.to(kind))]) == expected


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
        ([{"x": X, "label": Y}], r"Give the labels that name, as in \[\{\*\*batch, 'labels': batch\['y'\]\}"),
        ([{}], "a batch is a dict with nothing in it; expected"),
        ([()], "a batch is a tuple of nothing; expected"),
        ([], "no sample"),
        ([(X[:0], Y[:0])], "no sample"),
        (loader(batch_size=91, drop_last=True), "no sample"),
        ([(X, nn.functional.one_hot(Y))], r"torch.int64 of shape \[90, 3\](.|\n)*give y.argmax"),
        (
            TensorDataset(X, Y),
            r"labels are torch.int64 of shape \[\](.|\n)*Give batches, as torch.utils.data.DataLoader",
        ),
        ([(X, Y.float())], "torch.float32"),
        ([(X, Y + 0j)], "torch.complex64"),
        ([(X, (Y + 1).to(torch.uint16))], "labels from 1 to 3"),
        ([(X, Y + 1)], "labels from 1 to 3; expected 0 to 2, as the head has 3 outputs"),
        ([(X, Y - 1)], "labels from -1 to 1"),
    ],
)
def test_batches_that_cannot_be_used_are_refused(batches: Any, said: str) -> None:
    model = make_model()
    with pytest.raises(DataError, match=said):
        measure_model(model, "classifier", batches)
    assert model.training


def test_a_loader_that_leaves_out_samples_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"the loader leaves out 10 of 90 samples \(drop_last\)") as caught:
        measure_model(make_model(), "classifier", loader(), test=loader(batch_size=16, drop_last=True))
    assert [one.filename for one in caught] == [__file__]
    measure_model(make_model(), "classifier", loader(batch_size=30, drop_last=True))  # which leaves out nothing


def test_a_test_set_that_was_used_up_is_refused() -> None:
    with pytest.raises(DataError, match="no sample"):
        measure_model(make_model(), "classifier", loader(), test=iter([]))
