"""What the pages of several questions write alike: the name of a pair, and what its tests show."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ncdiag.cli.output import printable
from ncdiag.domain.levels import alpha_of
from ncdiag.domain.naming import TEXT, Group, Key, name_groups
from ncdiag.domain.p_values import p_is, p_text
from ncdiag.domain.page import Cautions

if TYPE_CHECKING:
    from ncdiag.domain.result import Result

Values = Mapping[str, Any]  # of a result, as `Result.to_dict` gives them
Namer = Callable[[Sequence[Group]], list[str]]

_FEW = 0.01  # where the smallest possible p is not below this, it is the number of runs that keeps p large


def name_pairs(groups: Sequence[Group]) -> list[str]:
    """Name pairs: `mlp mnist`, and `depth=5` for what would not be understood without its name."""
    words = {column for group in groups for column in group}
    return [printable(name) for name in name_groups(groups, TEXT, bare=words)]


def by_pair(results: "Iterable[Result]", name: Namer = name_pairs) -> list[tuple[str, list[Values]]]:
    """Give the results of each pair as plain values, with the name of the pair."""
    pairs: dict[Key, list[Result]] = {}
    for result in results:
        pairs.setdefault(result.key, []).append(result)
    names = name([own[0].group for own in pairs.values()])
    return [(label, [result.to_dict() for result in own]) for label, own in zip(names, pairs.values(), strict=True)]


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
