"""The claims about a grid and about one hyperparameter at a time, read off the results of the questions."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ncdiag.analysis.conditions import show
from ncdiag.analysis.evidence import Evidence, Part, Results
from ncdiag.domain.equivalence import MARGIN
from ncdiag.domain.p_values import p_is
from ncdiag.domain.result import Result
from ncdiag.domain.shares import out_of
from ncdiag.domain.spec import find_rescaling

_NEITHER = {
    "removable": "fn* neither adds nor multiplies; on a power scale it would add",
    "crossover": "fn* neither adds nor multiplies, and the order of the cells changes",
    "neither": "fn* neither adds nor multiplies",
}
_UNKNOWN = show(None)


def not_additive(found: Results, _: float) -> Iterator[Evidence]:
    """Claim 5: fn* of a grid is no sum, and no product either, of a part per row and a part per column."""
    verdict = next(result for result in found["additivity"] if result.quantity == "verdict")
    ratios = [result for result in found["additivity"] if result.quantity == "ratio_of_ratios"]
    said = str(verdict.extra["verdict"])
    refused = verdict.extra.get("refused") == "mixed_phases"
    mixed = [_one_loss(verdict)] if refused or verdict.extra.get("mixed") else []
    far = max(ratios, key=lambda ratio: abs(math.log(ratio.estimate)) if ratio.estimate > 0 else -1, default=None)
    within = [max(abs(math.log(r.lo)), abs(math.log(r.hi))) < MARGIN for r in ratios if not math.isnan(r.lo)]
    yield Evidence(
        group=verdict.group,
        ours="-" if far is None or math.isnan(far.lo) else f"x{far.estimate:.2f} ({far.lo:.2f}-{far.hi:.2f})",
        source=far if far is not None and far.estimate > 0 else verdict,
        parts=(_departs(verdict, said, mixed if refused else ()),),
        holds=_NEITHER.get(said, ""),
        contradicted=said in ("additive", "multiplicative") and bool(within) and all(within),
        opposite="a factor per row times a factor per column fits to within 8%",
        blocked=[*mixed, *verdict.extra.get("blocked", ())],
        family=1,  # one grid, whose two tests come in a fixed order
    )


def turns(found: Results, _: float) -> Iterator[Evidence]:
    """Claim 6a, per group of runs that differ in depth alone: the onset turns at some depth."""
    for result in _of(found, "depth", "non_monotone"):
        turn = show(result.extra["turn"]) if "turn" in result.extra else ""
        changes = [result.extra[side] for side in ("left", "right")] if turn else []
        yield Evidence(
            group=result.group,
            ours=", ".join(f"{_sign(change)}x{change['ratio']:.2f}" for change in changes) or "-",
            source=result,
            parts=(_as_part(result, "a turn", f"a turn at depth {turn} may be noise"),),
            holds=f"at this eps (try another with --eps) the onset turns at depth {turn}, beyond noise on both sides",
            blocked=result.extra.get("blocked", ()),
            notes=result.extra.get("limited", ()),
            family=result.extra["family"],
        )


def decides(found: Results, _: float) -> Iterator[Evidence]:
    """Claim 6b, per group of runs that differ in activation alone: it moves both the onset and fn*."""
    for result in _of(found, "activation", "joint"):
        own = {r.quantity: r for r in found["activation"] if r.group == result.group}
        ratios = [own[name].estimate if name in own else math.nan for name in ("speed", "fn_star")]
        known = not any(map(math.isnan, ratios))
        yield Evidence(
            group=result.group,
            ours=f"T {_sign(own['speed'].extra)}x{ratios[0]:.2g}, fn* x{ratios[1]:.2g}" if known else "-",
            source=result,
            parts=(_as_part(result, "both differ", "that both the onset and fn* differ is not shown"),),
            holds="both the onset and fn* differ between activations",
            blocked=result.extra.get("blocked", ()),
            notes=result.extra.get("limited", ()),
            family=result.extra["family"],
        )


def three_regimes(found: Results, _: float) -> Iterator[Evidence]:
    """Claim 6c, per group of runs that differ in weight decay alone: all three of its parts."""
    names = {
        "slow_when_low": "too little slows",
        "fails_when_high": "too much prevents",
        "valley": "a fastest range between",
    }
    for low in _of(found, "weight-decay", "slow_when_low"):
        own = {r.quantity: r for r in found["weight-decay"] if r.group == low.group}
        parts = [_regime(own.get(quantity, low), name) for quantity, name in names.items()]
        shown = "".join(letter for letter, part in zip("abc", parts, strict=True) if part.shown)
        tested = any(part.shown is not None for part in parts)
        yield Evidence(
            group=low.group,
            ours=f"{len(shown)} of 3 ({', '.join(shown)})" if shown else "0 of 3" if tested else "-",
            source=low,
            parts=parts,
            holds="too little slows, too much prevents, and between is fastest",
            blocked=low.extra.get("blocked", ()),
            notes=low.extra.get("limited", ()),
            family=low.extra["family"],
        )


def _regime(result: Result, name: str) -> Part:
    part = _as_part(result, name, f"not shown: {name}")
    later = result.extra.get("later_high", 0)
    if not later or part.shown is None:
        return part
    runs, high = result.extra["collapsed_high"][1], show(result.extra["high"])
    late = f"{out_of(later, runs, 'run')} at weight decay {high} collapsed later than the common budget"
    return replace(part, lacking=f"not shown: {name}: {late}")


def wider_is_faster(found: Results, _: float) -> Iterator[Evidence]:
    """Claim 6d, per group of runs that differ in width alone: a steady fall of the onset, and fn* within 13 %."""
    for trend in _of(found, "width", "trend"):
        own = {r.quantity: r for r in found["width"] if r.group == trend.group}
        shift = own.get("fn_shift")
        at_least = {"at least": "<=", "at most": ">="}.get(trend.extra.get("bound") or "", "")  # earlier, so less
        faster = "-" if math.isnan(trend.estimate) else f"{at_least}{-100 * trend.estimate:+.2g}% T"
        moved = (
            "" if shift is None or math.isnan(shift.estimate) else f", fn* {_mark(shift)}{100 * shift.estimate:.2g}%"
        )
        yield Evidence(
            group=trend.group,
            ours=f"{faster}{moved}",
            source=trend,
            parts=(_as_part(trend, "wider is earlier", "that wider collapses earlier is not shown"), _small(shift)),
            holds="a falling trend of the onset with width, and fn* moves by less than 13% between all widths",
            contradicted=trend.extra.get("verdict") == "refuted",
            opposite="the onset does not fall steadily with width",
            blocked=trend.extra.get("blocked", ()),
            notes=trend.extra.get("limited", ()),
            family=trend.extra["family"],
        )


def _sign(about: Mapping[str, Any]) -> str:
    """Mark a ratio that is a bound, since runs without an onset entered one of its sides with the budget."""
    return {"at least": ">=", "at most": "<="}.get(about.get("bound") or "", "")


def _mark(shift: Result) -> str:
    """Mark a shift that leaves out widths without onsets: with them it can only be larger."""
    return ">=" if math.isnan(shift.hi) else ""


def _of(found: Results, question: str, quantity: str) -> Iterator[Result]:
    """Give the results of untouched runs: rescaled ones are an experiment of their own."""
    every = (result for result in found[question] if result.quantity == quantity)
    return (result for result in every if find_rescaling(result.group.get("intervention")) is None)


def _as_part(result: Result, name: str, lacking: str) -> Part:
    """Take over what the question has decided, corrected over the family of all four."""
    if math.isnan(result.p) or result.extra.get("verdict") in (None, "not testable"):
        return Part(name=name, shown=None, lacking=result.extra.get("lacks") or "no test could be made")
    p = float(result.extra["p_holm"])
    return Part(name=name, shown=result.extra["verdict"] == "supported", p=p, lacking=f"{lacking} ({p_is(p)})")


def _departs(verdict: Result, said: str, mixed: Sequence[str]) -> Part:
    name = "neither a sum nor a product"
    if mixed:
        return Part(name=name, shown=None, lacking=mixed[0])
    if said == "not testable":
        return Part(name=name, shown=None, lacking=verdict.extra.get("lacks") or "no variation in cells")
    p = max(verdict.extra["p_raw"], verdict.extra["p_log"])
    lacking = {
        "additive": f"that fn* is no sum is not shown ({p_is(verdict.extra['p_raw'])})",
        "multiplicative": f"fn* is no sum; that it is no product is not shown ({p_is(verdict.extra['p_log'])})",
    }
    return Part(name=name, shown=said in _NEITHER, p=p, lacking=lacking.get(said, ""))


def _one_loss(verdict: Result) -> str:
    """Say which losses the cells of a grid are read under, and what can be done where one is not known."""
    cells: Sequence[Mapping[str, Any]] = verdict.extra["cells"]
    losses = {(cell["row"], cell["column"]): "/".join(cell["losses"]) for cell in cells if cell["losses"]}
    counts = Counter(losses.values())
    if len(counts) < 2:
        return "the cells are read in different phases of training"
    rarest = _UNKNOWN if _UNKNOWN in counts else min(counts, key=counts.__getitem__)  # of equals the first
    where = ", ".join(" ".join(cell) for cell, loss in losses.items() if loss == rarest)
    under = "an unknown one, which --set phases=ce:200,mse says at import" if rarest == _UNKNOWN else rarest
    return f"the cells are read under different losses ({where} under {under})"


def _small(shift: Result | None) -> Part:
    name = "fn* moves by less than 13%"
    if shift is None or math.isnan(shift.hi):
        lacks = "how far width moves fn* takes two onsets at every width" if shift is None else shift.extra["lacks"]
        return Part(name=name, shown=None, lacking=lacks)
    bound = f"width may move fn* by {100 * shift.hi:.3g}%"
    return Part(name=name, shown=shift.extra["verdict"] == "supported", lacking=bound)
