"""Roughly how long runs will take on this machine, from a few steps of each shape of network."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ncdiag.domain.evaluations import due_epochs
from ncdiag.domain.kinds import run_kind
from ncdiag.domain.spec import RunSpec
from ncdiag.training.builtin_sets import BUILTINS
from ncdiag.training.calibration import in_real_batches, speedup, step_seconds
from ncdiag.training.datasets import shape_seen_by
from ncdiag.training.out_of_memory import is_out_of_memory
from ncdiag.training.products import pick_products, using_products
from ncdiag.training.threads import computing_threads

# What measuring an image costs, as a share of training on it: its way forward without its way back, and the metrics.
MEASURING = 1 / 3


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Seconds that `jobs` processes will take for the runs, at most: a run may stop at onset.

    `unknown` runs are not counted: nothing is known of their data before it is read, or a trial needs more memory
    than there is.
    """

    seconds: float
    jobs: int
    unknown: int


def estimate(specs: Sequence[RunSpec], jobs: int) -> Estimate:
    """Estimate the training of runs on this machine's processor, a thread a process; takes a few seconds at most."""
    shapes: dict[tuple[object, ...], list[RunSpec]] = {}
    for spec in specs:
        key = *run_kind(spec), spec.data, spec.optimizer.name  # a step's time is that of its optimiser too
        shapes.setdefault(key, []).append(spec)
    total, counted = 0.0, Counter[bool]()
    for alike in shapes.values():
        seconds = _seconds(alike) if alike[0].data.dataset in BUILTINS else None
        counted[seconds is not None] += len(alike)
        total += seconds or 0.0
    jobs = min(jobs, len(specs))
    return Estimate(seconds=total / max(1, min(jobs, counted[True])), jobs=jobs, unknown=counted[False])


def _seconds(alike: Sequence[RunSpec]) -> float | None:
    """Give the seconds of one thread for runs of one shape on data known by name; None if memory is short even now."""
    try:
        # picked before memory may run out: oneDNN asks the system for more, whatever this process has freed
        with computing_threads(1), using_products(pick_products()):
            return _tried_seconds(alike)
    except Exception as error:
        if is_out_of_memory(error):
            return None
        raise


def _tried_seconds(alike: Sequence[RunSpec]) -> float:
    data = BUILTINS[alike[0].data.dataset]
    images = alike[0].data.train_size or data.train_size
    first = in_real_batches(alike[0], images)
    image = shape_seen_by(first.network.arch, data.image)
    an_image = step_seconds(first, image, data.num_classes) / first.batch_size
    gain = max(1.0, speedup(first, image, data.num_classes)) if len(alike) > 1 else 1.0
    trained = images * sum(spec.epochs for spec in alike)
    measured = sum(
        ((spec.metric_samples or images) + (spec.test_samples or data.test_size)) * len(due_epochs(spec, spec.epochs))
        for spec in alike
    )
    return an_image * (trained / gain + MEASURING * measured)
