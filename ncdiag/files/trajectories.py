"""Trajectory files on disk, alone or listed in a manifest, as runs that can be imported: all of them or none.

Everything is read and checked before anything is returned.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncdiag.domain.importing.descriptions import find_misspelt, own_export, read_description
from ncdiag.domain.importing.findings import Findings
from ncdiag.domain.importing.identity import END, EXPORTED, find_end, find_identity
from ncdiag.domain.importing.phases import phase_plan
from ncdiag.domain.importing.records import match_columns, read_records, with_phases
from ncdiag.domain.importing.rows import Row, Table, bare, read_table, shown
from ncdiag.domain.importing.settings import Setting, check_all_fit, general, specific
from ncdiag.domain.records import EpochRecord, ImportedRun, RunStatus
from ncdiag.domain.run_names import NO_NAME, is_numbered, is_run_name
from ncdiag.domain.words import nearest
from ncdiag.errors import DataError, SpecError
from ncdiag.files.compressed import ENDING, bare_name, read_whole
from ncdiag.files.magic import looks_like_database, looks_packed

_FILE, _NAMES = "file", ("run", "name")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to read the files: their columns (`maps`), what to say of their runs (`sets`), and how strictly.

    `prefix` is put before the name of every run.
    """

    maps: tuple[Setting, ...] = ()
    sets: tuple[Setting, ...] = ()
    prefix: str = ""
    ignore_extra: bool = False

    def __post_init__(self) -> None:
        for setting in self.sets:
            try:
                _read_words({setting.key: setting.value})
            except ValueError as error:
                raise SpecError(f"--set {error}") from None
        if not self.ignore_extra:
            for key, to in find_misspelt(setting.key for setting in self.sets).items():
                raise SpecError(f"--set: {shown(key)} looks like {to}; if it is meant, add --ignore-extra")


def read_file(
    label: str, content: bytes, settings: Settings, *, name: str | None = None, manifest: Path | None = None
) -> tuple[list[ImportedRun], list[str]]:
    """Give the runs of one file, and notes on what was left out or could not be told.

    A file with a column `run` may hold several runs; `name` names the only run of a file. The rows of `manifest`
    describe the runs that they name in their column `run` or `name`. Raises `DataError` for a file that cannot be
    read in full, `SpecError` for settings that do not fit it.
    """
    findings = Findings()
    found = _read_content(findings, settings, label, content)
    rows = {} if manifest is None else _rows_by_name(findings, settings, manifest)
    findings.check(ignore_extra=settings.ignore_extra)
    if name is not None and len(found) > 1:
        raise SpecError(f"--name names one run, but {bare(label)} holds {len(found)}; leave --name out")
    runs: dict[str, ImportedRun] = {}
    for in_file, records in found.items():
        own_name = name or in_file or _stem(label)
        if not is_run_name(own_name):
            raise SpecError(f"{shown(own_name)} {NO_NAME}\ngive the run a name with --name")
        row = rows.get(in_file or own_name)
        if manifest is not None and row is None:
            hint = nearest(own_name, map(bare, rows))
            raise SpecError(f"{bare(manifest.name)} has no row for run {shown(in_file or own_name)}{hint}")
        cells = {} if row is None else row.cells
        runs[own_name] = _make_run(findings, settings, [label, own_name], cells, records)
    _check_patterns(settings, [label, _stem(label)], list(runs))
    return list(runs.values()), findings.notes()


def read_manifest(manifest: Path, settings: Settings) -> tuple[list[ImportedRun], list[str]]:
    """Give the runs of all files that a manifest lists, and notes on what was left out or could not be told.

    Each row names a file relative to the manifest in the column `file`; its other columns describe the run. The
    run is called as the column `run` or `name` says, else as the file itself says, else like the file. Raises as
    `read_file` does.
    """
    findings = Findings()
    runs: dict[str, ImportedRun] = {}
    labels: dict[str, None] = {}
    rows = _read_manifest_rows(findings, settings, manifest, (_FILE,))
    if not (rows or findings.faults):
        findings.fault(manifest.name, 1, "a header and no rows")
    for row in rows:
        label = row.cells.get(_FILE)
        if label is None or label in labels:
            findings.fault(manifest.name, row.line, f"file {shown(label)} twice" if label else "no file")
            continue
        labels[label] = None
        try:
            for own_name, run in _read_listed(findings, settings, manifest.parent / label, row, label):
                if own_name in runs:
                    raise ValueError(f"run {shown(own_name)} twice")
                runs[own_name] = run
        except ValueError as error:
            findings.fault(manifest.name, row.line, str(error))
    findings.check(ignore_extra=settings.ignore_extra)
    _check_patterns(settings, [*labels, *map(_stem, labels)], list(runs))
    return list(runs.values()), findings.notes()


def _read_listed(
    findings: Findings, settings: Settings, path: Path, row: Row, label: str
) -> Iterator[tuple[str, ImportedRun]]:
    """Give the runs of one file of a manifest; the `ValueError` says what is wrong with the manifest's row."""
    try:
        content = read_whole(path)
    except OSError as error:
        raise ValueError(f"cannot read {shown(label)}: {error.strerror}") from None
    found = _read_content(findings, settings, label, content)
    given = _name_in(row)
    if given is not None and len(found) > 1:
        raise ValueError(f"one name for the {len(found)} runs of {shown(label)}")
    for in_file, records in found.items():
        own_name = given or in_file or _stem(label)
        if not is_run_name(own_name):
            raise ValueError(f"{shown(own_name)} {NO_NAME}")
        yield own_name, _make_run(findings, settings, [label, _stem(label), own_name], row.cells, records)


