"""`ncdiag predict`: when a run will collapse, judged by the other runs of its pair."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncdiag.cli.options import FormatOption, RunArgument, StoreOption, takes_terms_of_pair
from ncdiag.cli.output import Format, emit_csv, emit_json, emit_text, printable
from ncdiag.cli.page_text import text_of
from ncdiag.cli.page_words import reminders
from ncdiag.domain.page import Block, Glossary, Page, Paragraph, Part, Table

if TYPE_CHECKING:
    from ncdiag.analysis.terms import Terms
    from ncdiag.domain.onset_rule import OnsetRule

EXAMPLES = ("ncdiag predict run-1", "ncdiag predict run-1 --where 'weight_decay<=1e-4' --format json")

_ENDLESS = 1e7  # epochs
_SAME = 1e-9  # a share
# The fields that the contract names, in its order; what a forecast holds beyond them follows.
_FIRST = ("run", "status", "epoch_now", "onset", "lo", "hi", "level", "method", "n_calibration", "p_no_collapse")


@takes_terms_of_pair
def predict(
    run: RunArgument,
    *,
    terms: "Terms",
    tournament: Annotated[
        bool,
        typer.Option("--tournament", help="Show every rule that competed: its forecast, and its error on the others."),
    ] = False,
    form: FormatOption = Format.TABLE,
    store: StoreOption = "",
) -> None:
    """Forecast the epoch at which a run collapses, with an interval.

    The other runs of its pair calibrate the forecast; --where narrows them. Of all rules, the one that forecasts them
    best is used, and named. A run that is still training may be asked about. Where the other runs do not suffice, the
    answer says so, and what the run's own course tells.
    """
    from ncdiag.analysis.stored import forecast_stored
    from ncdiag.store.engine import open_store

    with open_store(store) as opened:
        found = forecast_stored(opened, run, terms).to_dict()
    values = {**{name: found[name] for name in _FIRST}, **found}
    if form is Format.TABLE:
        emit_text(text_of(_page(values, terms.rule, tournament=tournament)))
    elif form is Format.JSON:
        emit_json(values)
    elif tournament:
        emit_csv([{"run": run, **score} for score in values["rules"]], header=["run", "rule", "onset", "mae"])
    else:
        emit_csv([values], header=list(values))


def _page(values: Mapping[str, Any], rule: "OnsetRule", *, tournament: bool) -> Page:
    """Give the forecast as a sentence, the figures behind it, all rules if wanted, and what to keep in mind."""
    blocks: list[Block] = []
    if values["status"] == "forecast":
        blocks.append(Glossary(_facts(values)))
        if (why := _why_not(values)) is not None:
            blocks.append(Paragraph(why))
        if tournament:
            blocks.append(_tournament(values["rules"]))
    elif values["steady"] is not None:
        blocks.append(Paragraph(_own_course(values, rule)))
    blocks += reminders(values["warnings"])
    return Page(title=printable(_sentence(values)), parts=[Part([block]) for block in blocks])


def _sentence(values: Mapping[str, Any]) -> str:
    run, now, onset, lo, hi = (values[name] for name in ("run", "epoch_now", "onset", "lo", "hi"))
    if values["status"] == "collapsed":
        if onset is None:
            return f"{run} had collapsed before it was first evaluated, at epoch {hi:g}."
        return f"{run} collapsed at epoch {onset:.0f}, between its evaluations at {lo:g} and {hi:g}."
    if values["status"] != "forecast":
        return f"There is no forecast for {run}, now at epoch {now:g}: {values['message']}."
    sure = f"{100 * values['level']:g}%"
    if lo is None:
        limits = "with no interval"
    elif hi == math.inf:
        end = values["censored_end"]
        late = f"and perhaps not by {end:g}" if (end or 0) > onset else "with no upper limit"
        limits = f"{sure} interval: not before epoch {lo:.0f}, {late}"
    elif hi > _ENDLESS:  # of two or three runs, by t
        limits = f"{sure} interval: not before epoch {lo:.0f}, with no upper limit that says anything"
    else:
        limits = f"{sure} interval: epochs {lo:.0f} to {hi:.0f}"
    return f"{run}, now at epoch {now:g}, is expected to collapse at epoch {onset:.0f}, {limits}."


def _own_course(values: Mapping[str, Any], rule: "OnsetRule") -> str:
    """Say what a run's own course says, and how that came out in the study (docs/statistics.md)."""
    from ncdiag.domain.own_course import BEFORE_SLOWING, BEFORE_STEADY, HORIZON, READINGS, STUDIED

    now, steady, slowing = values["epoch_now"], values["steady"], values["slowing"]

    def when(epoch: float) -> str:
        return f"at epoch {epoch:.0f}" if math.isfinite(epoch) else f"not before epoch {HORIZON * now:.0f}"

    reaches = f"By its own course alone {rule.metric} reaches {rule.eps:g}"
    if when(steady) == when(slowing):
        return f"{reaches} {when(steady)}, as it falls now. No other run here checks that."
    study = (
        f"No other run here checks that. In the study (small networks, {READINGS:,} readings) the collapse came before "
        f"the first of these epochs in {BEFORE_STEADY:.0%} of cases, and before the second in {BEFORE_SLOWING:.0%}."
    )
    return (
        f"{reaches} {when(steady)} if it goes on falling as it does now, {when(slowing)} if it slows down as it has. "
        f"{study if (rule.metric, rule.eps) == STUDIED else 'Nothing checks that.'}"
    )


