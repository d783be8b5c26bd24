"""What an import found in its files: lines that cannot be read, columns that nothing reads, phases nobody knows.

The first kind ends the import, with one message for all of it; the others are said, so that nothing is lost silently.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from ncdiag.domain.importing.descriptions import FIELDS
from ncdiag.domain.importing.records import Columns
from ncdiag.domain.importing.rows import Problem, bare, shown
from ncdiag.domain.shares import counted
from ncdiag.domain.words import nearest
from ncdiag.errors import DataError, SpecError

_LINES_NAMED = 5
_FILES_NAMED = 3


@dataclass(kw_only=True)
class Findings:
    """Faults by file, the columns of each file, what else says of all its runs, and runs to be said something of.

    These have rows whose phase is not known (`unphased`), or an epoch 0 (`from_zero`).
    """

    faults: list[tuple[str, Problem]] = field(default_factory=list)
    columns: dict[str, Columns] = field(default_factory=dict)
    said: dict[str, set[str]] = field(default_factory=dict)
    unphased: list[str] = field(default_factory=list)
    from_zero: list[str] = field(default_factory=list)

    def fault(self, label: str, line: int, what: str) -> None:
        """Note a line that cannot be used."""
        self.faults.append((label, Problem(line=line, what=what)))

    def describe(self, label: str, said: Collection[str]) -> None:
        """Note what a manifest or --set says of a run of a file: a column of the file by that name is no loss."""
        self.said[label] = self.said.get(label, set(said)) & set(said)

    def check(self, *, ignore_extra: bool) -> None:
        """Raise the error that the findings add up to: columns first, for they explain what is wrong with lines."""
        if not ignore_extra:
            self._check_misspelt()
        self._check_absent()
        if self.faults:
            raise DataError(_fault_message(self.faults))

    def notes(self) -> list[str]:
        """Give what the reader should know of an import that went through."""
        left_out = {
            label: tuple(name for name in columns.extra if name not in self.said.get(label, ()))
            for label, columns in self.columns.items()
        }
        extra = _by_column(left_out)
        absent = _by_column({label: columns.absent for label, columns in self.columns.items()})
        notes = [
            f"column {shown(name)} of {_files(labels)} is left out; {_way(name)}" for name, labels in extra.items()
        ]
        notes += [f"no column {shown(name)} in {_files(labels)}" for name, labels in absent.items()]
        if self.unphased:
            notes.append(
                f"rows without a phase in {_files(self.unphased, 'runs')}; "
                f"where it is known, say it: --set '{bare(self.unphased[0])}:phases=ce:200,mse'"
            )
        if self.from_zero:
            notes.append(
                f"epoch 0 of {_files(self.from_zero, 'runs')} is taken as before training; "
                "where it is the first that was trained, add 1 to the epochs of the file, and import that"
            )
        return notes

    def _check_misspelt(self) -> None:
        misspelt = {name: to for columns in self.columns.values() for name, to in columns.misspelt.items()}
        if misspelt:
            first = next(label for label, columns in self.columns.items() if columns.misspelt)
            pairs = ", ".join(f"{shown(name)} looks like {to}" for name, to in misspelt.items())
            maps = ",".join(f"{to}={bare(name)}" for name, to in misspelt.items())
            raise DataError(
                f"unknown columns in {bare(first)}: {pairs}; nothing was stored\n"
                f"read them with --map {maps}, or leave them out with --ignore-extra"
            )

    def _check_absent(self) -> None:
        absent = _by_column({label: columns.absent for label, columns in self.columns.items()})
        for name, labels in absent.items():
            if len(labels) == len(self.columns):
                others = [bare(column) for columns in self.columns.values() for column in columns.extra]
                raise SpecError(f"--map: no column {shown(name)} in {_files(labels)}{nearest(name, others)}")


def _way(name: str) -> str:
    """Say how a column that nothing reads may be read."""
    return "what a run was is said by --manifest or --set" if name in FIELDS else "see --map"


def _fault_message(faults: Sequence[tuple[str, Problem]]) -> str:
    labels = list(dict.fromkeys(label for label, _ in faults))
    in_one = len(labels) == 1
    lines = (
        f"line {problem.line}: {problem.what}" if in_one else f"{bare(label)} line {problem.line}: {problem.what}"
        for label, problem in faults[:_LINES_NAMED]
    )
    more = f"; and {len(faults) - _LINES_NAMED} more" if len(faults) > _LINES_NAMED else ""
    return (
        f"{counted(len(faults), 'line')} of {_files(labels)} cannot be imported; nothing was stored\n"
        f"{'; '.join(lines)}{more}\n"
        "correct the file and import it again"
    )


def _by_column(columns: dict[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Turn the columns of each file into the files of each column."""
    names = dict.fromkeys(name for of_file in columns.values() for name in of_file)
    return {name: [label for label, of_file in columns.items() if name in of_file] for name in names}


def _files(labels: Iterable[str], things: str = "files") -> str:
    named = [bare(label) for label in labels]
    more = f" and {len(named) - _FILES_NAMED} more {things}" if len(named) > _FILES_NAMED else ""
    return ", ".join(named[:_FILES_NAMED]) + more
