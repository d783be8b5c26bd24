"""After which epochs a run is measured."""

from ncdiag.domain.spec import PhaseSpec, RunSpec, Schedule

GROWTH = 1.1  # of the distance from one evaluation to the next: 46 of the first 300 epochs


def rate_drops(schedule: Schedule, phase: PhaseSpec) -> tuple[int, ...]:
    """Give the epochs of a phase after which a multistep schedule divides the learning rate by ten; else none.

    Where none are said: after half and three quarters of the phase, which gives the published 100, 150 of 200 and 300,
    450 of 600. In a phase of two epochs both are the first, after which the rate drops once.
    """
    if schedule != "multistep":
        return ()
    drops = phase.milestones or (phase.epochs // 2, 3 * phase.epochs // 4)
    return tuple(dict.fromkeys(drop for drop in drops if drop > 0))


def is_evaluated(spec: RunSpec, epoch: int) -> bool:
    """Tell whether a run is measured after an epoch, counted from 1 over all phases.

    Every phase ends with an evaluation. With `eval_every` a number, that many epochs lie between two, whatever the
    phases. With `log`, each phase is measured after its epochs 1.1^k, rounded: every epoch at first, when most
    happens, and ever more seldom. To these come the last epoch before a drop of the learning rate and the two after it.
    """
    number, place = spec.phase_of(epoch)
    phase = spec.phases[number - 1]
    if place == phase.epochs:
        return True
    if spec.eval_every != "log":
        return epoch % spec.eval_every == 0
    near_drop = any(drop <= place <= drop + 2 for drop in rate_drops(spec.optimizer.schedule, phase))
    return near_drop or place in _spaced(phase.epochs)


def due_epochs(spec: RunSpec, last: int) -> list[int]:
    """Give the epochs up to `last` after which a run is evaluated; none is beyond its end."""
    return [epoch for epoch in range(1, min(last, spec.epochs) + 1) if is_evaluated(spec, epoch)]


def _spaced(epochs: int) -> set[int]:
    places, position = set(), 1.0
    while round(position) <= epochs:
        places.add(round(position))
        position *= GROWTH
    return places
