"""Whether fn* of a grid, such as architectures by data sets, is made of one factor per row and one per column."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.analysis.cautions import list_disqualifiers
from ncdiag.analysis.conditions import condition_labels, condition_numbers
from ncdiag.analysis.copies import list_copies, say_copies
from ncdiag.analysis.grid import LINES, Cells, list_cells, missing_cells, mixed_onsets, name_lines, sample_cells
from ncdiag.analysis.pairs import with_norm_at_onset
from ncdiag.analysis.terms import Terms
from ncdiag.domain.additivity import GridJudgement, Tukey, deciding_p, judge, ratio_of_ratios, tukey_one_df
from ncdiag.domain.free_shape import free_shape
from ncdiag.domain.interaction import EFFECT_LEVEL, Interaction, estimate_interaction, grid_of, mean_table
from ncdiag.domain.levels import alpha_of
from ncdiag.domain.onset import OPEN
from ncdiag.domain.permutations import generator_of
from ncdiag.domain.result import Result, Status
from ncdiag.domain.shares import out_of
from ncdiag.domain.statistics import FloatArray

QUESTION = "additivity"
_NOT_ONE_QUANTITY = "the feature norm there is not one quantity, which is how the published +458 % came about"
_ONE_PHASE = "Choose a phase with --phase, or accept the mixture with --mix-phases"
_QUANTITIES = ("interaction_raw", "interaction_log", "ratio_of_ratios", "verdict")


def additivity_results(onsets: pd.DataFrame, terms: Terms) -> list[Result]:
    """Give the results `interaction_raw`, `interaction_log`, one `ratio_of_ratios` per 2 x 2 part, and `verdict`.

    `onsets` is the table of `onset_table`; the two columns that make a pair are the rows and the columns of the grid.
    The sample is the conditions where a cell has several, else the runs. A grid whose onsets lie in different phases or
    under different losses is tested only if that is asked for: fn under cross-entropy and under squared error are two
    things.
    """
    by, level = terms.by, terms.level
    collapsed = with_norm_at_onset(onsets)
    base: dict[str, Any] = {
        "question": QUESTION,
        "group": {"rows": by[0], "columns": by[1] if len(by) > 1 else None},
        "level": level,
        "n_runs": int((onsets["state"] != "no_data").sum()),
        "n_conditions": int(condition_numbers(collapsed).max(initial=-1)) + 1,
        "n_censored": int(onsets["state"].isin(OPEN).sum()),
    }
    if len(by) != 2:
        reason = f"a grid has two factors; --by names {len(by)} ({', '.join(by)})"
        return _refused(base, "not_testable", reason, {"cells": []})
    onsets = onsets.join(name_lines(onsets, by))
    collapsed = with_norm_at_onset(onsets)
    about: dict[str, Any] = {"cells": list_cells(onsets, collapsed, by), "blocked": _blocked(onsets)}
    mixed = mixed_onsets(collapsed)
    if mixed and not terms.mix_phases:
        about["refused"] = "mixed_phases"
        return _refused(base, "not_testable", f"{mixed}: {_NOT_ONE_QUANTITY}", about, remedy=_ONE_PHASE)
    cells = sample_cells(collapsed)
    missing = missing_cells(onsets, cells, by)
    if missing:
        status: Status = "all_censored" if collapsed.empty and base["n_censored"] else "not_testable"
        return _refused(base, status, missing, about)
    about["blocked"] += _single_cells(cells)
    cautions = _cautions(cells, collapsed, mixed)
    raw, log = (_interaction(cells, values) for values in (cells.raw, cells.logs))
    about["mixed"] = mixed
    judged = judge(np.exp(cells.logs), cells.row, cells.column, raw, log, alpha_of(level))
    common = {**about, "over": cells.unit, "n_units": len(cells.raw)}
    return [
        _interaction_result("interaction_raw", raw, cells, base, common, cautions),
        _interaction_result("interaction_log", log, cells, base, common, cautions),
        *_ratios(cells, base, level),
        _verdict_result(judged, raw, log, cells, base, common, cautions),
    ]


def _interaction(cells: Cells, values: FloatArray) -> Interaction | Tukey:
    """Test a scale: with the variance within cells, or by Tukey's one degree of freedom where there is none."""
    if not cells.single:
        return estimate_interaction(values, cells.row, cells.column, generator_of(values))
    return tukey_one_df(mean_table(values, grid_of(cells.row, cells.column)))


