"""ncdiag's training, piece by piece, for the benchmarks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.spec import DataSpec, PhaseSpec, RunSpec
from ncdiag.errors import NCDiagError
from ncdiag.training.datasets import Dataset, load_dataset
from ncdiag.training.loop import MEASURED_AT_ONCE
from ncdiag.training.measure import Measurement, _first_stage, measuring
from ncdiag.training.member import Member
from ncdiag.training.network import as_it_lies
from ncdiag.training.objectives import LOSSES
from ncdiag.training.optimizers import make_optimizer
from ncdiag.training.reproducibility import batch_order
from ncdiag.training.stages import Stages, finish, overlapped
from ncdiag.training.steps import Steps


def mnist(data_dir: Path | None) -> Dataset:
    """Give MNIST, or where it is not at hand made-up images of its size."""
    try:
        return load_dataset(DataSpec(dataset="mnist"), arch="mlp", data_dir=data_dir)
    except NCDiagError:
        return made_up()


def first(data: Dataset, *, train: int, test: int) -> Dataset:
    """Give so many images of a data set, those that come first."""
    return replace(
        data,
        train_images=data.train_images[:train],
        train_labels=data.train_labels[:train],
        test_images=data.test_images[:test],
        test_labels=data.test_labels[:test],
    )


def made_up(shape: tuple[int, int, int] = (1, 28, 28), samples: int = 60_000) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(samples + 10_000) % 10
    images = torch.randint(0, 60, (samples + 10_000, *shape), dtype=torch.uint8, generator=generator)
    images[torch.arange(len(images)), :, 2 * labels] += 150  # so that there is something to learn
    return Dataset(
        name="made up",
        train_images=images[:samples],
        train_labels=labels[:samples],
        test_images=images[samples:],
        test_labels=labels[samples:],
        class_names=tuple("0123456789"),
        mean=torch.full((shape[0], 1, 1), 0.1307),
        std=torch.full((shape[0], 1, 1), 0.3081),
        channels=shape[0],
        sha256="",
    )


def mlp(width: int, **given: Any) -> RunSpec:
    """Give the MLP of the table: three hidden layers, batches of 128."""
    phases = (PhaseSpec(loss="ce", epochs=1000),)
    return complete_spec({"depth": 3, "width": width, "batch_size": 128, "phases": phases, "dataset": "mnist"} | given)


def resnet20() -> tuple[RunSpec, Dataset]:
    """Give ResNet-20 and two batches of images for it."""
    spec = complete_spec({"arch": "resnet20", "dataset": "cifar10", "batch_size": 128})
    return spec, made_up((3, 32, 32), samples=256)


class Training:
    """Networks of one shape in training."""

    def __init__(
        self, specs: Sequence[RunSpec], data: Dataset, *, layout: torch.memory_format | None = None, eager: bool = False
    ) -> None:
        self.data = data
        self.members = [Member(place, spec, data, None) for place, spec in enumerate(specs)]
        if layout:
            for member in self.members:
                member.network.to(memory_format=layout)
                member.optimizer = make_optimizer(
                    member.spec.optimizer, [as_it_lies(p) for p in member.network.parameters()]
                )
        self.steps = Steps(
            [member.network for member in self.members],
            [member.optimizer for member in self.members],
            data,
            batch_size=specs[0].batch_size,
            loss="ce",
            precision=specs[0].precision,
            eager=eager,
        )
        self.epoch = 0

    def train_epoch(self) -> None:
        self.epoch += 1
        samples = len(self.data.train_labels)
        orders = [batch_order(member.spec.seed, self.epoch, samples) for member in self.members]
        self.steps.take(orders, [1e-3] * len(self.members)).tolist()

    def measure(self) -> None:
        for member in self.members:
            self.metrics = finish(self._measuring(member)).metrics

    @torch.no_grad()
    def test(self) -> None:
        """Measure the test set for all, as measuring does beside the rest."""
        for member in self.members:
            batches = self.data.test_batches(member.eval_batch)
            _first_stage(member.network.eval(), batches, 10, LOSSES["ce"], keep=False).loss.item()

    def evaluate(self) -> None:
        """Measure and test all as a GPU does."""
        list(overlapped((self._measuring(member, tested=True) for member in self.members), MEASURED_AT_ONCE))

    def _measuring(self, member: Member, *, tested: bool = False) -> Stages[Measurement]:
        return measuring(
            member.network,
            lambda: self.data.train_batches(member.eval_batch),
            num_samples=len(self.data.train_labels),
            num_classes=10,
            loss_of=LOSSES["ce"],
            test=(lambda: self.data.test_batches(member.eval_batch)) if tested else None,
        )
