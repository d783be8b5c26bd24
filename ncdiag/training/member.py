"""One run of a group: its network, its optimiser, how far it has come, and what becomes of it."""

import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ncdiag.domain.evaluations import is_evaluated
from ncdiag.domain.onset import DEAD_NORM, MIN_ACCURACY
from ncdiag.domain.records import EpochRecord, InterventionRecord, RunStatus
from ncdiag.domain.shares import counted
from ncdiag.domain.spec import Intervention, Loss, NetworkSpec, RunSpec
from ncdiag.errors import UnsafeError
from ncdiag.training.datasets import Dataset
from ncdiag.training.events import Checkpoint, Ended, EpochDone, Event, Intervened
from ncdiag.training.interventions import scale_features
from ncdiag.training.measure import Measurement, measuring
from ncdiag.training.network import Network, as_it_lies
from ncdiag.training.networks import build_network
from ncdiag.training.objectives import LOSSES, learning_rate
from ncdiag.training.optimizers import Optimizer, make_optimizer
from ncdiag.training.reproducibility import generator
from ncdiag.training.stages import Stages, finish, timed

EVAL_BATCH = 4096  # large enough that the products, not the calls, take the time
EVAL_BATCH_OF_CONVOLUTIONS = 128  # on a CPU: at 4096 the maps leave its caches, which takes ResNet-20 twice as long
EVAL_BATCH_ON_GPU = 16_384  # of an MLP: on a GPU calls take longer than the products of a smaller batch
DEAD_EVALUATIONS = 5  # in a row that look dead end a run before its time: features without a gradient stay at zero


