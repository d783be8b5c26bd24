"""Named sets of training options: what `--preset NAME` stands for, as one would type it."""

from collections.abc import Mapping
from dataclasses import dataclass

from ncdiag.domain.words import nearest
from ncdiag.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A preset: a sentence on what it is for, and the options it stands for."""

    purpose: str
    options: Mapping[str, str | bool | list[str]]


_QUICK: Mapping[str, str | bool | list[str]] = {
    "arch": "mlp",
    "depth": "5",
    "width": "128",
    "dataset": "digits",
    "phases": ["ce:10", "mse:110"],
    "lr": "8e-3",
    "weight_decay": "1.5e-4",
    "batch_size": "32",
}
# The published factors, at the switch of the loss. Runs of one seed share every bit up to there: weights and the order
# of the images depend on seed and epoch alone. Training them from the start is the same as branching them.
_BRANCHES: Mapping[str, str | bool | list[str]] = {"seed": "0:5", "scale_features": "none,0.3@10,3@10"}

PRESETS = {
    "quickstart": Preset(
        purpose="see collapse in a minute: 3 weight decays x 3 seeds of an MLP on digits",
        options={**_QUICK, "weight_decay": "1e-4,1.5e-4,2e-4", "seed": "0:3"},
    ),
    "intervention": Preset(
        purpose="do rescaled features come back? x 0.3, x 1 and x 3 from one checkpoint for each of 5 seeds, on digits",
        options={**_QUICK, **_BRANCHES},
    ),
    "intervention-compensated": Preset(
        purpose="the same with the head divided by the factor, so that the logits stay as they are",
        options={**_QUICK, **_BRANCHES, "compensate_head": True},
    ),
}


def find_preset(name: str) -> Preset:
    """Give the preset of a name. Raises `SpecError` that lists them for an unknown one."""
    if name not in PRESETS:
        listed = "\n".join(f"  {known}: {preset.purpose}" for known, preset in PRESETS.items())
        raise SpecError(f"preset {name!r} is not known{nearest(name, PRESETS)}; there is\n{listed}")
    return PRESETS[name]
