import pandas as pd

from ncdiag.plotting.events import PhaseSpan, PhaseSwitch, phase_spans, phase_switches


def rows(run: str, *phases: tuple[int | None, str | None], step: int = 10) -> pd.DataFrame:
    """Give an evaluation every `step` epochs, in these phases and losses."""
    return pd.DataFrame(
        {
            "run": run,
            "epoch": [step * place for place in range(1, len(phases) + 1)],
            "phase": pd.array([phase for phase, _ in phases], dtype="Int64"),
            "loss": [loss for _, loss in phases],
        }
    )


CE, MSE = (1, "ce"), (2, "mse")


def table(*runs: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(runs, ignore_index=True)


def test_phases_that_all_runs_share_are_spans():
    found = phase_spans(table(rows("a", CE, CE, MSE), rows("b", CE, CE, MSE, MSE)))
    assert found == [PhaseSpan(start=0, stop=20, label="CE"), PhaseSpan(start=20, stop=40, label="MSE")]


def test_a_run_that_ended_before_the_switch_does_not_contradict_it():
    assert len(phase_spans(table(rows("a", CE, CE, MSE), rows("b", CE)))) == 2


def test_a_phase_without_a_loss_has_its_number():
    assert [span.label for span in phase_spans(rows("a", (1, None), (2, None)))] == ["phase 1", "phase 2"]


def test_runs_that_switch_at_other_epochs_share_no_phases():
    both = table(rows("a", CE, CE, MSE), rows("b", CE, MSE, MSE))
    assert phase_spans(both) == []
    assert phase_switches(both) == [
        PhaseSwitch(epoch=10, label="CE to MSE", runs=1),
        PhaseSwitch(epoch=20, label="CE to MSE", runs=1),
    ]


def test_a_phase_that_is_not_known_or_has_two_losses_is_shared_by_nobody():
    assert phase_spans(table(rows("a", CE, MSE), rows("b", CE, (None, None)))) == []
    assert phase_spans(table(rows("a", CE), rows("b", (1, "mse")))) == []
    assert phase_spans(rows("a")) == []


def test_switches_of_runs_that_agree_are_counted_together():
    found = phase_switches(table(rows("a", CE, MSE), rows("b", CE, MSE), rows("c", CE, CE)))
    assert found == [PhaseSwitch(epoch=10, label="CE to MSE", runs=2)]
