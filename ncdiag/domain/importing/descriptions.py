"""What was said of an imported run: the fields that ncdiag knows, read as numbers and texts, and everything else kept.

Nothing that was said is lost: the whole description becomes the run's configuration, and what ncdiag can group by
is checked and typed on the way.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ncdiag.domain.importing.phases import loss_name, parse_phases
from ncdiag.domain.importing.records import look_alike
from ncdiag.domain.importing.rows import number, shown, whole
from ncdiag.domain.records import IMPORT_FIELDS, LARGEST

_WHOLE = {"depth": 1, "train_size": 1, "batch_size": 1, "epochs_planned": 1, "seed": 0}  # and the least they can be
FIELDS = tuple(IMPORT_FIELDS)
# How the published manifest, and others like it, spell a plan of phases.
_NUMBERED_PHASE = re.compile(r"phase([1-9])_(loss|epochs)")
_LONGEST_TEXT = 200


def read_description(said: Mapping[str, str]) -> dict[str, Any]:
    """Give the values that were said: known fields checked, others as the number or the text they are.

    The `ValueError` names the field that cannot be read.
    """
    description: dict[str, Any] = {}
    for field, text in said.items():
        try:
            description[field] = _value(field, text)
        except ValueError as error:
            raise ValueError(f"{field}: {error}") from None
    return description


def own_export(said: Mapping[str, str]) -> dict[str, str]:
    """Give what a row of `ncdiag export runs` says of a run: its fields, and the plain values of its configuration.

    The rest is how the store kept it: status, times, key.
    """
    try:
        config = json.loads(said.get("config", "{}"), parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        config = {}
    said_by = config.items() if isinstance(config, dict) else ()
    plain = {key: str(value) for key, value in said_by if isinstance(value, (str, bool))}
    return plain | {field: text for field, text in said.items() if field in FIELDS}


def find_misspelt(names: Iterable[str], others: Iterable[str] = ()) -> dict[str, str]:
    """Give the names that look like a misspelt field, each with that field; `others` are known as well."""
    known = {*FIELDS, *others}
    unknown = [name for name in names if name not in known and not _NUMBERED_PHASE.fullmatch(name)]
    close = {name: look_alike(name, FIELDS) for name in unknown}
    return {name: field for name, field in close.items() if field is not None}


def _value(field: str, text: str) -> int | float | str:
    if field in _WHOLE:
        return whole(text, _WHOLE[field], LARGEST)
    if IMPORT_FIELDS.get(field) is float:
        value = number(text)
        if not 0 <= value < float("inf"):
            raise ValueError(f"{shown(text)} is not a finite number of at least 0")
        return value
    if field == "data_sha256" and not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError(f"{shown(text)} is not a SHA-256, 64 hexadecimal digits")
    if field in IMPORT_FIELDS:
        if not text.isprintable() or len(text) > _LONGEST_TEXT:
            raise ValueError(f"{shown(text)} is not a text of at most {_LONGEST_TEXT} printable characters")
        if field == "phases":
            parse_phases(text)
        return text
    numbered = _NUMBERED_PHASE.fullmatch(field)
    if numbered:
        return whole(text, 1, LARGEST) if numbered[2] == "epochs" else loss_name(text)
    return _literal(text)


def _literal(text: str) -> int | float | str:
    """Give a finite number as a number, and any other text as it is."""
    try:
        value = number(text)
    except ValueError:
        return text
    if value != value or abs(value) == float("inf"):  # noqa: PLR0124  # JSON, and so a configuration, has no NaN
        return text
    return int(value) if text.isdigit() and len(text) < 16 else value
