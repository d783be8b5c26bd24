"""The published reading of the lead, beside which the reading out of sample stands."""

from typing import Any

import numpy as np

from ncdiag.analysis.lead_data import LeadData
from ncdiag.domain.crossing import find_crossings
from ncdiag.domain.result import Result


def published_lead(data: LeadData, base: dict[str, Any]) -> list[Result]:
    """Read the lead as published: one level from the same runs, those that never cross dropped, MAE about the mean."""
    known = data.known
    level = np.log(np.exp(data.norm_logs[known]).mean())
    at = find_crossings(data.norm.curves, np.array([level]), between=False)[known, 0]
    leads = (data.onset[known] - at)[np.isfinite(at)]
    dropped = int(np.isnan(at).sum())
    extra = {"margin": 0.0, "held_out": "none", "n_crossed": len(leads), "n_never": dropped}
    without = f", without the {dropped} that had not crossed by their end, whose leads are below 0" if dropped else ""
    warnings = (f"in sample: the level and the mean lead come from the same runs{without}",)
    common = {**base, "method": "the published reading", "warnings": warnings}
    if not len(leads):
        empty: dict[str, Any] = {**common, "status": "not_testable"}
        return [Result(quantity=name, extra=extra, **empty) for name in ("lead", "mae")]
    mean = float(leads.mean())
    mae = float(np.abs(leads - mean).mean())
    return [
        Result(quantity="lead", estimate=mean, extra={**extra, "median": float(np.median(leads))}, **common),
        Result(quantity="mae", estimate=mae, extra={**extra, "baseline": "fn"}, **common),
    ]
