"""What the pages of several questions write alike: the name of a pair, and what its tests show."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ncdiag.cli.output import printable, table_cell
from ncdiag.domain.levels import alpha_of
from ncdiag.domain.p_values import p_is, p_text
from ncdiag.domain.page import Cautions
from ncdiag.domain.words import as_word

if TYPE_CHECKING:
    from ncdiag.domain.result import Result

Values = Mapping[str, Any]  # of a result, as `Result.to_dict` gives them

_FEW = 0.01  # where the smallest possible p is not below this, it is the number of runs that keeps p large


def pair_label(group: Values) -> str:
    """Name a pair: `mlp mnist`, and `depth=5` for what would not be understood without its name."""
    parts = [as_word(value) if isinstance(value, str) else f"{key}={_known(value)}" for key, value in group.items()]
    return printable(" ".join(parts))


def by_pair(results: "Sequence[Result]", name: Callable[[Values], str] = pair_label) -> dict[str, list[Values]]:
    """Give the results of each pair as plain values, by the `name` of its group."""
    pairs: dict[str, list[Values]] = {}
    for result in results:
        pairs.setdefault(name(result.group), []).append(result.to_dict())
    return pairs


def find_result(values: Sequence[Values], quantity: str, **said: Any) -> Values | None:
    """Give the first result of a quantity that says what is `said`, None where there is none."""
    wanted = {"quantity": quantity, **said}
    return next((value for value in values if all(value.get(key) == item for key, item in wanted.items())), None)


def get_result(values: Sequence[Values], quantity: str, **said: Any) -> Values:
    """Give the first result of a quantity that says what is `said`, of which there is always one."""
    found = find_result(values, quantity, **said)
    assert found is not None
    return found


def reminders(cautions: Iterable[str]) -> list[Cautions]:
    """Give what to keep in mind, each caution once, as a block; none where there is nothing."""
    once = [f"{printable(caution)}." for caution in dict.fromkeys(cautions)]
    return [Cautions(once)] if once else []


def is_shown(test: Values, name: str = "p") -> bool:
    """Tell whether a test shows what it tests, at the level that was asked for."""
    return test[name] is not None and test[name] <= alpha_of(test["level"])


def corrected_p(test: Values) -> str:
    """Write Holm's p of a test that was fixed for each pair, in brackets; nothing where there was no test."""
    if test["p"] is None:
        return ""
    over = f" after Holm's correction over {test['family']} pairs" if test["family"] > 1 else ""
    return f" ({p_is(test['p_holm'])}{over}{least_p(test['p_min'])})"


def least_p(p_min: float) -> str:
    """Say how small p can be with these runs, where they are so few that it matters."""
    return f", with so few runs at least {p_text(p_min)}" if p_min >= _FEW else ""


def _known(value: Any) -> str:
    return "?" if value is None else table_cell(value)
