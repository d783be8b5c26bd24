"""How pages write a feature norm with its interval."""

from ncdiag.cli.page_words import Values


def norm_text(value: float, digits: int = 4) -> str:
    """Write a norm with so many significant digits, all those before the point among them."""
    text = f"{value:#.{digits}g}"
    return f"{value:.0f}" if "e+" in text else text.rstrip(".")


def norm_texts(said: Values, name: str = "estimate", lo: str = "lo", hi: str = "hi") -> tuple[str, tuple[str, ...]]:
    """Write a norm with four digits and its limits with three, or as many more as show it between them.

    The names are those of the three in `said`; without an interval there are no limits, and `-` stands for no norm.
    """
    value, limits = said[name], (said[lo], said[hi])
    if value is None or limits[0] is None:
        return "-" if value is None else norm_text(value), ()
    written = [(norm_text(value, max(4, n)), tuple(norm_text(limit, n) for limit in limits)) for n in range(3, 8)]
    apart = (each for each in written if float(each[1][0]) < float(each[0]) < float(each[1][1]))
    return next(apart, written[0])
