"""Steps that are recorded once and replayed, by the rules of a CUDA graph: to the bit what is computed step by step."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from replayed import Recording, record, replay_steps, tensors
from trained import make_spec

from ncdiag.domain.spec import Intervention, PhaseSpec, Precision, RunSpec, StopRule
from ncdiag.training.datasets import Dataset
from ncdiag.training.events import Checkpoint, Ended, EpochDone, Event, Intervened
from ncdiag.training.lane import Lane
from ncdiag.training.loop import train
from ncdiag.training.member import Member
from ncdiag.training.reproducibility import batch_order
from ncdiag.training.steps import Steps


def seven_epochs(**given: Any) -> RunSpec:
    return make_spec(**{"phases": (PhaseSpec.parse("ce:3"), PhaseSpec.parse("mse:4"))} | given)


def told(event: Event) -> str:
    """Give all that an event says, to the last digit, but for the time that it took."""
    match event:
        case EpochDone():
            return repr((event.member, replace(event.record, seconds=None)))
        case Checkpoint():
            return repr((event.member, event.epoch, [leaf.tolist() for leaf in tensors(event.state)]))
        case Intervened() | Ended():
            return repr(event)


def trained(specs: list[RunSpec], data: Dataset, **options: Any) -> list[str]:
    return [told(event) for event in train(specs, data, **options)]


CASES: dict[str, list[dict[str, Any]]] = {
    "one": [{}],
    "a schedule": [{"seed": seed, "schedule": "cosine"} for seed in range(2)],
    "momentum": [{"optimizer": "sgd", "lr": 0.02, "seed": seed} for seed in range(3)],
    "no momentum": [{"optimizer": "sgd", "lr": 0.02, "momentum": 0.0, "seed": seed} for seed in range(2)],
    "decays apart": [{"optimizer": "adamw", "weight_decay": decay} for decay in (1e-3, 1e-2)],
    "rates apart": [{"lr": rate, "seed": 5} for rate in (1e-3, 3e-3)],
    "rates that part": [{"schedule": schedule} for schedule in ("constant", "cosine")],
    "phases that part": [
        {"phases": (PhaseSpec.parse("ce:2"), PhaseSpec.parse("mse:5"))},
        {"phases": (PhaseSpec.parse("ce:4"), PhaseSpec.parse("mse:3"))},
        {"phases": (PhaseSpec.parse("ce:7"),)},
    ],
    "intervention": [
        {"intervention": Intervention(alpha=alpha, epoch=epoch)} for alpha, epoch in ((0.5, 2), (2.0, 4), (3.0, 3))
    ],
    "one that diverges": [{"optimizer": "sgd", "lr": rate} for rate in (0.02, 1e30)],
    "one that stops": [{"stop": stop, "seed": 2} for stop in (StopRule(eps=1e6, patience=2), None)],
    "batches that fit": [{"batch_size": 50, "seed": seed} for seed in range(2)],
    "one batch": [{"batch_size": 200}],
    "less than a batch": [{"batch_size": 256}],
}


@pytest.mark.parametrize("case", CASES)
def test_a_group_that_replays_its_steps_comes_out_as_the_one_that_takes_them(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    specs = [seven_epochs(**given) for given in CASES[case]]
    expected = trained(specs, digits)
    recordings = replay_steps(monkeypatch)
    assert trained(specs, digits) == expected
    assert sum(recording.replays for recording in recordings) >= (0 if case == "less than a batch" else 7)


def test_a_group_that_replays_goes_on_from_checkpoints(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [seven_epochs(seed=seed, schedule="cosine") for seed in range(3)]
    expected = trained(specs, digits)
    replay_steps(monkeypatch)
    monkeypatch.setattr("ncdiag.training.loop._is_gpu", lambda device: True)  # no run goes on in the first epochs
    states = {}
    for event in train(specs, digits):
        if isinstance(event, Checkpoint) and event.epoch == 2 + event.member:
            states[event.member] = copy.deepcopy(event.state)
    again = trained(specs, digits, states=states)
    assert again == [told for told in expected if told in set(again)]
    assert sum(told.startswith("Ended") for told in again) == 3


def test_shapes_that_replay_side_by_side_come_out_as_each_alone(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[dict[str, Any]] = [{}, {"width": 12, "batch_size": 50}, {"depth": 3}, {"arch": "cnn", "width": 8}]
    specs = [seven_epochs(**shape, seed=seed, eval_every=1 + seed) for seed in range(3) for shape in shapes]
    specs += [seven_epochs(depth=3, stop=StopRule(eps=1e6, patience=2)), seven_epochs(optimizer="sgd", lr=1e30)]
    expected = [trained([spec], digits) for spec in specs]
    replay_steps(monkeypatch)
    monkeypatch.setattr("ncdiag.training.loop._is_gpu", lambda device: True)
    numbers: list[int] = []
    make = Lane.__init__

    def make_lane(lane: Lane, *args: Any, number: int, **options: Any) -> None:
        make(lane, *args, number=number, **options)
        numbers.append(number)

    monkeypatch.setattr(Lane, "__init__", make_lane)
    found: list[list[str]] = [[] for _ in specs]
    for event in train(specs, digits):
        found[event.member].append(told(replace(event, member=0)))
    assert found == expected
    assert max(numbers) == 5  # three stacks and three convolutional networks; those of streams that are free come again


@pytest.mark.parametrize("arch", ["mlp", "resnet20"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_networks_with_buffers_and_lower_precision_replay_too(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, arch: str, precision: Precision
) -> None:
    data = digits if arch == "mlp" else replace(digits, channels=3)
    shape = {"arch": arch, "depth": 8, "width": 0.25} if arch != "mlp" else {}
    specs = [
        seven_epochs(**shape, seed=seed, precision=precision, phases=(PhaseSpec.parse("ce:2"),)) for seed in range(2)
    ]

    def go_through() -> list[list[float]]:
        members = [Member(seed, spec, data, None) for seed, spec in enumerate(specs)]
        networks, optimizers = [member.network for member in members], [member.optimizer for member in members]
        steps = Steps(networks, optimizers, data, batch_size=64, loss="ce", precision=precision)
        for epoch, rates in ((1, [1e-3, 1e-3]), (2, [2e-3, 2e-3]), (3, [1e-3, 2e-3])):
            losses = steps.take([batch_order(seed, epoch, 200) for seed in range(2)], rates)
        return [tensor.tolist() for tensor in [losses, *tensors([network.state_dict() for network in networks])]]

    expected = go_through()
    recordings = replay_steps(monkeypatch)
    assert go_through() == expected
    assert [recording.replays for recording in recordings] == ([6, 3] if arch == "mlp" else [9, 9])


def test_a_recording_knows_no_more_than_a_graph_does() -> None:
    number, tensor, found = 1.0, torch.ones(3), torch.zeros(3)
    recording = Recording()
    with record(recording):
        found += tensor * number
    assert found.tolist() == [0.0] * 3  # nothing was computed that lasts
    number = 2.0
    tensor.fill_(5.0)
    recording.replay()
    assert found.tolist() == [5.0] * 3
    tensor = torch.zeros(3)
    recording.replay()
    assert found.tolist() == [10.0] * 3
    with pytest.raises(RuntimeError, match="cannot be captured"), record(Recording()):
        tensor.sum().item()
    with pytest.raises(RuntimeError, match="cannot be captured"), record(Recording()):
        torch.rand(3)


def test_a_step_that_forgets_where_it_is_would_be_found(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = seven_epochs(phases=(PhaseSpec.parse("ce:1"),))
    expected = trained([spec], digits)
    replay_steps(monkeypatch)
    monkeypatch.setattr(Lane, "_step_and_advance", lambda lane: lane.step_on(lane.batches[0]))
    assert trained([spec], digits) != expected