def _free_shape(cells: Cells, values: FloatArray) -> dict[str, float]:
    """Look for an interaction of any shape in a table without gaps: exploratory, the verdict is Tukey's."""
    found = free_shape(mean_table(values, grid_of(cells.row, cells.column)), generator_of(values))
    return {
        "boik": found.boik,
        "p_boik": found.p_boik,
        "johnson_graybill": found.largest,
        "p_johnson_graybill": found.p_largest,
    }


def _interaction_result(
    quantity: str,
    found: Interaction | Tukey,
    cells: Cells,
    base: Mapping[str, Any],
    common: Mapping[str, Any],
    cautions: tuple[str, ...],
) -> Result:
    method: str
    extra: dict[str, Any]
    if isinstance(found, Tukey):
        method = "Tukey's one degree of freedom (one value per cell)"
        extra = {"statistic": found.statistic, "df1": 1, "df2": found.df2, "p_permutation": math.nan, "eta2p": math.nan}
        extra |= {"d": found.d, "power": found.power}
        extra |= _free_shape(cells, cells.raw if quantity == "interaction_raw" else cells.logs)
        if found.status == "not_testable":
            cautions = ("one value per cell: two runs in each cell make it testable", *cautions)
    else:
        method = "nested least squares"
        if found.permutations:
            method += f"; {found.permutations} permutations of the residuals of the additive model"
        extra = {
            "statistic": found.statistic,
            "df1": found.df1,
            "df2": found.df2,
            "p_permutation": found.p_permutation,
            "p_robust": found.p_robust,
            "n_permutations": found.permutations,
            "eta2p": found.eta2p.estimate,
            "eta2p_lo": found.eta2p.lo,
            "eta2p_hi": found.eta2p.hi,
            "eta2p_level": EFFECT_LEVEL,
            "omega2p": found.omega2p,
        }
    robust = isinstance(found, Interaction) and not math.isnan(found.p_robust)
    extra["decided_by"] = "p_robust" if robust else "p"
    estimate = extra["eta2p"] if isinstance(found, Interaction) else math.nan
    return Result(
        quantity=quantity,
        **{**base, "level": EFFECT_LEVEL if isinstance(found, Interaction) else base["level"]},
        estimate=estimate,
        lo=extra.get("eta2p_lo", math.nan),
        hi=extra.get("eta2p_hi", math.nan),
        p=found.p,
        method=method,
        status=found.status,
        warnings=cautions,
        extra={**extra, **common},
    )


def _ratios(cells: Cells, base: Mapping[str, Any], level: float) -> list[Result]:
    """Give the ratio of ratios of every other row and column against those with the most cells, the first of them."""
    grid = grid_of(cells.row, cells.column)
    first, start = (int(np.argmax(np.bincount(number))) for number in (grid.row, grid.column))
    found = []
    for r, c in product(range(len(cells.rows)), range(len(cells.columns))):
        if r == first or c == start:
            continue
        ratio = ratio_of_ratios(cells.logs, grid, (first, r), (start, c), level)
        status: Status = "ok"
        if math.isnan(ratio.estimate):
            status = "not_testable"
        elif math.isnan(ratio.lo):
            status = "too_few" if cells.single else "zero_variance"
        found.append(
            Result(
                quantity="ratio_of_ratios",
                **base,
                **asdict(ratio),
                method=f"t interval on logs over {cells.unit}, each cell with its own variance (Welch)",
                status=status,
                extra={
                    "of_rows": [cells.rows[r], cells.rows[first]],
                    "of_columns": [cells.columns[start], cells.columns[c]],
                },
            )
        )
    return found


