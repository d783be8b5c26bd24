"""Measuring a network that ncdiag did not make: any torch module whose last layer is linear.

The features are what goes into that layer, the head, wherever it stands in the model; a hook takes them, and the logits
that come out, while the model computes as it always does. Measuring leaves no trace: modes, weights, buffers and the
random generators of torch, numpy, Python and the loaders come back as they were, so a training loop goes on to the bits
that it would have had. (A DataLoader draws a seed at every pass, shuffled or not: from a generator of its own, else
from torch's global one.)
"""

import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from copy import copy
from itertools import chain, product
from operator import attrgetter
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy

from ncdiag.domain.spec import Loss, check_choice
from ncdiag.domain.words import first_of
from ncdiag.errors import DataError, SpecError
from ncdiag.training.measure import measuring
from ncdiag.training.network import Network
from ncdiag.training.objectives import LOSSES
from ncdiag.training.products import using_products
from ncdiag.training.stages import finish

# Pairs of inputs, a tensor or tensors in tuples, lists and dicts, and labels, whole numbers [B] from 0; or dicts of
# inputs by the names that the model has for them, and `labels`, as Hugging Face's collators make them.
Pairs = Iterable[tuple[Any, Tensor] | Mapping[str, Any]]

# Where a DataLoader decides on its order: what draws or counts there does so at every pass.
_ORDERING = tuple(attrgetter(path) for path in ("sampler", "batch_sampler", "batch_sampler.sampler"))
# How many processes share what a sampler gives, by DistributedSampler and by Accelerate.
_SHARES = ("num_replicas", "num_processes")
# Flags, generators and the autocast of torch belong to the process: of threads, one at a time changes them and gives
# them back, else the second would give back what it found with the first. (A model may measure another within.)
_measuring = threading.RLock()
_NAMED = 5  # of a model's linear layers in a message


class _Keywords(dict[str, Any]):
    """Inputs by name: the model is called with each of them, not with the dict."""


class Hooked(Network):
    """A model as a network: the features are what its head is given."""

    def __init__(self, model: nn.Module, head: nn.Linear | str) -> None:
        super().__init__()
        if any(map(is_lazy, chain(model.parameters(), model.buffers()))):
            raise SpecError("the model has layers whose weights its first batch will make; measure it after that")
        self.head = _find_head(model, head)
        self.model = _bare(model)
        if any(isinstance(module, DistributedDataParallel) for module in self.model.modules()):
            raise SpecError(
                "within the model is a DistributedDataParallel, which would wait for the other processes;\n"
                "make the model, such as an average of weights, from the module in it"
            )
        self.training = model.training  # so that no layer is told of a mode that the model is not in

    def features(self, x: Any) -> Tensor:
        """Give the features [B, d] of a batch."""
        return self.outputs(x)[0]

    def outputs(self, x: Any) -> tuple[Tensor, Tensor]:
        """Give what the head is given and what it gives in the one call of the model: all hooks of its own have run."""
        seen: list[tuple[Tensor, Tensor]] = []

        def see(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any], logits: Tensor) -> None:
            # Copies: the model may go on to change them, and one token of many would keep the memory of all of them.
            seen.append(((given[0] if given else named["input"]).clone(), logits.clone()))

        handle = self.head.register_forward_hook(see, with_kwargs=True)
        try:
            with _uncompiled():
                self.model(**x) if isinstance(x, _Keywords) else self.model(x)
        finally:
            handle.remove()
        if len(seen) != 1 or seen[0][0].dim() != 2:
            found = f"{len(seen)} times" if len(seen) != 1 else f"with features of shape {list(seen[0][0].shape)}"
            raise SpecError(
                f"the model called its head {found}; expected once a batch, with features [B, d].\n"
                "Name the linear layer that gives the logits of each sample, or give its inputs, [N, d], to "
                "ncdiag.measure_features"
            )
        return seen[0]

    @property
    def last_hidden(self) -> nn.Linear:
        """Raise `SpecError`: which layer makes the features is not known."""
        raise SpecError("which layer makes the features of this model is not known")


