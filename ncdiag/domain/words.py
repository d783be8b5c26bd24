"""Texts that people typed: what they may have meant, what cannot be printed as it is, and lists of names."""

import difflib
from collections.abc import Iterable, Sequence

from ncdiag.errors import SpecError


def nearest(word: str, known: Iterable[str]) -> str:
    """Give ` (did you mean X?)` for the known word nearest to `word`, or an empty string."""
    match = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {match[0]}?)" if match else ""


def first_of(names: Sequence[str]) -> str:
    """Name the first five of some, and say with dots that there are more."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def as_unicode(text: str) -> str:
    """Spell out the bytes of an argument that are not UTF-8, which no database, no figure and no page can hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def as_word(name: str) -> str:
    """Put a name in quotes where it is more than a word: names that stand in a row would run into each other."""
    return f'"{name}"' if " " in name else name


def split_columns(text: str) -> list[str]:
    """Give the names in a comma-separated list; raises `SpecError` when there are none."""
    names = [
        name if "." in name else name.replace("-", "_")  # a setting of the user's own is called as they called it
        for name in map(str.strip, text.split(","))
        if name
    ]
    if not names:
        raise SpecError("--by names columns of the runs, such as arch,dataset; it is empty")
    return list(dict.fromkeys(names))
