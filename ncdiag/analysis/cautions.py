"""What a reader must know before believing a pair's fn*: each caution is a sentence with its numbers."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.analysis.conditions import CONDITION_COLUMNS, group_numbers, perhaps_alike, show
from ncdiag.analysis.copies import list_copies, say_copies
from ncdiag.analysis.onsets import ran_to_end
from ncdiag.analysis.rate_drops import WINDOW
from ncdiag.domain.onset import NEAR_EPS, OPEN, TERMINAL_ACCURACY
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.domain.records import UNFINISHED
from ncdiag.domain.shares import counted, out_of

_NOISY = 10.0  # epochs by which noise alone moves an onset: sd of ln metric over its slope


def list_cautions(pair: pd.DataFrame, rule: OnsetRule, *, late: tuple[int, float] = (0, math.inf)) -> tuple[str, ...]:
    """Give the cautions of one pair of an onset table, the gravest first.

    `late` counts the onsets that come after a common budget, and names that budget: they count as none there.
    """
    collapsed = pair[pair["state"] == "collapsed"]
    found = [
        *_mixed_onsets(collapsed),
        *not_terminal(collapsed),
        *_scheduled(collapsed),
        *_relapsed(collapsed),
        *_stopped_early(pair, rule),
        *_maybe_stopped(pair, rule),
        *_excluded(pair, rule, late),
        *_copied(pair),
        *_unsaid(collapsed),
        *_each_its_own(collapsed),
        *_mixed_runs(collapsed),
        *_noisy(collapsed, rule),
    ]
    return tuple(found)


def list_disqualifiers(runs: pd.DataFrame) -> list[str]:
    """Give what forbids a verdict on these rows of an onset table, whatever a test says; short clauses, if any.

    Onsets under several losses (or in several phases) are readings of several quantities; onsets that a drop of the
    learning rate may have timed say when the schedule dropped it; onsets before the terminal phase of training are of
    features that are alike for another reason, such as units that died; features that died, or an NC1 below eps while
    nothing was learned, are no collapse, though fn falls below any threshold there; and a run that was taken in twice,
    or a condition that is counted twice, since some of its runs do not say all of their settings, makes a sample larger
    than it is.
    """
    collapsed = runs[runs["state"] == "collapsed"]
    found = []
    for column, what in (("onset_loss", "different losses"), ("onset_phase", "different phases")):
        values = _counts(collapsed[column])
        if len(values) > 1:
            found.append(f"fn is read under {what} ({' and '.join(sorted(values))})")
            break
    early = int((collapsed["onset_accuracy"] < TERMINAL_ACCURACY).sum())
    if early and 2 * early >= len(collapsed):
        found.append(
            f"{out_of(early, len(collapsed), 'onset')} came with a train accuracy below {TERMINAL_ACCURACY:.0%}, "
            "before the terminal phase of training"
        )
    dropped = int((collapsed["after_drop"] == 1).sum())
    if dropped and 2 * dropped >= len(collapsed):
        found.append(f"{out_of(dropped, len(collapsed), 'onset', 'follows/follow')} a drop of the learning rate")
    elif _are_at_one_evaluation(collapsed):
        onsets = "both" if len(collapsed) == 2 else f"all {len(collapsed)}"
        found.append(f"{onsets} onsets are at one evaluation, as a drop of the learning rate would time them")
    hollow = int(((runs["state"] == "dead") | ((runs["degenerate"] > 0) & (runs["state"] != "collapsed"))).sum())
    if hollow:
        found.append(
            f"{counted(hollow, 'run')} fell below eps, or had features that died, without having learned: that is no "
            "collapse"
        )
    if copies := list_copies(runs):
        found.append(say_copies(copies))
    unclear, _ = perhaps_alike(collapsed)
    if unclear:
        found.append(f"{counted(unclear, 'condition')} may be the same as one whose runs say more of their settings")
    return found


def _mixed_onsets(collapsed: pd.DataFrame) -> list[str]:
    """Warn of onsets under two losses, or in two phases of one loss."""
    option = "--phase" if collapsed["onset_phase"].nunique() > 1 else "--where"
    for column, what in (("onset_loss", "under different losses"), ("onset_phase", "in different phases")):
        counts = _counts(collapsed[column])
        if len(counts) > 1:
            return [f"onsets {what} ({_listed(counts)}): not one threshold; choose with {option}"]
    return []


def not_terminal(collapsed: pd.DataFrame) -> list[str]:
    """Warn of onsets while samples of the training set were still misclassified."""
    early = collapsed.loc[collapsed["onset_accuracy"] < TERMINAL_ACCURACY, "onset_accuracy"]
    if early.empty:
        return []
    return [
        f"{out_of(len(early), len(collapsed), 'collapsed run')} had a train accuracy below {TERMINAL_ACCURACY:.0%} at "
        f"onset (the lowest {early.min():.1%}): neural collapse is defined for the terminal phase of training, with a "
        "train error of about zero"
    ]


def _scheduled(collapsed: pd.DataFrame) -> list[str]:
    """Warn of onsets that a drop of the learning rate may have set, seen in the rate or in their all being one."""
    dropped = int((collapsed["after_drop"] == 1).sum())
    if dropped:
        return [
            f"{out_of(dropped, len(collapsed), 'onset', 'comes/come')} at the first evaluation after a drop of the "
            f"learning rate (or within {WINDOW} epochs of one): the schedule may have set the epoch"
        ]
    if _are_at_one_evaluation(collapsed):
        return [
            f"all {len(collapsed)} onsets are at the same evaluation, epoch {collapsed['hi'].iloc[0]:g}, and the "
            "learning rate was not logged: a drop of it may have set their epoch"
        ]
    return []


def _are_at_one_evaluation(collapsed: pd.DataFrame) -> bool:
    """Tell whether several onsets are all at one evaluation, and nobody logged whether the learning rate dropped."""
    return len(collapsed) > 1 and bool(collapsed["after_drop"].isna().all()) and collapsed["hi"].nunique() == 1


def stopped_by_design(pair: pd.DataFrame, rule: OnsetRule) -> pd.Series:
    """Mark the runs without an onset that stopped at another eps, or may have: of ours they say nothing."""
    known = pair["stop_eps"].notna() & (pair["stop_eps"] != rule.eps) & ~ran_to_end(pair)
    return (known & pair["state"].isin(OPEN)) | pair["maybe_stopped"]


def list_shields(pair: pd.DataFrame, rule: OnsetRule) -> list[str]:
    """Give why the opposite of a claim cannot be shown: onsets that are missing by design leave a chosen sample."""
    stopped, evaluated = int(stopped_by_design(pair, rule).sum()), int((pair["state"] != "no_data").sum())
    if not stopped:
        return []
    verbs = "may have been" if pair["maybe_stopped"].any() else "was/were"
    return [f"{out_of(stopped, evaluated, 'run', verbs)} stopped by design before an onset at this eps"]


def say_relapsed(count: int, collapsed: int) -> list[str]:
    """Say how many of the runs that collapsed did not stay so; nothing where all did."""
    return [f"{out_of(count, collapsed, 'collapsed run', 'was/were')} no longer below eps at the end"] if count else []


def _relapsed(collapsed: pd.DataFrame) -> list[str]:
    return say_relapsed(int(collapsed["relapsed"].sum()), len(collapsed))


def _maybe_stopped(pair: pd.DataFrame, rule: OnsetRule) -> list[str]:
    count, evaluated = int(pair["maybe_stopped"].sum()), int((pair["state"] != "no_data").sum())
    if not count:
        return []
    return [
        f"the last {rule.metric} of {out_of(count, evaluated, 'run')} is the smallest, and less than {NEAR_EPS:g} eps: "
        "a run that was stopped there by design says nothing of a collapse at this eps"
    ]


def _stopped_early(pair: pd.DataFrame, rule: OnsetRule) -> list[str]:
    stops = pair.loc[stopped_by_design(pair, rule) & ~pair["maybe_stopped"], "stop_eps"]
    if stops.empty:
        return []
    counts = Counter(f"eps {value:g}" for value in stops)
    return [
        f"{counted(len(stops), 'run')} stopped by another rule ({_listed(counts)}) before an onset at this eps: "
        "of a collapse they say nothing"
    ]


def _excluded(pair: pd.DataFrame, rule: OnsetRule, late: tuple[int, float]) -> list[str]:
    """Name what is not in the estimate, and why."""
    n_late, budget = late
    states = Counter(pair["state"])
    evaluated = len(pair) - states["no_data"]
    found = []
    if states["unconfirmed"]:
        found.append(
            f"{out_of(states['unconfirmed'], evaluated, 'run', 'ends/end')} below eps before {rule.patience} "
            "evaluations confirm that; --patience 1 or --rule first counts such runs"
        )
    if states["censored"] and states["collapsed"]:
        within = f" within {budget:g} epochs ({n_late} of them did later)" if n_late else ""
        missing = states["censored"] + n_late
        found.append(f"{out_of(missing, evaluated, 'run')} did not collapse{within}: fn* is that of the others only")
    unfinished = (pair["status"].isin(UNFINISHED) & (pair["state"] != "no_data")).sum()
    if unfinished:
        found.append(f"{out_of(unfinished, evaluated, 'run', 'is/are')} not finished")
    for state, why in (
        ("left_censored", "had no onset that is known, being below eps when first evaluated"),
        ("diverged", "diverged"),
        ("dead", "ended with dead features (norm near 0, accuracy near chance), which is no collapse"),
    ):
        if states[state]:
            found.append(f"{out_of(states[state], evaluated, 'run')} {why}")
    degenerate = (pair["degenerate"] > 0).sum()
    if degenerate:
        were = "was" if degenerate == 1 else "were"
        found.append(
            f"{counted(degenerate, 'run')} {were} below eps while nothing was learned; those evaluations do not count"
        )
    return found


def _copied(runs: pd.DataFrame) -> list[str]:
    """Warn of runs that were taken in twice, under names, seeds or settings that hide it."""
    copies = list_copies(runs)
    if not copies:
        return []
    return [f"{say_copies(copies)}: copies of one run are not further runs; choose others with --where"]


def _unsaid(collapsed: pd.DataFrame) -> list[str]:
    """Warn of conditions that are told from others only by what their runs do not say."""
    unclear, names = perhaps_alike(collapsed)
    if not unclear:
        return []
    them = "is counted beside it" if unclear == 1 else "are counted beside it"
    return [
        f"{counted(unclear, 'condition')} may be the same as one whose runs say more, and {them}: not said is "
        f"{', '.join(names)}. Say it as runs are imported or tracked, or compare those alone that do (--where)"
    ]


def _each_its_own(collapsed: pd.DataFrame) -> list[str]:
    """Warn where words of the user's own tell every run from every other, as the id of a run in its logger does."""
    if len(collapsed) < 3 or collapsed["other"].nunique() < len(collapsed):
        return []
    without = [name for name in CONDITION_COLUMNS if name != "other"]
    fewer = len(np.unique(group_numbers(collapsed, without)))
    if fewer == len(collapsed):
        return []
    first = collapsed["other"].iloc[0]
    return [
        f"every run has other settings of its own (such as {first}), so there are {len(collapsed)} conditions and not "
        f"{fewer}; what is no setting is a note, a tag, or left out"
    ]


