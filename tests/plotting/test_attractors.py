import math

import numpy as np
import pytest

from ncdiag.errors import AnalysisError
from ncdiag.plotting.attractors import attractor_table, draw_attractor
from ncdiag.plotting.layout import Sheet

AT, HALF = 20, 12.0


@pytest.fixture
def runs(make_run):
    """Give two seeds with three arms each, of which the scaled ones come back with a half-life of 12 epochs."""
    t = np.arange(1, 201)
    since = np.where(t > AT, np.exp2(-(t - AT) / HALF), 0.0)
    found = {}
    for seed in (0, 1):
        control = make_run(seed=seed)
        norm = np.array(control["feature_norm"])
        found[f"control{seed}"] = control
        for arm, alpha in (("up", 3), ("down", 0.3)):
            size = math.log(alpha) * (1 + 0.1 * seed)
            scaled = (norm * np.exp(size * since)).tolist()
            found[f"{arm}{seed}"] = control | {"feature_norm": scaled, "intervention": f"{alpha}@{AT}"}
    return found


def test_the_ratio_is_that_of_the_norms(make_asked, runs):
    table = attractor_table(make_asked(runs))
    up = table[(table["run"] == "up0")].set_index("epoch")
    assert up["control"].unique().tolist() == ["control0"]
    assert up.loc[AT, "ratio"] == pytest.approx(1)
    assert up.loc[AT + 12, "ratio"] == pytest.approx(math.sqrt(3))
    assert up.loc[AT + 24, "ratio"] == pytest.approx(3**0.25)
    assert up["half_life"].iloc[0] == pytest.approx(HALF, rel=1e-3)
    assert up["end_ratio"].iloc[0] == pytest.approx(1, abs=1e-3)
    assert table.groupby("arm")["rescaled_by"].first().to_dict() == {"up": 3, "down": 0.3}
    assert up[["pairs", "pairs_returning"]].iloc[0].tolist() == [2, 2]


@pytest.mark.parametrize("width", ["column", "page", "slide"])
def test_what_is_drawn_is_the_table(make_asked, runs, width):
    table = attractor_table(make_asked(runs))
    (axes,) = draw_attractor(table, Sheet(width=width)).axes
    curves = [list(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) > 2]
    assert curves == [own["ratio"].tolist() for _, own in table.groupby("run", sort=False)]
    ends = {line.get_marker(): float(line.get_ydata()[0]) for line in axes.lines if line.get_marker() in "o^"}
    assert ends == table.groupby("arm")["end_ratio"].first().rename({"up": "o", "down": "^"}).to_dict()
    assert [text.get_text()[:24] for text in axes.texts] == ["× 3: half-life 12 epochs", "× 0.3: half-life 12 epoc"]
    assert axes.get_title(loc="left") == "mlp mnist: rescaled at epoch 20, head kept"
    assert max(axes.get_xticks()) <= table["epoch"].max() < axes.get_xlim()[1]  # the room of the bars is no time


def test_an_arm_that_does_not_return_says_so(make_asked, make_run):
    control = make_run(epochs=60)
    up = control | {"feature_norm": [3 * norm for norm in control["feature_norm"]], "intervention": "3@1", "seed": 0}
    table = attractor_table(make_asked({"control": control, "up": up}))
    assert "× 3: no return seen" in [text.get_text() for text in draw_attractor(table, Sheet()).axes[0].texts]
    assert table["end_ratio"].tolist() == pytest.approx([3] * 60)


def test_without_rescaled_runs_there_is_nothing_to_compare(make_asked, make_run):
    with pytest.raises(AnalysisError, match="no run had its features rescaled"):
        attractor_table(make_asked({"a": make_run()}))


def test_without_a_control_there_is_nothing_to_compare(make_asked, make_run):
    runs = {"up": make_run(intervention="3@20"), "down": make_run(intervention="0.3@20", seed=0)}
    with pytest.raises(AnalysisError, match="control of the same seed"):
        attractor_table(make_asked(runs))
