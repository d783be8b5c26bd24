"""The points of a sweep beside other processes that train them too: what these have is left to them, or waited for.

Whoever waits takes over what another process gives up, by a signal or by dying, so a sweep that several machines train
comes to its end as long as one of them lives.
"""

import time
from collections.abc import Callable, Sequence

from ncdiag.domain.records import FINAL, Run, RunStatus
from ncdiag.domain.shares import counted
from ncdiag.domain.words import first_of
from ncdiag.execution.signals import raise_if_asked
from ncdiag.execution.worker import Outcome
from ncdiag.store.handle import Store
from ncdiag.store.runs import list_runs

SECONDS_BETWEEN_LOOKS = 3.0


def train_until_done(
    store: Store,
    todo: Sequence[Run],
    train: Callable[[Sequence[Run]], list[Outcome]],
    say: Callable[[str], None],
) -> list[Outcome]:
    """Train runs, and again those that another process had and gave up; returns when nobody trains any of them.

    Gives how each ended here; `running` are those that another process has brought to their end, or that were removed.
    """
    outcomes: dict[int, Outcome] = {}
    while todo:
        outcomes |= {outcome.run.id: outcome for outcome in train(todo)}
        taken = [number for number, outcome in outcomes.items() if outcome.status is RunStatus.RUNNING]
        todo = _wait(store, taken, say)
    return list(outcomes.values())


def _wait(store: Store, taken: Sequence[int], say: Callable[[str], None]) -> list[Run]:
    """Wait until another process has given up some of these runs, or has ended all, and give what it gave up."""
    left = _unfinished(store, taken)
    if left:
        names = first_of([run.name for run in left])
        say(f"waiting for {counted(len(left), 'point')} that another process has ({names})")
    while left:
        time.sleep(SECONDS_BETWEEN_LOOKS)  # also who has given up a run holds its lock until he has left
        raise_if_asked()
        left = _unfinished(store, taken)
        if free := [run for run in left if run.status is not RunStatus.RUNNING]:
            return free
    return []


def _unfinished(store: Store, run_ids: Sequence[int]) -> list[Run]:
    return [run for run in list_runs(store, run_ids) if run.status not in FINAL]
