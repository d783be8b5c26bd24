"""ncdiag measures neural collapse while a network trains, and says what the runs do and do not show.

For a network of your own: `measure` it, or `track` a run of it, which `ncdiag predict` then forecasts while it trains.
In a notebook: `read_runs`, `read_epochs`, `read_onsets`, `analyze` and `predict` give what the commands print.
All are loaded when they are first used, so the command line starts without torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "TrackedRun",
    "analyze",
    "measure",
    "measure_features",
    "predict",
    "read_epochs",
    "read_onsets",
    "read_runs",
    "track",
]

# Where they live, and under which name; `__init__.pyi` says the same to type checkers.
_PUBLIC = {
    "TrackedRun": ("ncdiag.execution.tracking", "TrackedRun"),
    "analyze": ("ncdiag.analysis.notebook", "analyze"),
    "measure": ("ncdiag.training.hooked", "measure_model"),
    "measure_features": ("ncdiag.domain.features", "measure_features"),
    "predict": ("ncdiag.analysis.notebook", "predict"),
    "read_epochs": ("ncdiag.analysis.notebook", "read_epochs"),
    "read_onsets": ("ncdiag.analysis.notebook", "read_onsets"),
    "read_runs": ("ncdiag.analysis.notebook", "read_runs"),
    "track": ("ncdiag.execution.tracking", "track"),
}


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ncdiag' has no attribute {name!r}")
    module, member = _PUBLIC[name]
    return getattr(import_module(module), member)
