"""The settings of a run that have no column, as one text: all that was said of it besides, but for remarks.

A run that ncdiag trained has one, the precision of its products, where that is not float32.
"""

import re
from collections.abc import Mapping
from typing import Any

from ncdiag.domain.records import IMPORT_FIELDS
from ncdiag.domain.spec import is_canonical

# What tells nothing of how the weights came about: remarks, and how often a run was looked at.
REMARKS = (
    *("note", "notes", "comment", "comments", "tags", "host", "user", "date", "url", "commit"),
    *("log_every", "eval_every", "metric_samples", "test_samples"),
    *("key", "run_id", "source", "seconds", "epochs_done", "created_at", "started_at", "finished_at"),
)
_PLAN = re.compile(r"phase[1-9]_(loss|epochs)")  # how a manifest may say `phases`


def other_settings(config: Mapping[str, Any]) -> str | None:
    """Give them as `grad_accum=2, label_smoothing=0.1`, by name; None where there are none."""
    if is_canonical(config):
        return f"precision={config['precision']}" if config.get("precision", "float32") != "float32" else None
    own = (
        f"{name}={_spoken(config[name])}"
        for name in sorted(config)
        if name not in IMPORT_FIELDS and name.lower() not in REMARKS and not _PLAN.fullmatch(name)
    )
    return ", ".join(own) or None


def _spoken(value: Any) -> str:
    """Give a value as a text; 2 and 2.0 are one number."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