def _mixed_runs(collapsed: pd.DataFrame) -> list[str]:
    """Warn where the runs differ in what no hyperparameter shows, or were changed half-way."""
    found = []
    if collapsed["intervention"].notna().any():
        changed = int(collapsed["intervention"].notna().sum())
        found.append(f"the features of {out_of(changed, len(collapsed), 'collapsed run')} were rescaled")
    kinds = collapsed["device"].map(lambda device: device.partition(":")[0], na_action="ignore")  # cuda:1 is a cuda
    for values, what in ((collapsed["origin"], "origins"), (kinds, "kinds of device")):
        counts = _counts(values)
        if len(counts) > 1:
            found.append(f"runs of different {what} ({_listed(counts)})")
    parts = Counter(_config(config, "metric_samples") for config in collapsed["config"])
    if parts.keys() - {None}:
        counts = Counter({f"{size} samples" if size else "all samples": count for size, count in parts.items()})
        found.append(f"metrics of a part of the training set ({_listed(counts)})")
    precisions = Counter(str(_config(config, "precision") or "float32") for config in collapsed["config"])
    if precisions.keys() - {"float32"}:
        found.append(f"trained in lower precision ({_listed(precisions)})")
    contents = collapsed.groupby(["dataset", "train_size"], dropna=False)["data_sha256"].nunique()
    if (contents > 1).any():
        found.append("runs of one data set whose contents differ (SHA-256)")
    return found


def _counts(column: "pd.Series[Any]") -> Counter[str]:
    """Count the values of a column as people write them."""
    codes, values = pd.factorize(column, use_na_sentinel=False)
    counts: Counter[str] = Counter()
    for value, count in zip(values, np.bincount(codes).tolist(), strict=True):
        counts[show(value)] += count
    return counts


def _config(config: Any, name: str) -> Any:
    """Give what a run was told, None for what it was not, or is not known of an import."""
    return config.get(name) if isinstance(config, Mapping) else None


def _noisy(collapsed: pd.DataFrame, rule: OnsetRule) -> list[str]:
    if not rule.between or collapsed.empty:
        blurred = collapsed.iloc[:0]
    else:
        blurred = collapsed[collapsed["noise"] > _NOISY * collapsed["slope"].abs()]
    if blurred.empty:
        return []
    return [
        f"in {out_of(len(blurred), len(collapsed), 'run')} the noise of {rule.metric} moves the onset "
        f"by more than {_NOISY:.0f} epochs"
    ]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.most_common())