def _verdict_result(
    judged: GridJudgement,
    raw: Interaction | Tukey,
    log: Interaction | Tukey,
    cells: Cells,
    base: Mapping[str, Any],
    common: Mapping[str, Any],
    cautions: tuple[str, ...],
) -> Result:
    crossings = [
        {
            "rows": [cells.rows[place] for place in rows],
            "columns": [cells.columns[place] for place in columns],
            "changes_sign": kind,
        }
        for rows, columns, kind in judged.crossings
    ]
    return Result(
        quantity="verdict",
        **base,
        method="raw first, logs only if raw is rejected: a fixed order, which needs no correction",
        status="not_testable" if judged.verdict == "not testable" else "ok",
        warnings=cautions,
        extra={
            "verdict": judged.verdict,
            "alpha": alpha_of(base["level"]),
            "p_raw": deciding_p(raw),
            "p_log": deciding_p(log),
            "power": judged.power,
            "p_power": judged.p_power,
            "reversals": judged.reversals,
            "crossings": crossings,
            **common,
        },
    )


def _refused(
    base: Mapping[str, Any], status: Status, reason: str, extra: Mapping[str, Any], *, remedy: str = ""
) -> list[Result]:
    """Give the results of a grid that is not tested, each with the reason and what would help."""
    empty = {"statistic": math.nan, "df1": None, "df2": None, "p_permutation": math.nan, "eta2p": math.nan}
    return [
        Result(
            quantity=quantity,
            **base,
            status=status,
            warnings=(f"{reason}. {remedy}" if remedy else reason,),
            extra={
                **(empty if quantity.startswith("interaction") else {}),
                **({"verdict": "not testable"} if quantity == "verdict" else {}),
                "lacks": reason,
                **extra,
            },
        )
        for quantity in _QUANTITIES
    ]


def _blocked(onsets: pd.DataFrame) -> list[str]:
    """Give what forbids a verdict: within single cells, and runs that are copies of some in another cell.

    That cells differ among each other is `mixed_onsets`.
    """
    cells = list(onsets.groupby(LINES, sort=False))
    found = [f"{' '.join(map(str, keys))}: {reason}" for keys, runs in cells for reason in list_disqualifiers(runs)]
    copies = list_copies(onsets)
    if len(copies) > sum(len(list_copies(runs)) for _, runs in cells):
        found.append(say_copies(copies))
    return found


def _single_cells(cells: Cells) -> list[str]:
    """Give what forbids a verdict where some cells have one value and others several.

    It does not say how much its like vary, and given the variance of the others a grid that multiplies would be called
    something else in up to 42 %.
    """
    sizes = np.bincount(cells.row * len(cells.columns) + cells.column)
    if cells.single or 1 not in sizes:
        return []
    singles, full = int((sizes == 1).sum()), int((sizes > 0).sum())
    return [f"{out_of(singles, full, 'cell', 'has/have')} a single value, so how much it varies there is not known"]


def _cautions(cells: Cells, collapsed: pd.DataFrame, mixed: str | None) -> tuple[str, ...]:
    found = []
    if mixed:
        found.append(f"{mixed}; cells may differ by the loss alone")
    elif collapsed["onset_loss"].isna().all():
        found.append("the loss at onset is not known of any run; cells may differ by the loss alone")
    sizes = np.bincount(cells.row * len(cells.columns) + cells.column)
    sizes = sizes[sizes > 0]
    if cells.unit == "runs" and not cells.single:
        found.append("one condition per cell: the figures are over seeds, and speak of these conditions only")
    if cells.unit == "conditions" and sizes.min() < 2:
        found.append(
            f"the conditions of {out_of(int((sizes > 1).sum()), len(sizes), 'cell')} measure the noise of all of them; "
            "the others have one condition"
        )
    found += _single_cells(cells)
    labels = sorted(set(condition_labels(collapsed)) if cells.unit == "conditions" else [])
    if len(labels) > len(sizes):
        found.append(f"{len(labels)} conditions in {len(sizes)} cells: choose comparable ones with --where")
    return tuple(found)
