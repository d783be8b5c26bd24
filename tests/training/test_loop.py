import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.records import RunStatus
from ncdiag.domain.spec import Intervention, PhaseSpec, RunSpec
from ncdiag.errors import UnsafeError
from ncdiag.training.datasets import Dataset
from ncdiag.training.loop import Checkpoint, Ended, EpochDone, Event, Intervened, train
from ncdiag.training.networks import build_network
from ncdiag.training.objectives import learning_rate
from ncdiag.training.reproducibility import batch_order, generator


def make_spec(**given: Any) -> RunSpec:
    phases = (PhaseSpec.parse("ce:3"), PhaseSpec.parse("mse:3"))
    small = {"depth": 2, "width": 16, "train_size": 200, "phases": phases, "batch_size": 64, "weight_decay": 1e-3}
    return complete_spec(small | given)


def copied(event: Checkpoint) -> dict[str, Any]:
    weights = {name: value.clone() for name, value in event.state["weights"].items()}
    optimizer = torch.load(_bytes(event.state["optimizer"]), weights_only=True)
    return {**event.state, "weights": weights, "optimizer": optimizer}


def _bytes(state: dict[str, Any]) -> Any:
    import io

    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


def run(
    specs: Sequence[RunSpec], data: Dataset, **options: Any
) -> tuple[list[Event], dict[tuple[int, int], dict[str, Any]]]:
    """Train to the end; give the events, and a copy of every checkpoint by member and epoch."""
    events, states = [], {}
    for event in train(specs, data, **options):
        events.append(event)
        if isinstance(event, Checkpoint):
            states[event.member, event.epoch] = copied(event)
    return events, states


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def records(events: list[Event], member: int = 0) -> list[Any]:
    return [
        replace(event.record, seconds=None)
        for event in events
        if isinstance(event, EpochDone) and event.member == member
    ]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_weights_equal_those_of_a_plain_loop(digits: Dataset, optimizer: str) -> None:
    spec = make_spec(optimizer=optimizer, seed=3, **({"lr": 0.01} if optimizer == "sgd" else {}))
    _, states = run([spec], digits)

    network = build_network(
        spec.network, input_shape=digits.input_shape, num_classes=10, generator=generator(3, "weights")
    )
    makers: dict[str, Any] = {
        "adam": lambda p: torch.optim.Adam(p, weight_decay=1e-3, fused=True),
        "adamw": lambda p: torch.optim.AdamW(p, weight_decay=1e-3, fused=True),
        "sgd": lambda p: torch.optim.SGD(p, momentum=0.9, nesterov=True, weight_decay=1e-3, fused=True),
    }
    epoch = 0
    for phase in spec.phases:
        step = makers[optimizer](network.parameters())
        for within in range(1, phase.epochs + 1):
            epoch += 1
            for group in step.param_groups:
                group["lr"] = learning_rate(spec.optimizer, phase, within)
            for index in batch_order(3, epoch, 200).split(64):
                logits, labels = network(digits.train_inputs(index)), digits.train_labels[index]
                if phase.loss == "ce":
                    loss = functional.cross_entropy(logits, labels)
                else:
                    loss = functional.mse_loss(logits, functional.one_hot(labels, 10).float())
                step.zero_grad()
                loss.backward()
                step.step()
    trained = states[0, 6]["weights"]
    for name, value in network.state_dict().items():
        torch.testing.assert_close(trained[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arch", ["mlp", "resnet20"])
def test_measuring_does_not_change_training(digits: Dataset, arch: str) -> None:
    shape = {"arch": arch, "depth": 8, "width": 0.25} if arch == "resnet20" else {}
    data = replace(digits, channels=3) if arch == "resnet20" else digits
    torch.manual_seed(0)
    before = torch.get_rng_state()
    _, often = run([make_spec(eval_every=1, **shape)], data)
    _, seldom = run([make_spec(eval_every=100, **shape)], data)
    assert same(often[0, 6]["weights"], seldom[0, 6]["weights"])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "multistep", "constant"])
def test_continued_run_has_the_same_weights_and_records(digits: Dataset, optimizer: str, schedule: str) -> None:
    spec = make_spec(
        optimizer=optimizer, schedule=schedule, lr=0.01, scale_features=Intervention.parse("3@3"), stop_at_onset=True
    )
    events, states = run([spec], digits)
    for epoch in (1, 3, 4):  # in either phase, and at the switch where the intervention comes
        continued, again = run([spec], digits, states={0: states[0, epoch]})
        assert same(again[0, 6]["weights"], states[0, 6]["weights"])
        assert records(continued) == records(events)[epoch:]


def test_continuing_from_a_foreign_checkpoint_is_refused(digits: Dataset) -> None:
    _, states = run([make_spec()], digits)
    with pytest.raises(UnsafeError, match="another configuration"):
        run([make_spec(seed=1)], digits, states={0: states[0, 3]})