class Member:
    """A run around the steps of an epoch, which its stack takes: `begin_epoch`, then `evaluate` and `conclude`."""

    def __init__(self, index: int, spec: RunSpec, data: Dataset, state: dict[str, Any] | None) -> None:
        self.index = index
        self.spec = spec
        self.measured = data.measured_part(spec)
        self.eval_batch = evaluation_batch(spec.network, data.device)
        self.live = True
        self.epoch = 0
        self.below = 0  # evaluations in a row below the stop rule's eps
        self.dying = 0  # evaluations in a row that look dead
        self.largest_norm = 0.0  # of the features, since before the first step
        self.seconds = 0.0  # spent on this run since its last record
        self.near_chance = _near_chance(data)
        self.network = fresh_network(spec, data)
        self.optimizer = fresh_optimizer(spec, self.network)
        if state is None:
            self.largest_norm = self._untrained_norm()
        else:
            self._restore(state)

    @property
    def coming_phase(self) -> tuple[int, int]:
        """The phase of the next epoch, and its place within that phase, both from 1."""
        return self.spec.phase_of(self.epoch + 1)

    def begin_epoch(self) -> Iterator[Event]:
        """Turn to the next epoch: what changes between two phases, or between two epochs, happens here."""
        started = time.perf_counter()
        self.phase_number, self.phase_epoch = self.coming_phase
        self.phase = self.spec.phases[self.phase_number - 1]
        self.lr = learning_rate(self.spec.optimizer, self.phase, self.phase_epoch)
        if self.phase_epoch == 1:
            self.optimizer = fresh_optimizer(self.spec, self.network)
        if self.spec.intervention and self.spec.intervention.epoch == self.epoch:
            yield self._intervene(self.spec.intervention)
        self.epoch += 1
        self._spend(time.perf_counter() - started)

    def evaluate(self, seconds: float) -> Stages[EpochDone | None]:
        """Measure the network, where the run is to be measured now; `seconds` is what the steps took."""
        self._spend(seconds)
        if not is_evaluated(self.spec, self.epoch):
            return None
        measured = yield from timed(self._measuring(self.phase.loss, tested=True), self._spend)
        record = EpochRecord(
            epoch=self.epoch,
            phase=self.phase_number,
            loss=self.phase.loss,
            lr=self.lr,
            train_loss=measured.train_loss,
            train_accuracy=measured.train_accuracy,
            seconds=self.seconds,
            **measured.metrics,
            **measured.test,
        )
        self.seconds = 0.0
        self._judge(record)
        return EpochDone(member=self.index, record=record)

    def conclude(self, total_loss: float) -> Iterator[Event]:
        """Say what state the epoch left and whether the run has come to its end.

        `total_loss` sums the batches' mean losses, and is not finite if one of them was not.
        """
        ended = self.ending(total_loss)
        if ended is None or ended.status is RunStatus.DONE:
            milestone = ended is not None or self.phase_epoch == self.phase.epochs
            yield Checkpoint(member=self.index, epoch=self.epoch, milestone=milestone, state=self._state())
        if ended:
            self.live = False
            yield ended

    def _measuring(self, loss: Loss, *, tested: bool) -> Stages[Measurement]:
        return measuring(
            self.network,
            lambda: self.measured.train_batches(self.eval_batch),
            num_samples=len(self.measured.train_labels),
            num_classes=self.measured.num_classes,
            loss_of=LOSSES[loss],
            test=(lambda: self.measured.test_batches(self.eval_batch)) if tested else None,
        )

    def _spend(self, seconds: float) -> None:
        self.seconds += seconds

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
        features = self.network.eval().features(self.measured.train_inputs(slice(0, self.eval_batch)))
        return float(features.norm(dim=1).mean())

    def _feature_norm(self) -> float:
        return finish(self._measuring("mse", tested=False)).metrics["feature_norm"]

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

    def ending(self, total_loss: float) -> Ended | None:
        """Tell how the run ends after the epoch it is at, if it does."""
        if not math.isfinite(total_loss) or not self._weights_finite():
            reason = f"the loss or the weights became non-finite in epoch {self.epoch}"
            return Ended(member=self.index, status=RunStatus.DIVERGED, reason=reason)
        at_end = self.epoch == self.spec.epochs
        if self.dying >= (1 if at_end else DEAD_EVALUATIONS):
            last = counted(self.dying, "evaluation")
            reason = f"the features died: {last} with a norm near 0 and accuracy near chance"
            return Ended(member=self.index, status=RunStatus.DEAD, reason=reason)
        if self.spec.stop and self.below >= self.spec.stop.patience:
            return Ended(member=self.index, status=RunStatus.DONE, reason="stopped at onset")
        if at_end:
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


def fresh_network(spec: RunSpec, data: Dataset) -> Network:
    """Give the network that a run begins with, on the device of its data and laid out as is fastest there."""
    network = build_network(
        spec.network,
        input_shape=data.input_shape,
        num_classes=data.num_classes,
        generator=generator(spec.seed, "weights"),
    ).to(data.device)
    # ResNet-20 runs 1.4 times as fast on a CPU (benchmarks/kernels.py); on an H200 in TF32 1.5 times, in bf16 1.9
    # times, but in float32 it takes a third longer (docs/performance.md).
    if data.device.type == "cpu" or spec.precision != "float32":
        network.to(memory_format=torch.channels_last)
    return network


def fresh_optimizer(spec: RunSpec, network: Network) -> Optimizer:
    """Give the optimiser of a phase that begins: it remembers nothing of the one before."""
    return make_optimizer(spec.optimizer, [as_it_lies(p.detach()) for p in network.parameters()])


def evaluation_batch(network: NetworkSpec, device: torch.device) -> int:
    """Give how many samples go through a network at a time while it is measured."""
    if device.type == "cuda":
        return EVAL_BATCH if network.convolves else EVAL_BATCH_ON_GPU
    return EVAL_BATCH_OF_CONVOLUTIONS if network.convolves else EVAL_BATCH


def _near_chance(data: Dataset) -> float:
    """Give the accuracy below which nothing was learned: a tenth of the way from the commonest class to perfect."""
    commonest = float(data.train_labels.bincount().max()) / len(data.train_labels)
    return commonest + 0.1 * (1 - commonest)
