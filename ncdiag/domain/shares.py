"""How figures, shares, epochs and numbers of things are written for people."""

_NOTHING = 1e-9  # a share that only rounding tells from 0


def four_digits(value: float) -> str:
    """Write a figure with four significant digits, one of thousands and more without an exponent."""
    return f"{value:.0f}" if 9999.5 <= abs(value) < 1e7 else f"{value:.4g}"


def percent(share: float | None) -> str:
    """Write a share in percent with three significant digits, `-` where there is none; beyond 1000 % none matters."""
    if share is None:
        return "-"
    if abs(share) < _NOTHING:
        return "0%"
    return ">1000%" if share > 10 else f"{100 * share:.3g}%" if share < 9.995 else "1000%"


def epochs(value: float | None) -> str:
    """Write a number of epochs: one decimal below 10, `-` where there is none."""
    return "-" if value is None else f"{value:.0f}" if abs(value) >= 9.95 else f"{round(value, 1) + 0.0:.1f}"  # no -0.0


def lead_is(mean: float | None, n_never: int) -> str:
    """Write a mean lead, as an upper bound where runs ended before their alarm."""
    return f"<= {epochs(mean)}" if n_never and mean is not None else epochs(mean)


def none_of(number: int, thing: str) -> str:
    """Begin a sentence that is true of no thing of a number of them: `none of the 5 runs`, of a single one `no run`."""
    return f"no {thing}" if number == 1 else f"none of the {counted(number, thing)}"


def out_of(number: int, total: int, thing: str, verbs: str = "") -> str:
    """Write how many of some things there are: `1 of 1 run is` and `3 of 5 runs are` with the verbs `is/are`."""
    one, _, more = verbs.partition("/")
    verb = one if number == 1 else more or one
    return f"{number} of {counted(total, thing)}{' ' if verb else ''}{verb}"


def counted(number: int, thing: str) -> str:
    """Write a number of things, such as `1 run` and `2,500 runs`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
