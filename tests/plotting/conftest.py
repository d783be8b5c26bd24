"""What a figure is asked of: runs with onsets and norms in closed form, as the frames of the store give them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from analysis.conftest import build, make_run  # noqa: F401  # a fixture here, too

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.terms import Terms
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.store.frames import EPOCH_FRAME_COLUMNS

Runs = Mapping[str, Mapping[str, Any]]


def ask(runs: Runs, *, by: tuple[str, ...] = ("arch", "dataset"), level: float = 0.95, **rule: Any) -> Asked:
    frame, epochs = build(runs)
    frame["run_id"], frame["key"] = range(1, len(frame) + 1), frame["run"]
    epochs["run_id"] = epochs["run"].map(dict(zip(frame["run"], frame["run_id"], strict=True)))
    for column in EPOCH_FRAME_COLUMNS:
        if column not in epochs:
            epochs[column] = np.nan
    return Asked(runs=frame, epochs=epochs, terms=Terms(rule=OnsetRule(**rule), by=by, level=level))


@pytest.fixture(scope="session")
def make_asked() -> Callable[..., Asked]:
    return ask
