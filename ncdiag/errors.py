"""Every error that ncdiag raises on purpose, and the exit code that the command line gives it.

A message holds what was found, what was expected and what to do next, in at most three lines. Anything
that is not an `NCDiagError` is a bug and ends with exit code 1.
"""


class NCDiagError(Exception):
    """Base of the errors that a user can act on."""

    exit_code = 2


class SpecError(NCDiagError):
    """A configuration that cannot be run: an unknown name, a number out of range, a contradiction."""


class OutOfMemoryError(NCDiagError):
    """What was asked for needs more memory than there is."""


class DataError(NCDiagError):
    """Data that was found but cannot be used: a bad label, an empty class, a pixel that is NaN."""


class AnalysisError(NCDiagError):
    """A question that the stored runs cannot answer as it was put."""


class StoreError(NCDiagError):
    """The store cannot be opened, read or written."""

    exit_code = 3


class UnknownRunError(NCDiagError):
    """No run has the name that was asked for."""

    exit_code = 4


class SweepFailedError(NCDiagError):
    """A sweep ran to its end, but some of its points failed or diverged."""

    exit_code = 5


class UnsafeError(NCDiagError):
    """Refused, because going on could destroy or falsify a result."""

    exit_code = 6


class UnavailableError(NCDiagError):
    """Something optional is missing: a data set that is not on this machine, a package not installed."""

    exit_code = 7


class DivergedError(NCDiagError):
    """The loss or the weights became NaN or infinite."""

    exit_code = 8