def _read_content(
    findings: Findings, settings: Settings, label: str, content: bytes
) -> dict[str | None, list[EpochRecord]]:
    """Read one file: its records by run; what is wrong with it goes to the findings."""
    table = _read_text(findings, label, content)
    maps = settings.maps
    columns = match_columns(table.columns, general(maps) | specific(maps, [label, _stem(label)]))
    if table.columns:
        findings.columns[label] = columns
    if columns.misspelt and not settings.ignore_extra:
        return {}  # the check of the findings will say so, and it may be what the lines are wrong about
    runs, problems = read_records(table, columns)
    findings.faults.extend((label, problem) for problem in problems)
    return runs


def _stem(label: str) -> str:
    """Give what a file is called without what says how it is written: `log` for `runs/log.csv.gz`."""
    return Path(bare_name(label)).stem


def _read_text(findings: Findings, label: str, content: bytes) -> Table:
    try:
        return read_table(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        if looks_like_database(content):
            what = "this is a database; `ncdiag store merge` takes in the runs of another store"
        elif looks_packed(content):
            what = f"this is packed by gzip; unpack it, or give the file a name that ends in {ENDING}"
        findings.fault(label, line, what)
        return Table(columns=(), rows=[], problems=[])


def _read_manifest_rows(findings: Findings, settings: Settings, manifest: Path, needed: Sequence[str]) -> list[Row]:
    """Read a manifest that has one of the needed columns."""
    try:
        content = read_whole(manifest)
    except OSError as error:
        raise DataError(f"cannot read the manifest {shown(str(manifest))}: {error.strerror}") from None
    table = _read_text(findings, manifest.name, content)
    findings.faults.extend((manifest.name, problem) for problem in table.problems)
    if table.columns and not any(column in table.columns for column in needed):
        found = ", ".join(map(shown, table.columns[:12]))
        findings.fault(manifest.name, 1, f"no column {' or '.join(needed)} among {found}")
        return []
    misspelt = {} if settings.ignore_extra else find_misspelt(table.columns, (_FILE, *_NAMES))
    for name, to in misspelt.items():
        findings.fault(manifest.name, 1, f"column {shown(name)} looks like {to}; if it is meant, add --ignore-extra")
    return table.rows


def _rows_by_name(findings: Findings, settings: Settings, manifest: Path) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for row in _read_manifest_rows(findings, settings, manifest, _NAMES):
        name = _name_in(row)
        if name is None or name in rows:
            findings.fault(manifest.name, row.line, f"run {shown(name)} twice" if name else "no name of a run")
        else:
            _try_description(findings, manifest, row)
            rows[name] = row
    return rows


def _try_description(findings: Findings, manifest: Path, row: Row) -> None:
    try:
        _read_words(_own_words(row.cells))
    except ValueError as error:
        findings.fault(manifest.name, row.line, str(error))


def _name_in(row: Row) -> str | None:
    return next((name for column in _NAMES if (name := row.cells.get(column))), None)


def _own_words(cells: Mapping[str, str | None]) -> dict[str, str]:
    """Give what a manifest's row says of the run itself; one of `ncdiag export runs` says more in its configuration."""
    said = {key: text for key, text in cells.items() if text is not None and key not in (_FILE, *_NAMES)}
    if not cells.keys() >= EXPORTED:
        return said
    return own_export(said) | {key: said[key] for key in END if key in said}


def _read_words(words: Mapping[str, str]) -> tuple[dict[str, Any], RunStatus, str | None]:
    """Give what was said of a run, and how it ended; an empty value says nothing. Raises `ValueError`."""
    said = {key: text for key, text in words.items() if text}
    return read_description({key: text for key, text in said.items() if key not in END}), *find_end(said)


def _make_run(
    findings: Findings,
    settings: Settings,
    names: Sequence[str],
    cells: Mapping[str, str | None],
    records: list[EpochRecord],
) -> ImportedRun:
    """Put together a run, the first of whose `names` is its file and the last its own; `cells` are of its manifest.

    What was said last and most specifically counts. A run of our own export stays the run it was, unless the settings
    make another of it. The store will name one called run-7, a name that it keeps; its source still says it.
    """
    label, own_name = names[0], names[-1]
    words = general(settings.sets) | _own_words(cells) | specific(settings.sets, names)
    said, status, reason = _read_words(words)
    findings.describe(label, said)
    plan = phase_plan(said)
    phased = all(record.phase is not None for record in records)
    records = with_phases(records, plan)
    if any(record.phase is None for record in records):
        findings.unphased.append(own_name)
    if records[0].epoch == 0:
        findings.from_zero.append(own_name)
    numbered = is_numbered(settings.prefix + own_name)
    return ImportedRun(
        name=None if numbered else settings.prefix + own_name,
        config={"phases": plan.text() if phased else None, **said},  # what was said of the phases itself comes first
        epochs=tuple(records),
        source=f"{label} ({own_name})" if numbered else label,
        spec=None if settings.maps or settings.sets else find_identity(cells, records),
        status=status,
        reason=reason,
    )


def _check_patterns(settings: Settings, files: Sequence[str], runs: Sequence[str]) -> None:
    check_all_fit(settings.maps, files, "--map")
    check_all_fit(settings.sets, [*files, *runs], "--set")
