"""Measuring a network that ncdiag did not make: any torch module whose last layer is linear.

The features are what goes into that layer, the head, wherever it stands in the model; a hook takes them while the model
computes as it always does. Measuring leaves no trace: modes, weights, buffers and the random generators of torch, numpy
and Python come back as they were, so a training loop goes on to the bits that it would have had. (A DataLoader draws a
seed from torch's global generator at every pass, shuffled or not.)
"""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ncdiag.domain.spec import Loss
from ncdiag.errors import DataError, SpecError
from ncdiag.training.measure import accuracy, measure
from ncdiag.training.network import Network
from ncdiag.training.objectives import LOSSES

# Pairs of inputs, a tensor or tensors in tuples, lists and dicts, and labels, whole numbers [B] from 0.
Pairs = Iterable[tuple[Any, Tensor]]


class Hooked(Network):
    """A model as a network: the features are what its head is given."""

    def __init__(self, model: nn.Module, head: nn.Linear | str) -> None:
        super().__init__()
        self.model = model
        self.head = _find_head(model, head)

    def features(self, x: Any) -> Tensor:
        """Give the features [B, d] of a batch."""
        seen: list[Tensor] = []
        handle = self.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            self.model(x)
        finally:
            handle.remove()
        if len(seen) != 1 or seen[0].dim() != 2:
            found = f"{len(seen)} times" if len(seen) != 1 else f"with features of shape {list(seen[0].shape)}"
            raise SpecError(
                f"the model called its head {found}; expected once a batch, with features [B, d].\n"
                "Name the linear layer that gives the logits of each sample"
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
    each time it is asked for an iterator, as a DataLoader does, in any order, without augmentation; `test` likewise
    over a test set, whose accuracy is added. With a `loss` (`ce`, or `mse` to the one-hot target, averaged over the
    classes) the train loss is added. A class without a sample leaves NaN, as in `ncdiag.domain.metrics`.

    In training the model goes on as if it had not been measured. Raises `SpecError` for a head that is none,
    `DataError` for batches that cannot be used.
    """
    network = Hooked(model, head)
    device, num_classes = network.head.weight.device, network.head.out_features
    if isinstance(batches, Iterator):
        raise DataError("batches can be gone over once only; expected a DataLoader or a list, not an iterator")

    def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
        return LOSSES[loss](logits.float(), labels) if loss else torch.zeros(labels.shape, device=device)

    with _undisturbed(device), torch.autocast(device.type, enabled=False):
        measured = measure(
            network,
            lambda: _on_device(batches, device, num_classes),
            num_samples=_count(batches, num_classes),
            num_classes=num_classes,
            loss_of=loss_of,
        )
        found = {"train_accuracy": measured.train_accuracy, **measured.metrics}
        if loss:
            found["train_loss"] = measured.train_loss
        if test is not None:
            found["test_accuracy"] = accuracy(network, _on_device(test, device, num_classes))
        return found


def _find_head(model: nn.Module, head: nn.Linear | str) -> nn.Linear:
    if isinstance(head, str):
        try:
            found = model.get_submodule(head)
        except AttributeError:
            names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
            raise SpecError(
                f"the model has no module {head!r}; its linear layers are {', '.join(names) or 'none'}"
            ) from None
    else:
        found = head
    if not isinstance(found, nn.Linear):
        raise SpecError(f"the head is a {type(found).__name__}; expected the torch.nn.Linear behind the features")
    if all(module is not found for module in model.modules()):
        raise SpecError("the head is no part of the model; expected the layer itself, such as model.fc, or its name")
    return found


def _checked(batches: Pairs, num_classes: int) -> Iterator[tuple[Any, Tensor]]:
    for pair in batches:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[1], Tensor):
            raise DataError("a batch is no pair of inputs and labels; expected (x, y), y a tensor of whole numbers")
        x, labels = pair
        if labels.dim() != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
            raise DataError(
                f"labels are {labels.dtype} of shape {list(labels.shape)}; expected whole numbers of shape [B]"
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            raise DataError(
                f"labels from {int(labels.min())} to {int(labels.max())}; expected 0 to {num_classes - 1}, "
                f"as the head has {num_classes} outputs"
            )
        yield x, labels


def _on_device(batches: Pairs, device: torch.device, num_classes: int) -> Iterator[tuple[Any, Tensor]]:
    for x, labels in _checked(batches, num_classes):
        yield _moved(x, device), labels.to(device, torch.int64)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)([_moved(item, device) for item in value])
    return value


def _count(batches: Pairs, num_classes: int) -> int:
    """Give the number of samples; only where a loader does not know is it gone over for that."""
    sampler = getattr(batches, "sampler", None)
    try:
        return len(sampler)  # type: ignore[arg-type]  # a TypeError is what is asked for
    except TypeError:
        return sum(len(labels) for _, labels in _checked(batches, num_classes))


@contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Give the random generators back as they were."""
    ours, theirs = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(theirs)
