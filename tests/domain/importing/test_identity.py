import json

import pytest
from small import small_spec

from ncdiag.domain.importing.identity import find_end, find_identity
from ncdiag.domain.records import EpochRecord
from ncdiag.domain.spec import PhaseSpec, RunSpec

SPEC = small_spec(phases=(PhaseSpec.parse("ce:3"), PhaseSpec.parse("mse:4")), eval_every=2)
WHOLE = (2, 3, 4, 6, 7)  # every second epoch, and the last of each phase


def row(spec: RunSpec = SPEC, **changes: str) -> dict[str, str | None]:
    said = {
        "run": "run-1",
        "key": spec.key,
        "origin": "trained",
        "config": json.dumps(spec.to_dict()),
        "status": "done",
    }
    return said | changes


def epochs(*numbers: int) -> list[EpochRecord]:
    return [EpochRecord(epoch=number) for number in numbers]


def test_a_whole_run_is_what_it_was_trained_as() -> None:
    assert find_identity(row(), epochs(*WHOLE)) == SPEC


@pytest.mark.parametrize("status", ["diverged", "dead"])
def test_a_run_may_have_come_to_another_end(status: str) -> None:
    assert find_identity(row(status=status), epochs(2, 3, 4)) == SPEC


def test_a_run_may_have_been_stopped_at_its_onset() -> None:
    stopped = small_spec(phases=SPEC.phases, eval_every=2, stop_at_onset=True)
    assert find_identity(row(stopped), epochs(2, 3, 4, 6)) == stopped


@pytest.mark.parametrize("numbers", [(2, 3, 4, 6), (2, 3, 6, 7), (1, *WHOLE), (*WHOLE, 8), (7,)])
def test_a_run_with_other_epochs_is_another(numbers: tuple[int, ...]) -> None:
    assert find_identity(row(), epochs(*numbers)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "0" * 64},
        {"status": "interrupted"},
        {"config": ""},
        {"config": "{}"},
        {"config": "[" * 100_000},
        {"config": json.dumps({**SPEC.to_dict(), "seed": 99})},
        {"config": json.dumps({**SPEC.to_dict(), "seed": -1})},
        {"config": json.dumps({**SPEC.to_dict(), "network": []})},
    ],
)
def test_a_row_that_does_not_hold_together_is_not_believed(changes: dict[str, str]) -> None:
    assert find_identity(row(**changes), epochs(*WHOLE)) is None


def test_a_row_of_another_making_has_no_identity_and_the_end_that_it_says() -> None:
    said = row(status="dead", reason="unknown")
    del said["origin"]
    assert find_identity(said, epochs(*WHOLE)) is None
    assert find_end(said) == ("dead", "unknown")
    assert find_end({}) == find_end({"status": None, "reason": ""}) == ("done", None)
    with pytest.raises(ValueError, match="'finished' is none of pending, running, interrupted, done,"):
        find_end({"status": "finished"})


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ({"status": "done"}, ("done", None)),
        ({"status": "failed", "reason": "out of memory"}, ("failed", "out of memory")),
        ({"status": "failed", "reason": "two\nlines\t\x1b[31m"}, ("failed", "two\nlines\\t\\x1b[31m")),
        ({"status": "interrupted", "reason": "stopped by a signal"}, ("interrupted", "stopped by a signal")),
        ({"status": "lost"}, ("interrupted", "lost when it was exported")),
        ({"status": "running"}, ("interrupted", "running when it was exported")),
    ],
)
def test_a_run_ends_as_it_did_where_it_was_exported(said: dict[str, str], end: tuple[str, str | None]) -> None:
    assert find_end(row(**said)) == end
