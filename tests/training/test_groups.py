"""Runs that train together: each comes out as if it had been alone."""

import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from trained import make_spec, records, run, same

from ncdiag.domain.records import RunStatus
from ncdiag.domain.spec import Intervention, PhaseSpec, RunSpec
from ncdiag.training import loop, member, stack, stages, steps
from ncdiag.training.datasets import Dataset
from ncdiag.training.events import Ended, EpochDone, Intervened
from ncdiag.training.loop import train


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


def _batch_of_runs() -> list[RunSpec]:
    """Give runs that differ in all that members may, one of which diverges, one stops early, and two are changed.

    The last two take steps of another kind, and so cannot take them together with the others.
    """
    change = Intervention.parse("0.5@2")
    return [
        make_spec(seed=1),
        make_spec(seed=2, weight_decay=0.05, lr=3e-3),
        make_spec(seed=3, optimizer="sgd", lr=1e20),
        make_spec(seed=1, scale_features=change, compensate_head=True),
        make_spec(seed=4, optimizer="sgd", lr=0.02, schedule="constant", eval_every=2),
        make_spec(seed=5, stop_at_onset=True, eps=10.0, patience=1),
        make_spec(seed=6, phases=(PhaseSpec.parse("ce:2"), PhaseSpec.parse("mse:3"))),
        make_spec(seed=7, metric_samples=50, scale_features=change),
        make_spec(seed=8, batch_size=50),
        make_spec(seed=9, precision="bf16"),
    ]


def test_a_run_is_the_same_in_every_group_bit_for_bit(digits: Dataset) -> None:
    specs = _batch_of_runs()
    events, states = run(specs, digits)
    for i, spec in enumerate(specs):
        alone, alone_states = run([spec], digits)
        assert repr(records(events, i)) == repr(records(alone))  # NaN equals nothing
        mine = [replace(event, member=0) for event in events if event.member == i and not hasattr(event, "record")]
        assert [e for e in mine if isinstance(e, Ended)] == [e for e in alone if isinstance(e, Ended)]
        changes = [e.record for e in events if isinstance(e, Intervened) and e.member == i]
        assert changes == [e.record for e in alone if isinstance(e, Intervened)]
        ours = {epoch: state for (member, epoch), state in states.items() if member == i}
        assert ours.keys() == {epoch for _, epoch in alone_states}
        for epoch, state in ours.items():
            assert same(state["weights"], alone_states[0, epoch]["weights"])
    ends = [event.status for event in events if isinstance(event, Ended)]
    assert sorted(ends) == ["diverged"] + ["done"] * 9


def test_the_seconds_of_a_record_are_those_since_the_last_one_with_a_share_of_the_steps(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that goes on by one whenever it is looked at: the steps of all take a second, and each other part.

    Measuring has three of these.
    """
    ticks = itertools.count()
    for module in (loop, member, stages):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    events, _ = run([make_spec(seed=seed, eval_every=1 + 2 * (seed == 3)) for seed in range(4)], digits)
    told = [
        [event.record.seconds for event in events if isinstance(event, EpochDone) and event.member == i]
        for i in range(4)
    ]
    assert told == [[1 + 1 / 4 + 3] * 6] * 3 + [[3 * (1 + 1 / 4) + 3] * 2]


def test_runs_continue_in_another_group_than_they_began(digits: Dataset) -> None:
    specs = [make_spec(seed=seed, optimizer=name) for seed, name in enumerate(["adam", "adamw", "sgd"])]
    events, states = run(specs, digits)
    # from different epochs: the one that is ahead waits for the others
    continued, again = run(specs[::-1], digits, states={0: states[2, 1], 1: states[1, 4]})
    for i in range(3):
        assert same(again[2 - i, 6]["weights"], states[i, 6]["weights"])
    assert records(continued, 0) == records(events, 2)[1:]
    assert records(continued, 1) == records(events, 1)[4:]


def test_steps_of_a_group_are_taken_as_one(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def make_stacks(networks: Any) -> Any:
        sizes.append(len(networks))
        return stack.make_stacks(networks)

    monkeypatch.setattr(steps, "make_stacks", make_stacks)
    specs = [make_spec(seed=seed, phases=(PhaseSpec.parse(f"ce:{2 + seed // 2}"),)) for seed in range(5)]
    run(specs, digits)
    assert sizes == [5, 3, 1]  # for two epochs, for the third, and for the fourth


def test_a_member_that_is_given_up_is_not_trained_on(digits: Dataset) -> None:
    gone: set[int] = set()
    seen = []
    for event in train([make_spec(seed=0), make_spec(seed=1)], digits, given_up=gone):
        seen.append(event)
        if isinstance(event, EpochDone) and event.member == 1 and event.record.epoch == 2:
            gone.add(1)
    assert [r.epoch for r in records(seen, 1)] == [1, 2]
    assert records(seen, 0) == records(run([make_spec(seed=0)], digits)[0])
