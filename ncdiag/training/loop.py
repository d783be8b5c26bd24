"""The training loop: runs of one shape go in, what happens to each comes out, an event at a time.

The loop writes nothing. It yields an event and goes on when it is asked for the next, so whoever consumes the events
decides what is stored, and an epoch counts as done only once its record has been taken. A checkpoint of an epoch is
therefore offered after the epoch's record: a state that is on disk never lacks its row.

The runs of a group do not share anything but the data: each has its own weights, optimiser, order and fate.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ncdiag.domain.onset import DEAD_NORM, MIN_ACCURACY
from ncdiag.domain.records import EpochRecord, InterventionRecord, RunStatus
from ncdiag.domain.spec import Intervention, Loss, RunSpec
from ncdiag.errors import UnsafeError
from ncdiag.training.datasets import Dataset
from ncdiag.training.interventions import scale_features
from ncdiag.training.measure import Measurement, accuracy, measure
from ncdiag.training.networks import build_network
from ncdiag.training.objectives import LOSSES, learning_rate, make_optimizer
from ncdiag.training.reproducibility import batch_order, full_precision, generator

EVAL_BATCH = 4096  # large enough that the products, not the calls, take the time
DEAD_EVALUATIONS = 5  # in a row that look dead end a run: nothing revives features whose gradient is zero


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """An epoch was trained and measured."""

    member: int
    record: EpochRecord


@dataclass(frozen=True, kw_only=True)
class Intervened:
    """A network was changed between two epochs."""

    member: int
    record: InterventionRecord


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state after an epoch, by reference: save or copy it before asking for the next event.

    `milestone` marks the end of a phase, where other runs may branch off, and the end of the run.
    """

    member: int
    epoch: int
    milestone: bool
    state: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run came to its end, planned or not."""

    member: int
    status: RunStatus
    reason: str | None = None


Event = EpochDone | Intervened | Checkpoint | Ended


def train(
    specs: Sequence[RunSpec],
    data: Dataset,
    *,
    states: Mapping[int, dict[str, Any]] | None = None,
) -> Iterator[Event]:
    """Train a group of runs on one data set, on the device where the data lies.

    `states` holds, for members that are continued, the checkpoint they start from. Every member ends with `Ended`;
    one that diverges or dies leaves the others as they are.
    """
    with full_precision():
        members = [_Member(i, spec, data, (states or {}).get(i)) for i, spec in enumerate(specs)]
        for epoch in range(1, max(spec.epochs for spec in specs) + 1):
            for member in members:
                if member.live and member.epoch == epoch - 1:
                    yield from member.run_epoch()


class _Member:
    """One run of the group: its weights, its optimiser, and how far it has come."""

    def __init__(self, index: int, spec: RunSpec, data: Dataset, state: dict[str, Any] | None) -> None:
        self.index = index
        self.spec = spec
        self.data = data
        self.live = True
        self.epoch = 0
        self.below = 0  # evaluations in a row below the stop rule's eps
        self.dying = 0  # evaluations in a row that look dead
        self.largest_norm = 0.0  # of the features, since before the first step
        self.seconds = 0.0  # spent on this run since its last record
        self.near_chance = _near_chance(data)
        self.network = build_network(
            spec.network,
            input_shape=data.input_shape,
            num_classes=data.num_classes,
            generator=generator(spec.seed, "weights"),
        ).to(data.device)
        if data.device.type == "cpu":  # ResNet-20 runs 1.4 times as fast (benchmarks/kernels.py)
            self.network.to(memory_format=torch.channels_last)
        self.optimizer = make_optimizer(spec.optimizer, self.network.parameters())
        if state is None:
            self.largest_norm = self._untrained_norm()
        else:
            self._restore(state)

    def run_epoch(self) -> Iterator[Event]:
        started = time.perf_counter()
        phase_number, phase_epoch = self.spec.phase_of(self.epoch + 1)
        phase = self.spec.phases[phase_number - 1]
        if phase_epoch == 1:
            self.optimizer = make_optimizer(self.spec.optimizer, self.network.parameters())
        if self.spec.intervention and self.spec.intervention.epoch == self.epoch:
            yield self._intervene(self.spec.intervention)
        lr = learning_rate(self.spec.optimizer, phase, phase_epoch)
        self.epoch += 1
        total_loss = self._pass_over_data(phase.loss, lr)
        if self.epoch % self.spec.eval_every == 0 or phase_epoch == phase.epochs:
            measured = self._measure(phase.loss)
            test_accuracy = accuracy(self.network, self.data.test_batches(EVAL_BATCH))
            self.seconds += time.perf_counter() - started
            record = EpochRecord(
                epoch=self.epoch,
                phase=phase_number,
                loss=phase.loss,
                lr=lr,
                train_loss=measured.train_loss,
                train_accuracy=measured.train_accuracy,
                test_accuracy=test_accuracy,
                seconds=self.seconds,
                **measured.metrics,
            )
            self.seconds = 0.0
            self._judge(record)
            yield EpochDone(member=self.index, record=record)
        else:
            self.seconds += time.perf_counter() - started
        ended = self._ending(total_loss)
        if ended is None or ended.status is RunStatus.DONE:
            milestone = ended is not None or phase_epoch == phase.epochs
            yield Checkpoint(member=self.index, epoch=self.epoch, milestone=milestone, state=self._state())
        if ended:
            self.live = False
            yield ended

    def _pass_over_data(self, loss: Loss, lr: float) -> float:
        loss_of = LOSSES[loss]
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.network.train()
        total = torch.zeros((), device=self.data.device)
        order = batch_order(self.spec.seed, self.epoch, len(self.data.train_labels)).to(self.data.device)
        for index in order.split(self.spec.batch_size):
            self.optimizer.zero_grad()
            mean_loss = loss_of(self.network(self.data.train_inputs(index)), self.data.train_labels[index]).mean()
            mean_loss.backward()
            self.optimizer.step()
            total += mean_loss.detach()
        return float(total)  # the one wait for the device in an epoch of training

    def _measure(self, loss: Loss) -> Measurement:
        return measure(
            self.network,
            lambda: self.data.train_batches(EVAL_BATCH),
            num_samples=len(self.data.train_labels),
            num_classes=self.data.num_classes,
            loss_of=LOSSES[loss],
        )

    def _intervene(self, intervention: Intervention) -> Intervened:
        before = self._feature_norm()
        scale_features(self.network, intervention)
        record = InterventionRecord(
            epoch=self.epoch,
            alpha=intervention.alpha,
            compensate_head=intervention.compensate_head,
            feature_norm_before=before,
            feature_norm_after=self._feature_norm(),
        )
        return Intervened(member=self.index, record=record)

    @torch.no_grad()
    def _untrained_norm(self) -> float:
        """Give the mean feature norm before training: with strong decay, features are dead after one epoch."""
        features = self.network.eval().features(self.data.train_inputs(slice(0, EVAL_BATCH)))
        return float(features.norm(dim=1).mean())

    def _feature_norm(self) -> float:
        return self._measure("mse").metrics["feature_norm"]

    def _judge(self, record: EpochRecord) -> None:
        """Update the counts in a row that end a run: collapsed for long enough, or dead."""
        accuracy = record.train_accuracy or 0.0
        norm = record.feature_norm or 0.0
        nc1 = math.nan if record.nc1 is None else record.nc1
        self.largest_norm = max(self.largest_norm, norm if math.isfinite(norm) else 0.0)
        dead = norm <= DEAD_NORM * self.largest_norm and accuracy < self.near_chance
        self.dying = self.dying + 1 if dead else 0
        last_phase = record.phase == len(self.spec.phases)
        collapsed = self.spec.stop is not None and last_phase and nc1 < self.spec.stop.eps and accuracy >= MIN_ACCURACY
        self.below = self.below + 1 if collapsed else 0

    def _ending(self, total_loss: float) -> Ended | None:
        if not math.isfinite(total_loss) or not self._weights_finite():
            reason = f"the loss or the weights became non-finite in epoch {self.epoch}"
            return Ended(member=self.index, status=RunStatus.DIVERGED, reason=reason)
        if self.dying >= DEAD_EVALUATIONS:
            reason = f"the features died: {DEAD_EVALUATIONS} evaluations with a norm near 0 and accuracy near chance"
            return Ended(member=self.index, status=RunStatus.DEAD, reason=reason)
        if self.spec.stop and self.below >= self.spec.stop.patience:
            return Ended(member=self.index, status=RunStatus.DONE, reason="stopped at onset")
        if self.epoch == self.spec.epochs:
            return Ended(member=self.index, status=RunStatus.DONE)
        return None

    def _weights_finite(self) -> bool:
        return bool(nn.utils.get_total_norm(self.network.parameters()).isfinite())

    def _state(self) -> dict[str, Any]:
        return {
            "key": self.spec.key,
            "epoch": self.epoch,
            "weights": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "below": self.below,
            "dying": self.dying,
            "largest_norm": self.largest_norm,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        if state["key"] != self.spec.key:
            raise UnsafeError("the checkpoint belongs to another configuration; remove it to train from the start")
        self.network.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]
        self.below, self.dying, self.largest_norm = state["below"], state["dying"], state["largest_norm"]


def _near_chance(data: Dataset) -> float:
    """Give the accuracy below which nothing was learned: a tenth of the way from the commonest class to perfect."""
    commonest = float(data.train_labels.bincount().max()) / len(data.train_labels)
    return commonest + 0.1 * (1 - commonest)