def measure_model(
    model: nn.Module, head: nn.Linear | str, batches: Pairs, *, loss: Loss | None = None, test: Pairs | None = None
) -> dict[str, float]:
    """Measure a model on its training set: every metric of collapse and the accuracy, by the columns of an epoch.

    `head` is the linear layer that gives the logits, or its name in the model. `batches` goes over the training set
    each time it is asked for an iterator, as a DataLoader does, in any order, without augmentation: in pairs (x, y), or
    in dicts with y under `labels`, whose other entries the model is given by name. `test` likewise goes over a test
    set, whose accuracy, fn and NC1 are added. With a `loss` (`ce`, or `mse` to the one-hot target, averaged over
    the classes) the losses are added. A class without a sample leaves NaN, as in `ncdiag.domain.metrics`, and is
    warned of.

    In training the model goes on as if it had not been measured. Raises `SpecError` for a head that is none, a model
    that is not made yet or a loss that is not known, `DataError` for batches that cannot be used.
    """
    if loss:
        check_choice("loss", loss, get_args(Loss))
    network = Hooked(model, head)
    # Not the device of `weight`, which a parametrization such as spectral_norm computes anew, in training another one.
    device, num_classes = next(network.head.parameters()).device, network.head.out_features
    if isinstance(batches, Iterator):
        raise DataError("batches can be gone over once only; expected a DataLoader or a list, not an iterator")
    for loader in (batches, test):
        _check_is_whole(loader)

    seen: set[int] = set()  # classes

    def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
        return LOSSES[loss](logits.float(), labels) if loss else torch.zeros_like(logits[:, 0])

    with _measuring, _undisturbed(device, batches, test), _exact(device):
        stages = measuring(
            network,
            lambda: _on_device(batches, device, num_classes, seen),
            num_samples=_count(batches, num_classes),
            num_classes=num_classes,
            loss_of=loss_of,
            test=None if test is None else lambda: _on_device(test, device, num_classes),
        )
        measured = finish(stages)
    _warn_of_empty(set(range(num_classes)) - seen, num_classes)
    for loader in (batches, test):
        _warn_of_left_out(loader)
    found = {"train_loss": measured.train_loss, "train_accuracy": measured.train_accuracy}
    found |= measured.metrics | measured.test
    return {name: value for name, value in found.items() if loss or name not in ("train_loss", "test_loss")}


def _warn_of_empty(classes: set[int], num_classes: int) -> None:
    """Warn of classes without a sample; at one place of a script Python shows a warning once."""
    if classes:
        named = first_of([str(number) for number in sorted(classes)])
        warnings.warn(
            f"{len(classes)} of the head's {num_classes} classes have no sample ({named}): NC1 and all else that "
            "compares class means is NaN. Is it the layer that gives the logits, and are these all batches?",
            stacklevel=3,
        )


def _find_head(model: nn.Module, head: nn.Linear | str) -> nn.Linear:
    if isinstance(head, str):
        try:
            found = model.get_submodule(head)
        except AttributeError:
            raise SpecError(f"the model has no module {head!r}; {_linear_layers(model)}") from None
    else:
        found = head
    if not isinstance(found, nn.Linear):
        kind = type(found)
        own = "" if kind.__module__.startswith("torch.nn.") else f"{kind.__module__}."
        path = next((name for name, module in model.named_modules() if module is found), "")
        within = f"In it {_linear_layers(found, path)}.\n" if isinstance(found, nn.Module) else ""
        raise SpecError(
            f"the head is a {own}{kind.__name__}; expected the torch.nn.Linear behind the features.\n"
            f"{within}For a head of another kind give features, labels and weights to ncdiag.measure_features"
        )
    if all(module is not found for module in model.modules()):
        raise SpecError("the head is no part of the model; expected the layer itself, such as model.fc, or its name")
    if found.out_features < 2:
        raise SpecError("the head has 1 output; expected one for each class, of which there are two at the least")
    return found


