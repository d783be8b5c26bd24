import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional
from trained import make_spec, records, run, same

from ncdiag.domain.onset import DEAD_NORM
from ncdiag.domain.records import RunStatus
from ncdiag.domain.spec import Intervention, PhaseSpec
from ncdiag.errors import UnsafeError
from ncdiag.training.datasets import Dataset
from ncdiag.training.events import Checkpoint, Ended, EpochDone, Intervened
from ncdiag.training.measure import Measurement
from ncdiag.training.member import DEAD_EVALUATIONS, Member
from ncdiag.training.networks import build_network
from ncdiag.training.objectives import learning_rate
from ncdiag.training.optimizers import make_optimizer
from ncdiag.training.reproducibility import batch_order, generator
from ncdiag.training.stages import Stages


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


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("arch", ["mlp", "cnn", "resnet20"])
def test_a_plain_loop_with_the_same_update_gives_the_same_bits(digits: Dataset, arch: str, optimizer: str) -> None:
    shape, data = ({"depth": 8, "width": 0.25}, replace(digits, channels=3)) if arch == "resnet20" else ({}, digits)
    phases = (PhaseSpec.parse("ce:2"),)
    spec = make_spec(arch=arch, optimizer=optimizer, lr=1e-3, schedule="constant", phases=phases, **shape)
    _, states = run([spec], data)
    network = build_network(
        spec.network, input_shape=data.input_shape, num_classes=10, generator=generator(0, "weights")
    ).to(memory_format=torch.channels_last)
    network.train()
    parameters = [parameter.detach() for parameter in network.parameters()]
    update = make_optimizer(spec.optimizer, parameters)
    update.rate.fill_(1e-3)
    for epoch in (1, 2):
        for index in batch_order(0, epoch, 200).split(64):
            network.zero_grad()
            functional.cross_entropy(network(data.train_inputs(index)), data.train_labels[index]).backward()
            update.step(parameters, [p.grad for p in network.parameters() if p.grad is not None])
    assert same(states[0, 2]["weights"], network.state_dict())


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


def test_a_run_that_was_killed_between_its_last_checkpoint_and_its_end_ends(digits: Dataset) -> None:
    events, states = run([make_spec(seed=seed) for seed in range(2)], digits)
    again, _ = run([make_spec(seed=seed) for seed in range(2)], digits, states={0: states[0, 6], 1: states[1, 5]})
    assert again[0] == Ended(member=0, status=RunStatus.DONE)
    assert records(again) == []
    assert records(again, 1) == records(events, 1)[5:]


def test_divergence_keeps_its_epoch_and_says_when(digits: Dataset) -> None:
    events, states = run([make_spec(optimizer="sgd", lr=1e20)], digits)
    *_, last, end = events
    assert isinstance(last, EpochDone)
    assert isinstance(end, Ended)
    assert end.status is RunStatus.DIVERGED
    assert f"epoch {last.record.epoch}" in str(end.reason)
    assert not math.isfinite(last.record.train_loss or 0.0)
    assert (0, last.record.epoch) not in states


def test_a_loss_or_a_weight_that_is_not_finite_ends_a_run_each_by_itself(digits: Dataset) -> None:
    member = Member(0, make_spec(), digits, None)
    assert member.ending(1.0) is None
    for loss in (math.nan, math.inf):
        ended = member.ending(loss)
        assert ended is not None
        assert ended.status is RunStatus.DIVERGED
    member.network.head.weight.data[0, 0] = math.nan  # by the last step of an epoch, whose loss came before it
    ended = member.ending(1.0)
    assert ended is not None
    assert ended.status is RunStatus.DIVERGED


def test_dead_features_are_a_status_and_no_onset(digits: Dataset) -> None:
    # lr x decay = 0.5 halves every weight at each step: after the first epoch hardly anything is left of the features
    spec = make_spec(
        optimizer="sgd", lr=0.1, momentum=0.0, weight_decay=5.0, phases=(PhaseSpec.parse("mse:40"),), stop_at_onset=True
    )
    events, _ = run([spec], digits)
    end = events[-1]
    assert isinstance(end, Ended)
    assert (end.status, "died" in str(end.reason)) == (RunStatus.DEAD, True)
    assert len(records(events)) == DEAD_EVALUATIONS