def test_members_of_a_group_do_not_touch_each_other(digits: Dataset) -> None:
    calm, wild, short = (
        make_spec(seed=1),
        make_spec(optimizer="sgd", lr=1e20),
        make_spec(phases=(PhaseSpec.parse("ce:2"),)),
    )
    events, states = run([calm, wild, short], digits)
    alone, alone_states = run([calm], digits)
    assert records(events) == records(alone)
    assert same(states[0, 6]["weights"], alone_states[0, 6]["weights"])
    ends = {event.member: event.status for event in events if isinstance(event, Ended)}
    assert ends == {0: RunStatus.DONE, 1: RunStatus.DIVERGED, 2: RunStatus.DONE}


def test_divergence_keeps_its_epoch_and_says_when(digits: Dataset) -> None:
    events, states = run([make_spec(optimizer="sgd", lr=1e20)], digits)
    *_, last, end = events
    assert isinstance(last, EpochDone)
    assert isinstance(end, Ended)
    assert end.status is RunStatus.DIVERGED
    assert f"epoch {last.record.epoch}" in str(end.reason)
    assert not math.isfinite(last.record.train_loss or 0.0)
    assert (0, last.record.epoch) not in states


def test_dead_features_are_a_status_and_no_onset(digits: Dataset) -> None:
    # lr x decay = 0.5 halves every weight at each step, until nothing is left of the features
    spec = make_spec(
        optimizer="sgd", lr=0.1, momentum=0.0, weight_decay=5.0, phases=(PhaseSpec.parse("mse:40"),), stop_at_onset=True
    )
    events, _ = run([spec], digits)
    end = events[-1]
    assert isinstance(end, Ended)
    assert (end.status, "died" in str(end.reason)) == (RunStatus.DEAD, True)
    assert len(records(events)) < 40


def test_stop_at_onset_ends_after_patience_evaluations(digits: Dataset) -> None:
    spec = make_spec(
        lr=3e-3,
        phases=(PhaseSpec.parse("mse:200"),),
        stop_at_onset=True,
        eps=0.2,
        patience=4,
        batch_size=16,
        depth=3,
        width=32,
    )
    events, states = run([spec], digits)
    below = [record.nc1 < 0.2 for record in records(events)]
    end = events[-1]
    assert isinstance(end, Ended)
    assert (end.status, end.reason) == (RunStatus.DONE, "stopped at onset")
    assert below[-4:] == [True] * 4
    assert all(not all(below[i : i + 4]) for i in range(len(below) - 4))
    assert (0, len(below)) in states  # the final state is offered


def test_intervention_scales_relu_features_exactly(digits: Dataset) -> None:
    spec = make_spec(scale_features=Intervention.parse("0.25@3"), compensate_head=True)
    events, _ = run([spec], digits)
    (change,) = [event for event in events if isinstance(event, Intervened)]
    assert change.record.epoch == 3
    before = change.record.feature_norm_before
    assert before is not None
    assert change.record.feature_norm_after == pytest.approx(0.25 * before, rel=1e-6)
    assert before == pytest.approx(records(events)[2].feature_norm, rel=1e-9)


def test_compensated_head_keeps_the_logits(digits: Dataset) -> None:
    from ncdiag.training.interventions import scale_features

    network = build_network(
        make_spec().network, input_shape=digits.input_shape, num_classes=10, generator=generator(0, "weights")
    )
    x = digits.train_inputs(slice(0, 50))
    before = network(x)
    scale_features(network, Intervention(alpha=4.0, epoch=1, compensate_head=True))  # a power of two: no rounding
    torch.testing.assert_close(network(x), before, rtol=1e-6, atol=1e-6)
    scale_features(network, Intervention(alpha=4.0, epoch=1))
    assert not torch.allclose(network(x), before)


def test_evaluations_come_every_n_epochs_and_at_the_end_of_a_phase(digits: Dataset) -> None:
    events, _ = run([make_spec(eval_every=2)], digits)
    assert [(r.epoch, r.phase, r.loss) for r in records(events)] == [
        (2, 1, "ce"),
        (3, 1, "ce"),
        (4, 2, "mse"),
        (6, 2, "mse"),
    ]


def test_checkpoint_comes_after_the_record_of_its_epoch(digits: Dataset) -> None:
    events, _ = run([make_spec(eval_every=2)], digits)
    order = [(type(e).__name__, e.record.epoch if isinstance(e, EpochDone) else e.epoch) for e in events[:-1]]  # type: ignore[union-attr]
    assert order == [
        ("Checkpoint", 1),
        ("EpochDone", 2),
        ("Checkpoint", 2),
        ("EpochDone", 3),
        ("Checkpoint", 3),
        ("EpochDone", 4),
        ("Checkpoint", 4),
        ("Checkpoint", 5),
        ("EpochDone", 6),
        ("Checkpoint", 6),
    ]
