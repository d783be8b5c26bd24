"""One pass over a data set in eval mode, and everything that is measured in it.

The forward pass costs far more than the metrics, so there is only one: it leaves the loss, the accuracy and the
features. Once they have given the class means, the features are gone over a second time, along the at most K - 1
directions in which these means differ. `ncdiag.domain.moments` explains the two stages.

Precision: features come in float32, and what matters near collapse is their distance from the class mean, a tiny
part of their length. So a point near the class mean is subtracted first, which float32 does exactly for numbers that
are close, and squares are summed in float64. Every metric then agrees with float64 throughout to 1e-7 of its value,
down to NC1 = 1e-12 and in any order of the samples; one-pass sums in float32 come out negative at 1e-8. Where two class
means nearly coincide, what is divided by their distance (`cdnv`, `nc1_pinv`) is off by more.

Nothing here waits for the device before the pass is over, draws a random number, or changes the network. What several
networks are measured for can go on at once (`ncdiag.training.stages`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.linalg import vector_norm

from ncdiag.domain.metrics import collapse_metrics, feature_norm, nc1
from ncdiag.domain.moments import SINGLE, ClassMoments, Directions, Projections, between_directions, tally
from ncdiag.training.network import Network
from ncdiag.training.objectives import LossFunction
from ncdiag.training.reproducibility import full_precision
from ncdiag.training.stages import HostCopy, Stages

# Inputs, float32 on the network's device, and labels, int64 there.
Batches = Iterable[tuple[Tensor, Tensor]]
KEEP_BYTES = 2 * 2**30  # 2 GiB: MNIST at d = 8192. Above it the features are computed twice instead of kept.
# Features summed at a time on a CPU. The few arrays of this size that a sum needs then stay in its cache: four times as
# many took a third longer on one core. On a GPU a batch is summed at once: there it is calls that take the time.
_CHUNK = 2**19


class _Block(NamedTuple):
    """What the network made of one batch."""

    features: Tensor  # [B, d], float32
    labels: Tensor  # [B]
    predicted: Tensor  # [B], the class with the largest logit


class _FirstStage(NamedTuple):
    """Sums over a pass, on the device, and its blocks if they were to be kept."""

    loss: Tensor
    correct: Tensor
    moments: ClassMoments
    kept: list[_Block]

    @property
    def sums(self) -> dict[str, Tensor]:
        """The sums by name, to be sent to the CPU."""
        return {"loss": self.loss, "correct": self.correct, **vars(self.moments)}


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was found by one pass over the training set, and one over the test set, by the columns of an epoch."""

    train_loss: float  # mean over samples
    train_accuracy: float  # in [0, 1]
    metrics: dict[str, float]  # every one of `ncdiag.domain.records.METRICS`
    test: dict[str, float]  # `test_loss`, `test_accuracy`, `test_feature_norm`, `test_nc1`; empty without a test set


def measuring(
    network: Network,
    batches: Callable[[], Batches],
    *,
    num_samples: int,
    num_classes: int,
    loss_of: LossFunction,
    test: Callable[[], Batches] | None = None,
    keep_bytes: int = KEEP_BYTES,
) -> Stages[Measurement]:
    """Measure a network on its training set, in stages: it pauses where the device has something to do first.

    `batches` starts a pass over the whole set, `num_samples` in all, in any order and split; `loss_of` gives the
    loss of each sample; `test` starts a pass over a test set. Features that need more than `keep_bytes` (N x d x 4
    bytes) are not kept, and `batches` is called again for a second forward pass. Features that are not finite give
    NaN, not an error. The network, which must not change before the last stage, its modes and all random generators
    stay as they are.
    """
    keep = num_samples * network.head.in_features * 4 <= keep_bytes
    with _evaluating(network):
        seen = _first_stage(network, batches(), num_classes, loss_of, keep)
        tested = _first_stage(network, test(), num_classes, loss_of, keep=False) if test else None
        weight = network.head.weight.float().clone()  # what numpy shares FSDP could not resize
        sums, test_sums = HostCopy({"weight": weight, **seen.sums}), HostCopy(tested.sums) if tested else None
    yield
    found = sums.arrays()
    moments = _moments(found)
    directions = between_directions(moments, SINGLE)
    with _evaluating(network):
        blocks = seen.kept if keep else (block for block, _ in _forward(network, batches()))
        total = _second_stage(blocks, moments, directions, _summing_device(network))
        projected = HostCopy({"spread": total.spread, "agree": total.agree})
    yield
    train_loss, train_accuracy = _means(found)
    return Measurement(
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        test=_test_columns(test_sums.arrays()) if test_sums else {},
        metrics=collapse_metrics(
            moments, directions, Projections(count=total.count, **projected.arrays()), found["weight"]
        ),
    )


