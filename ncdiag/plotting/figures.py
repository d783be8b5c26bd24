"""Every kind of figure: the table behind it, and how that is drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from ncdiag.analysis.asked import Asked
from ncdiag.domain.questions import FACTORS
from ncdiag.plotting.attractors import attractor_table, draw_attractor
from ncdiag.plotting.calibrations import draw_calibration, forecast_table
from ncdiag.plotting.claims import claims_table, draw_claims
from ncdiag.plotting.grids import draw_grid, grid_table
from ncdiag.plotting.layout import Sheet
from ncdiag.plotting.lead_curves import draw_leads, lead_table
from ncdiag.plotting.portrait import draw_portrait, portrait_table
from ncdiag.plotting.regularities import draw_regularity, regularity_table
from ncdiag.plotting.thresholds import draw_thresholds, threshold_table
from ncdiag.plotting.trajectories import draw_trajectories, trajectory_table


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of figure: what it shows, as the line above it begins, its table, and its drawing.

    `table` raises an `AnalysisError` where there is nothing to draw. `repeats` says that runs which repeat the
    trajectory of another are shown, too: where each run stands for itself, they are evidence of nothing. `untouched`
    says that rescaled runs have no part in it, as they have none in the answer that it draws.
    """

    shows: str
    table: Callable[[Asked], pd.DataFrame]
    draw: Callable[[pd.DataFrame, Sheet], Figure]
    repeats: bool = False
    untouched: bool = False

    def choose(self, asked: Asked) -> Asked:
        """Give the runs that figures of this kind are of, among all that were asked about."""
        return asked if self.repeats else asked.untouched if self.untouched else asked.counted


FIGURES: dict[str, Kind] = {
    "trajectory": Kind(shows="", table=trajectory_table, draw=draw_trajectories, repeats=True),
    "phase-portrait": Kind(
        shows="Feature norm against NC1 through training", table=portrait_table, draw=draw_portrait, repeats=True
    ),
    "threshold": Kind(
        shows="Feature norm at onset by pair", table=threshold_table, draw=draw_thresholds, untouched=True
    ),
    "lead": Kind(shows="Error of forecasts against their lead", table=lead_table, draw=draw_leads, untouched=True),
    "calibration": Kind(
        shows="Forecasts of the onset, and the onset", table=forecast_table, draw=draw_calibration, untouched=True
    ),
    "grid": Kind(shows="Feature norm at onset in a grid", table=grid_table, draw=draw_grid, untouched=True),
    "attractor": Kind(
        shows="Feature norm of rescaled runs over their controls", table=attractor_table, draw=draw_attractor
    ),
    **{
        name: Kind(
            shows=f"Onset, share that collapsed and fn* by {factor.replace('_', ' ')}",
            table=partial(regularity_table, factor=factor),
            draw=draw_regularity,
        )
        for name, factor in FACTORS.items()
    },
    "claims": Kind(shows="Published figures and those of these runs", table=claims_table, draw=draw_claims),
}
