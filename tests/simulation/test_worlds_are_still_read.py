"""The runs that slow simulations make up have all that the analysis reads of a run: one of each is asked here.

Simulations of many minutes are seldom run, and what a run has to say of itself grows.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest


def simulation(name):
    """Load a simulation, which is no module of a package, under a name of its own."""
    spec = spec_from_file_location(f"simulation_{name}", Path(__file__).parent / f"test_{name}.py")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "ask", "quantity"),
    [
        ("attractor_holds_its_size", lambda module, rng: module.experiment(rng, 2, (0.0,), 0.02), "verdict"),
        ("lead_worlds", lambda module, rng: module.simulate("causal", 3, rng), "mae"),
    ],
)
def test_a_world_is_read(name, ask, quantity):
    found = ask(simulation(name), np.random.default_rng(0))
    assert quantity in {result.quantity for result in found if result.status == "ok"}
