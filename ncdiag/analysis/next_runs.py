"""What to train next for a claim: a `sweep` of the runs that are missing, like those that are there.

A suggestion starts from the condition with the most runs among those that collapsed, asks for as many runs as give a
claim a good chance to be shown (or more, where there are that many), and repeats what is trained: `sweep` skips it.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.analysis.conditions import CONDITION_COLUMNS, condition_numbers, plain_value
from ncdiag.domain.defaults import complete_spec, find_default
from ncdiag.domain.naming import PAIR
from ncdiag.domain.result import Result
from ncdiag.domain.spec import Intervention, PhaseSpec, RunSpec, find_rescaling, is_canonical
from ncdiag.domain.spoken import spoken_options, sweep_command
from ncdiag.domain.statistics import BoolArray, IntArray
from ncdiag.errors import SpecError

_SEEDS, _MORE_SEEDS = 5, 10
_MOST_PAIRS = 20  # beyond this a wish for more seeds of an intervention is a wish for something else
_FACTORS = "{down:g}@{epoch},{up:g}@{epoch}"
_PUBLISHED = {"down": 0.3, "up": 3.0}
_DEPTHS = {"mlp": (2, 3, 5, 7), "cnn": (2, 3, 4, 5), "resnet20": (8, 14, 20, 26)}
_ACTIVATIONS = ("relu", "gelu", "tanh")
_DECAYS = (0.1, 0.5, 1.0, 5.0)  # the published ones, over the default of the MLP
_WIDTHS = (0.25, 0.5, 1.0, 2.0)
_COLUMNS = (
    *("arch", "depth", "width", "activation", "dataset", "train_size", "optimizer", "lr", "momentum"),
    *("weight_decay", "schedule", "batch_size"),
)

Axes = dict[str, str]


class NextRuns:
    """Suggests sweeps for the claims, from an onset table; `paths` says where the user's own data lies, by SHA-256."""

    def __init__(self, onsets: pd.DataFrame, paths: Mapping[str, str]) -> None:
        self._onsets = onsets
        self._paths = paths

    def conditions(self, group: Mapping[str, Any], wanted: int = 3) -> str:
        """Suggest more training conditions of a pair, and more seeds of each: `wanted` weight decays at least."""
        own = self._matching(group)
        base = _base(own)
        if base is None or _is_of_nothing(group):
            return ""
        have = len(np.unique(condition_numbers(own)))
        count = wanted if have < wanted else wanted + 2
        said = spoken_options(base)
        steps = 2.0 ** (np.arange(count) - count // 2)
        levels = (
            [base.optimizer.weight_decay * step for step in steps] if base.optimizer.weight_decay else _from_zero(count)
        )
        return self._sweep(base, said, {"weight_decay": _listed(levels), "seed": f"0:{_seeds(own)}"})

    def intervention(self, group: Mapping[str, Any], ratio: Result | None = None) -> str:
        """Suggest the rescaling of a pair's features; for a set of branches, as many seeds as its spread asks for."""
        own = self._matching(group)
        base = _base(own)
        if base is None or _is_of_nothing(group):
            return ""
        plan = {**_PUBLISHED, "epoch": _epoch_before_onset(base, own)}
        plan |= {key: group[key] for key in ("epoch", "up", "down") if group.get(key) is not None}
        axes = {"scale_features": "none," + _FACTORS.format(**plan)}
        compensated = group.get("head") == "compensated"
        needed = ratio.extra.get("pairs_needed") if ratio is not None else None
        up = Intervention(alpha=plan["up"], epoch=int(plan["epoch"]), compensate_head=compensated)
        axes["seed"] = f"0:{max(_more_seeds(self._rescaled_seeds(group, up)), min(needed or 0, _MOST_PAIRS))}"
        if not _can_rescale(base, plan, compensated):
            return ""
        words = self._sweep(base, spoken_options(base), axes)
        return f"{words} --compensate-head" if words and compensated else words

    def levels(self, factor: str, group: Mapping[str, Any]) -> str:
        """Suggest more values, and more seeds, of one hyperparameter; everything else as in the group.

        Where some widths never collapsed, more seeds would not either: all are trained for twice as long.
        """
        own = self._matching(group)
        base = _base(own)
        if base is None:
            return ""
        own = own[own["arch"].fillna(base.network.arch) == base.network.arch]  # 20 is no depth for an MLP
        present = [plain_value(value) for value in own[factor].dropna().unique()]
        usual = _usual(factor, base)
        enough = len(present) >= len(usual)
        levels = sorted(present if enough else {*present, *usual})
        said = spoken_options(base)
        onsets = own.groupby(factor)["onset"].count()
        if factor == "width" and onsets.min() == 0 < onsets.max():  # elsewhere that a value prevents says something
            said["phases"] = (*base.phases[:-1], replace(base.phases[-1], epochs=2 * base.phases[-1].epochs))
            enough = False  # no such run was trained yet
        seeds = _more_seeds(int(own.groupby(factor)["seed"].nunique().min()) if enough else 0)
        return self._sweep(base, said, {factor: _listed(levels), "seed": f"0:{seeds}"})

    @cached_property
    def none_of_ours(self) -> bool:
        """Whether ncdiag can train none of these runs itself: what it trained instead would say nothing of them."""
        kinds = self._onsets.assign(trained=[is_canonical(config) for config in self._onsets["config"]])
        kinds = kinds[[*PAIR, "other", "trained"]].drop_duplicates()
        return not kinds.empty and not any(map(_is_ours, kinds.to_dict("records")))

    def grid(self) -> str:
        """Suggest every architecture on every data set, three seeds each, in the phases of all runs or the usual ones.

        Cells that are read under different losses could not be compared.
        """
        if self.none_of_ours:
            return ""
        archs, datasets = (
            sorted(value for value in self._onsets[column].dropna().unique() if _is_possible(column, value))
            for column in ("arch", "dataset")
        )
        archs = [*archs, *(a for a in ("mlp", "resnet20") if a not in archs)] if len(archs) < 2 else archs
        datasets = (
            [*datasets, *(d for d in ("mnist", "cifar10") if d not in datasets)] if len(datasets) < 2 else datasets
        )
        said: dict[str, Any] = {}
        sizes = self._onsets["train_size"].dropna().unique()
        if len(sizes) == 1 and self._onsets["train_size"].notna().all():
            said["train_size"] = int(sizes[0])
        cell = self._onsets.groupby(["arch", "dataset"], dropna=False)["seed"].nunique()
        seeds = _SEEDS if len(cell) >= len(archs) * len(datasets) and cell.min() >= 3 else 3
        axes = {"arch": ",".join(archs), "dataset": ",".join(datasets), "seed": f"0:{seeds}"}
        alike = {**said, "phases": phases} if (phases := self._shared_phases(archs)) else said
        return _or_none(lambda: sweep_command(alike, axes)) or _or_none(lambda: sweep_command(said, axes))

    def _shared_phases(self, archs: Sequence[str]) -> tuple[PhaseSpec, ...] | None:
        """Give the phases of all runs; None where they differ, are not known, or need not be said."""
        texts = self._onsets["phases"].unique()
        try:
            shared = _phases(None, texts[0]) if len(texts) == 1 else None
        except SpecError:
            return None
        return None if shared in [find_default(arch, "phases") for arch in archs] else shared

    def _rescaled_seeds(self, group: Mapping[str, Any], scaling: Intervention) -> int:
        """Count the seeds of a pair that were rescaled in this way."""
        rescaled = self._matching(group, untouched=False)
        same = [find_rescaling(text) == scaling for text in rescaled["intervention"]]
        return int(rescaled.loc[same, "seed"].nunique())

    def _matching(self, group: Mapping[str, Any], *, untouched: bool = True) -> pd.DataFrame:
        """Give the runs of a group that were left as they are, or those that were rescaled."""
        kept = self._untouched.copy() if untouched else ~self._untouched
        for column, value in group.items():
            if column in self._onsets and column != "intervention":
                cells = self._onsets[column]
                same = cells.isna() if value is None else (cells == value).fillna(False)
                kept &= same.to_numpy(dtype=bool)
        return self._onsets[kept]

    @cached_property
    def _untouched(self) -> BoolArray:
        return np.array([find_rescaling(text) is None for text in self._onsets["intervention"]], dtype=bool)

    def _sweep(self, base: RunSpec, said: dict[str, Any], axes: Axes) -> str:
        sha256 = base.data.sha256
        if sha256 and sha256 not in self._paths:
            return ""
        return _or_none(lambda: sweep_command(said, axes, path=self._paths.get(sha256 or "")))


def _is_of_nothing(group: Mapping[str, Any]) -> bool:
    """Tell whether runs do not say their architecture or data set: what is trained here would be another pair."""
    return any(group.get(column, "") is None for column in PAIR)


def _is_ours(kind: Mapping[Hashable, Any]) -> bool:
    """Tell whether ncdiag trains runs of a pair; of settings that it does not have, it trains others."""
    said = [column for column in PAIR if plain_value(kind[column]) is not None]
    alike = plain_value(kind["other"]) is None and all(_is_possible(column, kind[column]) for column in said)
    return bool(kind["trained"]) or alike


def _base(runs: pd.DataFrame) -> RunSpec | None:
    """Give the configuration of the condition to go on from; None where no run tells enough of its own.

    Conditions with an onset come first, then those with more runs, then more onsets, then those most like the others,
    then by their values: more runs of a condition that never collapses say little, and the order in a store nothing.
    """
    if runs.empty:
        return None
    numbers = condition_numbers(runs)
    onsets = np.bincount(numbers, weights=runs["onset"].notna())
    seeds = runs["seed"].to_numpy(dtype=np.float64, na_value=np.inf)
    first = np.lexsort((seeds, numbers))[np.searchsorted(np.sort(numbers), np.arange(len(onsets)))]
    rows = [runs.iloc[place] for place in first.tolist()]
    order = sorted(
        zip(onsets, np.bincount(numbers), _alike(runs)[first], map(_values, rows), range(len(rows)), strict=True),
        key=lambda one: (one[0] == 0, -one[1], -one[0], -one[2], one[3]),
    )
    specs = (_spec_of(rows[number]) for *_, number in order)
    return next((spec for spec in specs if spec is not None), None)


def _alike(runs: pd.DataFrame) -> IntArray:
    """Count for each run the values that other runs have too, over all hyperparameters."""
    found = np.zeros(len(runs), dtype=np.int64)
    for column in CONDITION_COLUMNS:
        codes = pd.factorize(runs[column], use_na_sentinel=False)[0]
        found += np.bincount(codes)[codes]
    return found


def _values(row: pd.Series) -> tuple[tuple[bool, float, str], ...]:
    """Give the hyperparameters of a run for an order that does not depend on the store: numbers by size, then words."""
    values = (plain_value(row[column]) for column in CONDITION_COLUMNS)
    return tuple(
        (False, float(value), "") if isinstance(value, (int, float)) else (True, 0.0, str(value)) for value in values
    )


def _spec_of(row: pd.Series) -> RunSpec | None:
    config = row["config"]
    try:
        if is_canonical(config):
            return RunSpec.from_dict({**config, "intervention": None, "stop": None})
        if plain_value(row["other"]) is not None:  # what ncdiag trains would be another condition
            return None
        given = {column: plain_value(row[column]) for column in _COLUMNS}
        return complete_spec({**given, "phases": _phases(given["arch"], row["phases"])})
    except SpecError:
        return None


def _phases(arch: Any, text: Any) -> tuple[PhaseSpec, ...] | None:
    """Read phases such as `ce:200,mse`, whose last one may lack its epochs: then those of the defaults."""
    if not isinstance(text, str):
        return None
    usual = find_default(arch, "phases") or ()
    parts = text.split(",")
    if ":" not in parts[-1]:
        epochs = usual[len(parts) - 1].epochs if len(parts) <= len(usual) else 400
        parts[-1] += f":{epochs}"
    return tuple(PhaseSpec.parse(part) for part in parts)


def _seeds(runs: pd.DataFrame) -> int:
    return _more_seeds(int(np.bincount(condition_numbers(runs)).max()))


def _more_seeds(have: int) -> int:
    """Give how many seeds to ask for where there are some: what is recommended, then more, then twice as many."""
    return next((seeds for seeds in (_SEEDS, _MORE_SEEDS) if have < seeds), 2 * have)


def _epoch_before_onset(base: RunSpec, runs: pd.DataFrame) -> int:
    """Choose the end of the first phase, as published, or half the way to the onset where that comes earlier."""
    first = base.phases[0].epochs
    onset = float(runs["onset"].median()) if runs["onset"].notna().any() else float(base.epochs)
    return first if first < min(onset, base.epochs) else max(1, int(min(onset, base.epochs) // 2))


def _usual(factor: str, base: RunSpec) -> Sequence[Any]:
    if factor == "depth":
        return _DEPTHS.get(base.network.arch, ())
    if factor == "activation":
        return _ACTIVATIONS
    if factor == "width":
        return [plain_value(base.network.width * step) for step in _WIDTHS]
    decay = base.optimizer.weight_decay
    return [decay * step for step in _DECAYS] if decay else _from_zero(len(_DECAYS))


def _from_zero(count: int) -> list[float]:
    return [10.0 ** (place - count // 2 - 4) for place in range(count)]


def _listed(values: Sequence[Any]) -> str:
    texts = (f"{value:.6g}" if isinstance(value, float) else str(value) for value in values)
    return ",".join(dict.fromkeys(texts))


def _is_possible(column: str, value: Any) -> bool:
    given = {"arch": "mlp", "dataset": "digits", column: value}
    return _or_none(lambda: sweep_command(given, {})) != ""


def _can_rescale(base: RunSpec, plan: Mapping[str, Any], compensated: bool) -> bool:
    try:
        for alpha in (plan["down"], plan["up"]):
            scaling = Intervention(alpha=alpha, epoch=plan["epoch"], compensate_head=compensated)
            replace(base, intervention=scaling)
    except SpecError:
        return False
    return True


def _or_none(make: Callable[[], str]) -> str:
    """Give a line, or none where no run of this kind can be trained here."""
    try:
        return make()
    except SpecError:
        return ""
