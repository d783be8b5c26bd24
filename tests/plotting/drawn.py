"""What a panel shows, read back from its artists."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgba


class Drawn(NamedTuple):
    """A line: its places, its colour as #RRGGBB, its opacity, its dashes and its width."""

    x: list[float]
    y: list[float]
    color: str
    alpha: float
    dashes: Any
    width: float


def lines_of(axes: Axes) -> list[Drawn]:
    """Give the lines of a panel, alone or in a collection, in the order in which they were drawn."""
    found: list[Drawn] = []
    for artist in axes.get_children():
        if artist in axes.lines and artist.get_marker() == "None":
            color = to_rgba(artist.get_color(), artist.get_alpha())
            looks = [(*artist.get_data(), color, artist._dash_pattern, artist.get_linewidth())]
        elif isinstance(artist, LineCollection):
            parts = (
                [path.vertices for path in artist.get_paths()],
                artist.get_colors(),
                artist.get_linestyles(),
                artist.get_linewidths(),
            )
            looks = [(*np.transpose(places), *look) for places, *look in zip(*parts, strict=True)]
        else:
            continue
        found += [
            Drawn([float(v) for v in x], [float(v) for v in y], to_hex(color).upper(), float(color[3]), dashes, width)
            for x, y, color, dashes, width in looks
        ]
    return found


def curves_of(axes: Axes) -> list[Drawn]:
    """Give the lines that join more than two places."""
    return [line for line in lines_of(axes) if len(line.x) > 2]
