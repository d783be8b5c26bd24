import itertools

import pytest

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.evaluations import is_evaluated, rate_drops
from ncdiag.domain.spec import PhaseSpec, RunSpec


def evaluated(spec: RunSpec) -> list[int]:
    return [epoch for epoch in range(1, spec.epochs + 1) if is_evaluated(spec, epoch)]


def spec(*phases: str, **given: object) -> RunSpec:
    return complete_spec({"phases": tuple(PhaseSpec.parse(p) for p in phases), "schedule": "constant"} | given)


def test_every_n_epochs_and_the_end_of_each_phase() -> None:
    assert evaluated(spec("ce:5", "mse:6", eval_every=3)) == [3, 5, 6, 9, 11]
    assert evaluated(spec("ce:4")) == [1, 2, 3, 4]


def test_log_is_every_epoch_at_first_and_46_of_300() -> None:
    found = evaluated(spec("ce:300", eval_every="log"))
    assert found[:14] == list(range(1, 15))
    assert (len(found), found[-1]) == (46, 300)
    assert all(b <= 1.1 * a + 1 for a, b in itertools.pairwise(found))


def test_log_begins_anew_in_each_phase() -> None:
    one = evaluated(spec("ce:30", eval_every="log"))
    assert evaluated(spec("ce:30", "mse:30", eval_every="log")) == one + [30 + epoch for epoch in one]


def test_log_brackets_each_drop_of_the_learning_rate() -> None:
    found = evaluated(spec("ce:200@91@120", eval_every="log", schedule="multistep"))
    assert {91, 92, 93, 120, 121, 122} <= set(found)
    assert {91, 92, 93}.isdisjoint(evaluated(spec("ce:200", eval_every="log")))


@pytest.mark.parametrize(
    ("schedule", "phase", "expected"),
    [
        ("multistep", "ce:200", (100, 150)),  # published
        ("multistep", "mse:600", (300, 450)),
        ("multistep", "ce:9@2@5", (2, 5)),
        ("multistep", "ce:3", (1, 2)),
        ("multistep", "ce:2", (1,)),  # by ten, not twice by ten
        ("multistep", "ce:1", ()),
        ("cosine", "ce:200", ()),
    ],
)
def test_rate_drops(schedule: str, phase: str, expected: tuple[int, ...]) -> None:
    assert rate_drops(schedule, PhaseSpec.parse(phase)) == expected  # type: ignore[arg-type]