@contextmanager
def _evaluating(network: Network) -> Iterator[None]:
    """Put every module into eval mode without gradients or TF32, and each back into the mode it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad(), full_precision():
            yield
    finally:
        for module, training in modes:  # a module comes before those in it
            if module.training != training:
                module.train(training)


def _moments(found: Mapping[str, Any]) -> ClassMoments:
    return ClassMoments(**{name: found[name] for name in ("count", "mean", "scatter", "norm")})


def _means(found: Mapping[str, Any]) -> tuple[float, float]:
    """Give the mean loss and the accuracy."""
    samples = int(found["count"].sum())
    return float(found["loss"]) / samples, int(found["correct"]) / samples


def _test_columns(found: Mapping[str, Any]) -> dict[str, float]:
    """Give what is stored of a test set: NC1 and fn about its own class means, not those of the training set."""
    loss, accuracy = _means(found)
    moments = _moments(found)
    return {
        "test_loss": loss,
        "test_accuracy": accuracy,
        "test_feature_norm": feature_norm(moments),
        "test_nc1": nc1(moments),
    }


def _forward(network: Network, batches: Batches) -> Iterator[tuple[_Block, Tensor]]:
    """Give, batch by batch, what is kept and the logits [B, K], where they are summed."""
    where = _summing_device(network)
    for x, labels in batches:
        features, logits = network.outputs(x)
        yield _Block(features.float().to(where), labels.to(where), logits.argmax(1).to(where)), logits.to(where)


def _summing_device(network: Network) -> torch.device:
    """Give the device of the network, or the CPU if that knows no float64, as Apple's GPUs do not."""
    device = network.head.weight.device
    return torch.device("cpu") if device.type == "mps" else device


def _first_stage(
    network: Network, batches: Batches, num_classes: int, loss_of: LossFunction, keep: bool
) -> _FirstStage:
    device = _summing_device(network)
    loss = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    nothing = torch.zeros(num_classes, dtype=torch.float64, device=device)
    moments = ClassMoments(
        count=nothing, mean=nothing[:, None].expand(-1, network.head.in_features), scatter=nothing, norm=nothing
    )
    kept = []
    for block, logits in _forward(network, batches):
        loss += loss_of(logits, block.labels).sum(dtype=torch.float64)
        correct += (block.predicted == block.labels).sum()
        for features, labels, _ in _chunks(*block):
            moments = _with_batch(moments, features, labels)
        if keep:
            kept.append(block)  # by reference: a network gives a new tensor for every batch
    return _FirstStage(loss, correct, moments, kept)


def _chunks(*block: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cut the tensors of a block, on a CPU, into pieces of about `_CHUNK` features."""
    samples, width = block[0].shape
    rows = max(1, _CHUNK // width) if block[0].device.type == "cpu" else samples
    return zip(*(torch.split(tensor, rows) for tensor in block), strict=True)


def _with_batch(moments: ClassMoments, features: Tensor, labels: Tensor) -> ClassMoments:
    """Add a batch to the moments: shift each class to near its mean, sum in float64, merge."""
    classes = torch.arange(len(moments.count), device=labels.device)
    members = (labels[:, None] == classes).double()  # [B, K], 1 where sample i is of class c
    count = members.sum(0)
    # Near: the mean so far or, for a class that appears only now, one of its own samples. Any order will do.
    near = torch.where((moments.count > 0)[:, None], moments.mean.float(), features[members.argmax(0)])
    shifted = (features - near.index_select(0, labels)).double()  # a fifth of the time of near[labels] on a CPU
    step = sum_by_class(shifted, labels, members) / count.clamp(min=1)[:, None]
    batch = ClassMoments(
        count=count,
        mean=near + step,
        scatter=vector_norm(shifted, dim=1).square() @ members - count * step.square().sum(1),
        norm=vector_norm(features, dim=1, dtype=torch.float64) @ members,
    )
    return moments.merge(batch)


def sum_by_class(rows: Tensor, labels: Tensor, members: Tensor) -> Tensor:
    """Give the sum of the rows [B, d] of each class, [K, d], the same one in every run."""
    if rows.device.type == "cpu":  # a product takes six times as long on AMD's Zen 5
        return rows.new_zeros(members.shape[1], rows.shape[1]).index_add_(0, labels, rows)
    return members.T @ rows  # there the rows of `index_add_` come in any order


def _second_stage(
    blocks: Iterable[_Block], moments: ClassMoments, directions: Directions, device: torch.device
) -> Projections:
    """Project every sample: float32 products on shifted features, float64 sums."""
    centres, vectors, coordinates = (
        torch.from_numpy(array).to(device) for array in (moments.mean, directions.vectors, directions.coordinates)
    )
    near, short = centres.float(), vectors.float()
    rounded_off = (near - centres) @ vectors  # the part of a class mean that its float32 form lacks
    chunks = (chunk for block in blocks for chunk in _chunks(*block))
    return reduce(
        Projections.merge,
        (
            tally(
                (features - near.index_select(0, labels)) @ short + rounded_off.index_select(0, labels),
                labels,
                predicted,
                coordinates,
            )
            for features, labels, predicted in chunks
        ),
    )
