"""Names of runs and sweeps: which there can be, and those that a store gives by itself, such as run-7."""

import re

RULE = "letters, digits, . _ and -, at most 128, a letter or digit first"
NO_NAME = f"is no name for a run; expected {RULE}"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_run_name(name: str) -> bool:
    """Say whether a run can have this name: it must be safe in a shell, a path and a URL."""
    return _NAME.fullmatch(name) is not None


def numbered(number: int | str, kind: str = "run") -> str:
    """Give the name that a store gives by itself to the run, or sweep, of that number."""
    return f"{kind}-{number}"


def is_numbered(name: str, kind: str = "run") -> bool:
    """Say whether a store gives this name by itself, to the run, or sweep, of that number."""
    return re.fullmatch(f"{kind}-[0-9]+", name) is not None
