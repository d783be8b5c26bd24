from ncdiag.analysis.notebook import analyze as analyze
from ncdiag.analysis.notebook import predict as predict
from ncdiag.analysis.notebook import read_epochs as read_epochs
from ncdiag.analysis.notebook import read_onsets as read_onsets
from ncdiag.analysis.notebook import read_runs as read_runs
from ncdiag.domain.features import measure_features as measure_features
from ncdiag.execution.tracking import TrackedRun as TrackedRun
from ncdiag.execution.tracking import track as track
from ncdiag.training.hooked import measure_model as measure

__version__: str
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