def _facts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Give the figures behind a forecast, each with what it is."""
    from ncdiag.domain.contenders import describe
    from ncdiag.domain.shares import counted

    interval = values["method"].removeprefix(f"{describe(values['rule'])}, ")
    compared = values["n_calibration"] + values["n_censored"]
    share = f"{values['n_censored']} of {compared}"
    if values["n_censored"]:
        share += f" by epoch {values['censored_end']:g}"
        if abs(values["p_no_collapse"] - values["n_censored"] / compared) > _SAME:
            share += f", {values['p_no_collapse']:.0%} with those that ended earlier"
    if values["p_no_collapse_lo"] is not None:
        lo, hi = (100 * values[name] for name in ("p_no_collapse_lo", "p_no_collapse_hi"))
        share += f" ({lo:.0f}% to {hi:.0f}%)"
    error, selected = f"{values['mae']:.1f} epochs", f"{values['mae_selected']:.1f}"
    if float(selected) < round(values["mae"], 1):
        error += f" (picked afterwards: {selected})"
    rules = {score["rule"]: score for score in values["rules"]}
    others = [name for name in dict.fromkeys((values["runner_up"], "fn")) if name in rules and name != values["rule"]]
    return [
        ("judged by", describe(values["rule"])),
        ("mean error on the other runs", error),
        ("mean error of guessing their median", f"{values['baseline_mae']:.1f} epochs"),
        *(("runner-up" if name == values["runner_up"] else "fn rule", _short(rules[name])) for name in others),
        (
            "learned from",
            f"{counted(values['n_calibration'], 'run')} that collapsed after epoch {values['epoch_now']:g}",
        ),
        ("runs that did not collapse", share),
        ("interval", interval),
    ]


def _why_not(values: Mapping[str, Any]) -> str | None:
    """Say why the winner is not the runner-up, where that one has the smaller error."""
    errors = {score["rule"]: round(score["mae"], 1) for score in values["rules"]}
    if errors.get(values["runner_up"], math.inf) >= errors[values["rule"]]:
        return None
    return (
        f"Now {values['runner_up']} errs less on the other runs. It was not chosen: rules are also compared "
        "at later epochs, and a single rule wins only if its error is a third below that of their mean."
    )


def _short(score: Mapping[str, Any]) -> str:
    return f"epoch {score['onset']:.0f} by {score['rule']}, error {score['mae']:.1f}"


def _tournament(rules: Sequence[Mapping[str, Any]]) -> Table:
    ranked = sorted(rules, key=lambda score: score["mae"])
    rows = [["rule, the smallest error first", "says epoch", "error on the others"]]
    rows += [[score["rule"], f"{score['onset']:.0f}", f"{score['mae']:.1f}"] for score in ranked]
    return Table(rows, right=[False, True, True])