def _linear_layers(module: nn.Module, path: str = "") -> str:
    """Say how the linear layers of the module at a path in the model are called, the last ones where they are many."""
    names = [name for name, layer in module.named_modules(prefix=path) if isinstance(layer, nn.Linear)]
    last = f"the last of {len(names)} linear layers" if len(names) > _NAMED else "the linear layers"
    return f"{last} are {', '.join(names[-_NAMED:])}" if names else "there is no linear layer"


def _bare(model: nn.Module) -> nn.Module:
    """Give the model in a wrapper that would compute on several devices, or wait for other processes."""
    outermost = getattr(model, "_orig_mod", model)  # of a model that was compiled
    return _bare(outermost.module) if isinstance(outermost, (DataParallel, DistributedDataParallel)) else model


def _uncompiled() -> AbstractContextManager[Any]:
    """Let compiled parts of a model compute as they are written: once compiled, they hear of no further hook."""
    if "torch._dynamo" not in sys.modules:  # which takes seconds to load: nothing was compiled
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def _checked(batches: Pairs, num_classes: int) -> Iterator[tuple[Any, Tensor]]:
    samples = 0
    for batch in batches:
        x, labels = _paired(batch)
        kind = labels.dtype
        if labels.dim() != 1 or kind.is_floating_point or kind.is_complex or kind == torch.bool:
            shape = list(labels.shape)
            raise DataError(
                f"labels are {kind} of shape {shape}; expected whole numbers of shape [B].\n{_hint(labels)}"
            )
        labels = labels.to(torch.int64)  # of uint16 and the like torch gives no minimum
        if not len(labels):  # as where a collate function drops what it cannot read
            continue
        if not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            raise DataError(
                f"labels from {int(labels.min())} to {int(labels.max())}; expected 0 to {num_classes - 1}, "
                f"as the head has {num_classes} outputs"
            )
        samples += len(labels)
        yield x, labels
    if not samples:
        raise DataError("there is no sample in the batches; a loader may have been used up, or drop its last batch")


def _hint(labels: Tensor) -> str:
    if not labels.dim():
        return "Give batches, as torch.utils.data.DataLoader makes them of a data set"
    return "Of labels that are one-hot or probabilities, give y.argmax(1); of floats, y.long()"


def _paired(batch: Any) -> tuple[Any, Tensor]:
    """Take the labels of a batch from its inputs."""
    if isinstance(batch, Mapping) and isinstance(batch.get("labels"), Tensor):
        return _Keywords({name: value for name, value in batch.items() if name != "labels"}), batch["labels"]
    if isinstance(batch, (tuple, list)) and len(batch) == 2 and isinstance(batch[1], Tensor):
        return batch[0], batch[1]
    found = f"a {type(batch).__name__}"
    if isinstance(batch, Mapping):
        found += f" with {', '.join(map(str, batch)) or 'nothing in it'}"
    elif isinstance(batch, (tuple, list)):
        found += f" of {', '.join(type(item).__name__ for item in batch) or 'nothing'}"
    raise DataError(
        f"a batch is {found}; expected a pair (x, y), y a tensor of whole numbers, or a dict with y under 'labels'.\n"
        + (
            "Give the labels that name, as in [{**batch, 'labels': batch['y']} for batch in loader]"
            if isinstance(batch, Mapping)
            else "Make pairs of what is in it, as in [(x, y) for x, y, _ in loader]"
        )
    )


def _check_is_whole(loader: Pairs | None) -> None:
    """Raise `DataError` for a loader that gives each of several processes a part of the set."""
    for place, name in product(_order_of(loader), _SHARES):
        if isinstance(shares := getattr(place, name, None), int) and shares > 1:
            raise DataError(
                f"the loader gives each of {shares} processes a part of the set ({type(place).__name__}); expected all "
                "of it.\nMeasure with a loader that is not spread over processes"
            )


