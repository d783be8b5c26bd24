"""Short looks at runs, for a terminal that looks again and again: which are trained, and a few points of curves."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Integer, func, literal, select, union_all

from ncdiag.domain.records import Run, RunStatus
from ncdiag.store import schema
from ncdiag.store.handle import Store
from ncdiag.store.rows import chunked, select_runs


def list_running(store: Store) -> list[Run]:
    """Give the runs that are being trained now, in the order of their ids; none that is lost."""
    with store.read() as connection:
        found = select_runs(store, connection, schema.runs.c.status == RunStatus.RUNNING)
    return [run for run in found if run.status is RunStatus.RUNNING]


def sample_curves(
    store: Store, names: Sequence[str], columns: Sequence[str], *, points: int
) -> dict[str, list[tuple[float | None, ...]]]:
    """Give some columns of at most `points` epochs of each run, evenly spread over it, the newest among them.

    By the names of the runs, in the order of their epochs; a run without an epoch is missing. None is what was not
    measured, or not finite. Each point is found by the primary key, so the length of a run does not matter.
    """
    runs, epochs = schema.runs, schema.epochs
    steps = union_all(*(select(literal(step, Integer).label("step")) for step in range(1, points + 1))).subquery()
    first_after = (
        select(func.min(epochs.c.epoch))
        .where(epochs.c.run_id == runs.c.id, epochs.c.epoch >= runs.c.epochs_done * steps.c.step // points)
        .correlate(runs, steps)
        .scalar_subquery()
    )
    sampled = epochs.alias()
    query = (
        select(runs.c.name, sampled.c.epoch, *(sampled.c[column] for column in columns))
        .select_from(runs.join(steps, literal(True)))
        .join(sampled, (sampled.c.run_id == runs.c.id) & (sampled.c.epoch == first_after))
        .distinct()  # a run of few epochs meets the same one at several steps
        .order_by(runs.c.name, sampled.c.epoch)
    )
    found: dict[str, list[tuple[float | None, ...]]] = defaultdict(list)
    with store.read() as connection:
        for some in chunked(names):
            for name, _, *values in connection.execute(query.where(runs.c.name.in_(some))).all():
                found[name].append(tuple(values))
    return dict(found)