def test_features_that_are_dead_at_the_end_are_a_status_however_late_they_died(digits: Dataset) -> None:
    """A tenth of every weight goes at each step; five evaluations are for those whose training would go on."""
    decaying = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 1.0, "schedule": "constant"}
    dying = make_spec(**decaying, phases=(PhaseSpec.parse("mse:40"),))
    events, states = run([dying], digits)
    first_dead = len(records(events)) - DEAD_EVALUATIONS + 1
    assert first_dead > 1
    again, _ = run([dying], digits, states={0: states[0, first_dead + 1]})
    assert records(again) == records(events)[first_dead + 1 :]  # continued, it knows how often they looked dead
    for epochs, status in ((first_dead - 1, RunStatus.DONE), (first_dead, RunStatus.DEAD)):
        events, _ = run([replace(dying, phases=(PhaseSpec.parse(f"mse:{epochs}"),))], digits)
        assert isinstance(events[-1], Ended)
        assert (len(records(events)), events[-1].status) == (epochs, status)


@pytest.mark.parametrize(
    ("norm", "accuracy", "status"),
    [
        (0.9 * DEAD_NORM, 0.18, RunStatus.DEAD),
        (0.0, 0.18, RunStatus.DEAD),
        (1.1 * DEAD_NORM, 0.18, RunStatus.DONE),
        (0.9 * DEAD_NORM, 0.20, RunStatus.DONE),  # ten equal classes: a tenth of the way from 0.1 to 1 is 0.19
    ],
)
def test_features_are_dead_where_their_norm_and_the_accuracy_say_so(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, norm: float, accuracy: float, status: RunStatus
) -> None:
    def told(member: Member, loss: str, *, tested: bool) -> Stages[Measurement]:
        values = {"nc1": 1.0, "feature_norm": 50.0 * (norm if member.epoch > 1 else 1.0)}
        return Measurement(train_loss=1.0, train_accuracy=accuracy, metrics=values, test={})
        yield

    monkeypatch.setattr(Member, "_measuring", told)
    events, _ = run([make_spec(phases=(PhaseSpec.parse("ce:3"),))], digits)
    assert isinstance(events[-1], Ended)
    assert events[-1].status is status


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


@pytest.mark.parametrize(
    ("nc1", "accuracy", "ends"),
    [
        ({}, {}, 6),  # three evaluations of the last phase, the first of which is epoch 4
        ({5: 0.5}, {}, 8),  # a streak begins anew
        ({}, {4: 0.4, 5: 0.4}, 8),  # where nothing is learned a small NC1 is no collapse
        ({6: math.nan}, {}, 9),
        (dict.fromkeys((4, 6, 8), 0.5), {}, 10),  # the budget is used up before the third in a row
    ],
)
def test_a_run_stops_after_as_many_evaluations_in_a_row_of_its_last_phase_as_are_a_collapse(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, nc1: dict[int, float], accuracy: dict[int, float], ends: int
) -> None:
    def told(member: Member, loss: str, *, tested: bool) -> Stages[Measurement]:
        values = {"nc1": nc1.get(member.epoch, 0.001), "feature_norm": 1.0}
        return Measurement(train_loss=0.1, train_accuracy=accuracy.get(member.epoch, 0.9), metrics=values, test={})
        yield

    monkeypatch.setattr(Member, "_measuring", told)
    phases = (PhaseSpec.parse("ce:3"), PhaseSpec.parse("mse:7"))
    events, states = run([make_spec(phases=phases, stop_at_onset=True, eps=0.01, patience=3)], digits)
    assert len(records(events)) == ends
    assert isinstance(events[-1], Ended)
    assert events[-1].reason == ("stopped at onset" if ends < 10 else None)
    for epoch in (4, 5):  # continued from a checkpoint, it knows how far the streak had come
        again, _ = run(
            [make_spec(phases=phases, stop_at_onset=True, eps=0.01, patience=3)], digits, states={0: states[0, epoch]}
        )
        assert [record.epoch for record in records(again)] == list(range(epoch + 1, ends + 1))


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
    assert [e.epoch for e in events if isinstance(e, Checkpoint) and e.milestone] == [3, 6]  # the ends of the phases
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


@pytest.mark.gpu
def test_groups_and_single_runs_on_a_gpu_have_one_distribution(digits: Dataset) -> None:
    data = digits.to("cuda")
    specs = [make_spec(seed=seed, phases=(PhaseSpec.parse("ce:5"), PhaseSpec.parse("mse:15"))) for seed in range(8)]
    together, _ = run(specs, data)
    alone = [run([spec], data)[0] for spec in specs]
    for name in ("feature_norm", "nc1"):
        grouped = torch.tensor([math.log(getattr(records(together, i)[-1], name)) for i in range(8)])
        single = torch.tensor([math.log(getattr(records(events)[-1], name)) for events in alone])
        # each pair shares its seed: what grouping changes must be small beside what seeds change
        assert (grouped - single).abs().mean() < single.std() / 2
