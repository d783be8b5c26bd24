from ncdiag.domain.features import measure_features as measure_features
from ncdiag.execution.tracking import TrackedRun as TrackedRun
from ncdiag.execution.tracking import track as track
from ncdiag.training.hooked import measure_model as measure

__version__: str
__all__ = ["TrackedRun", "measure", "measure_features", "track"]
