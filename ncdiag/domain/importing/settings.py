"""`--map` and `--set` of the import: what to call the columns of a file, and what to say of its runs.

An entry can be for some files or runs only: `'resnet20_*:nc2_etf=nc2'`. The most specific one wins, so what a
manifest says of a run comes before `--set depth=5`, and `--set 'run_7:depth=5'` before what the manifest says.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ncdiag.domain.importing.records import COLUMNS
from ncdiag.domain.importing.rows import bare, shown
from ncdiag.domain.words import nearest
from ncdiag.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Setting:
    """KEY=VALUE, for the files or runs whose name fits `pattern`, or for all (None)."""

    pattern: str | None
    key: str
    value: str

    def fits(self, names: Iterable[str]) -> bool:
        """Say whether the pattern fits one of the names."""
        return self.pattern is not None and any(fnmatchcase(name, self.pattern) for name in names)


def parse_maps(texts: Sequence[str]) -> tuple[Setting, ...]:
    """Read `FIELD=COLUMN,...`, each with `FILE:` before it or not; an empty COLUMN leaves the field out."""
    maps = tuple(_parse(entry, "--map", "feature_norm=feat_norm") for text in texts for entry in text.split(","))
    for entry in maps:
        if entry.key not in COLUMNS:
            raise SpecError(
                f"--map: {shown(entry.key)} is no column of ncdiag{nearest(entry.key, COLUMNS)}\n"
                f"expected FIELD=COLUMN, where FIELD is one of {', '.join(COLUMNS)}"
            )
    _check_once(maps, "--map")
    return maps


def parse_sets(texts: Sequence[str]) -> tuple[Setting, ...]:
    """Read `KEY=VALUE`, each with `FILE:` before it or not; an empty VALUE takes back what was said."""
    sets = tuple(_parse(text, "--set", "arch=mlp") for text in texts)
    _check_once(sets, "--set")
    return sets


def general(settings: Iterable[Setting]) -> dict[str, str]:
    """Give what was said of every file."""
    return {setting.key: setting.value for setting in settings if setting.pattern is None}


def specific(settings: Iterable[Setting], names: Sequence[str]) -> dict[str, str]:
    """Give what was said of the file or run with these names in particular."""
    return {setting.key: setting.value for setting in settings if setting.fits(names)}


def check_all_fit(settings: Iterable[Setting], names: Sequence[str], option: str) -> None:
    """Raise a `SpecError` for a pattern that fits none of the names: it was meant to do something."""
    for setting in settings:
        if setting.pattern is not None and not setting.fits(names):
            hint = nearest(setting.pattern, map(bare, names))
            raise SpecError(f"{option}: no file or run here fits {shown(setting.pattern)}{hint}")


def _parse(text: str, option: str, example: str) -> Setting:
    left, equals, value = text.partition("=")
    pattern, colon, key = left.rpartition(":")
    key = key.strip()
    if not equals or not key or (colon and not pattern.strip()):
        raise SpecError(f"{option} takes {example}, or with a file first 'FILE:{example}', not {shown(text)}")
    return Setting(pattern=pattern.strip() if colon else None, key=key, value=value.strip())


def _check_once(settings: Sequence[Setting], option: str) -> None:
    for place, setting in enumerate(settings):
        if any((s.pattern, s.key) == (setting.pattern, setting.key) for s in settings[:place]):
            raise SpecError(f"{option} names {shown(setting.key)} twice; expected it once")