def _warn_of_left_out(loader: Pairs | None) -> None:
    """Warn of a loader that leaves out the rest of the set behind its last whole batch."""
    size, sampler = getattr(loader, "batch_size", None), getattr(loader, "sampler", None)
    if getattr(loader, "drop_last", False) and size and isinstance(sampler, Sized) and (rest := len(sampler) % size):
        warnings.warn(
            f"the loader leaves out {rest} of {len(sampler)} samples (drop_last); measure with one that does not",
            stacklevel=3,
        )


def _on_device(
    batches: Pairs, device: torch.device, num_classes: int, seen: set[int] | None = None
) -> Iterator[tuple[Any, Tensor]]:
    """Give the batches where the model is; the classes in them are added to those `seen`."""
    for x, labels in _checked(batches, num_classes):
        if seen is not None:
            seen.update(labels.tolist())
        yield _moved(x, device), labels.to(device)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        moved = copy(value)  # of its own kind
        moved.update({key: _moved(item, device) for key, item in value.items()})
        return moved
    if hasattr(value, "to"):  # a tensor, or what moves the tensors that it holds, as a BatchEncoding does
        return value.to(device)
    if isinstance(value, (tuple, list)):
        items = [_moved(item, device) for item in value]
        is_named = hasattr(value, "_fields")  # a tuple that takes its items apart
        return type(value)(*items) if is_named else type(value)(items)
    return value


def _count(batches: Pairs, num_classes: int) -> int:
    """Give the number of samples; only where a loader does not know is it gone over for that."""
    sampler = getattr(batches, "sampler", None)
    try:
        return len(sampler)  # type: ignore[arg-type]  # a TypeError is what is asked for
    except TypeError:
        return sum(len(labels) for _, labels in _checked(batches, num_classes))


@contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    """Compute in the precision of the weights, whatever the script lets training do.

    Accelerate, and so Hugging Face's Trainer, have the forward pass itself enter autocast: what is entered meanwhile is
    switched off again, and its own end brings back what was there before.
    """
    enter: Callable[[torch.autocast], Any] = torch.autocast.__enter__

    def enter_without_effect(entered: torch.autocast) -> Any:
        given = enter(entered)
        torch.set_autocast_enabled(entered.device, False)
        return given

    with torch.autocast(device.type, enabled=False), using_products("default"):
        setattr(torch.autocast, "__enter__", enter_without_effect)  # noqa: B010  # mypy knows no assigning of methods
        try:
            yield
        finally:
            setattr(torch.autocast, "__enter__", enter)  # noqa: B010


@contextmanager
def _undisturbed(device: torch.device, *loaders: Pairs | None) -> Iterator[None]:
    """Give the random generators back as they were, and those of the loaders, what counts passes, and a pass underway.

    Workers that persist go over a set for one pass at a time: another one would end that of the training loop.
    """
    ours, theirs = random.getstate(), np.random.get_state()
    places = [place for loader in loaders for place in _order_of(loader)]
    generators = [place.generator for place in places if isinstance(getattr(place, "generator", None), torch.Generator)]
    drawn = [(generator, generator.get_state()) for generator in generators]
    counted = [
        (place, name, count)
        for place in places
        for name, count in getattr(place, "__dict__", {}).items()
        if type(count) is int  # and not bool
    ]
    underway = [
        (place, place._iterator)
        for place in places
        if getattr(getattr(place, "_iterator", None), "_tasks_outstanding", 0)
    ]
    for place, _ in underway:
        place._iterator = None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(theirs)
            for generator, state in drawn:
                generator.set_state(state)
            for place, name, count in counted:
                place.__dict__[name] = count
            for place, iterator in underway:
                place._iterator = iterator


def _order_of(loader: Pairs | None) -> Iterator[Any]:
    """Give a loader and its samplers, in which it keeps what decides on its order."""
    yield loader
    for find in _ORDERING:
        with suppress(AttributeError):
            yield find(loader)
