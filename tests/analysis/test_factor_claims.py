"""The claim about a grid, from the runs of its cells to its verdict."""

import math

import pytest

from ncdiag.analysis.additivity import additivity_results
from ncdiag.analysis.evidence import judge_all
from ncdiag.analysis.factor_claims import not_additive
from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.terms import Terms
from ncdiag.domain.onset_rule import OnsetRule

ARCHS, DATASETS = ("mlp", "resnet20", "cnn"), ("mnist", "cifar10", "digits")


def grid_claim(make_frames, make_run, norms, noise):
    """Three runs per cell about its norm, the middle one; `noise` may be that of each column."""
    noises = noise if isinstance(noise, list) else [noise] * len(norms[0])
    runs = {
        f"{r}{c}{i}": make_run(
            20.0 + i + r / 10 + c / 100, norm=norm * math.exp(i * noises[c]), arch=ARCHS[r], dataset=DATASETS[c]
        )
        for r, line in enumerate(norms)
        for c, norm in enumerate(line)
        for i in (-1, 0, 1)
    }
    results = additivity_results(onset_table(*make_frames(runs), OnsetRule()), Terms())
    (evidence,) = not_additive({"additivity": results}, 0.05)
    (judged,) = judge_all([evidence], 0.05)
    return evidence, judged, {result.quantity: result for result in results}


@pytest.mark.parametrize(
    ("norms", "noise", "verdict", "says"),
    [
        ([[1.0, 1.0], [5.58, 1.68]], 0.03, "supported", "fn* neither adds nor multiplies"),
        ([[1.0, 2.0], [3.0, 4.0]], 0.1, "inconclusive", "that fn* is no sum is not shown ("),
        ([[1.0, 2.0], [3.0, 6.0]], 0.1, "inconclusive", "fn* is no sum; that it is no product is not shown ("),
        ([[1.0, 2.0], [3.0, 6.0]], 0.01, "refuted", "a factor per row times a factor per column fits to within 8%"),
        ([[1.0, 1.0], [1.0, 1.0]], 0.01, "refuted", "a factor per row times a factor per column fits to within 8%"),
        # the ratio of the first two columns is within 8 % for certain, that of the third may be anything
        ([[1.0, 2.0, 4.0], [3.0, 6.0, 12.0]], [0.01, 0.01, 0.3], "inconclusive", "that it is no product is not shown"),
    ],
)
def test_a_grid_supports_refutes_or_leaves_open(make_frames, make_run, norms, noise, verdict, says):
    evidence, judged, named = grid_claim(make_frames, make_run, norms, noise)
    assert judged.verdict == verdict
    assert says in judged.reason
    assert judged.family == 1
    assert evidence.p == pytest.approx(max(named["verdict"].extra["p_raw"], named["verdict"].extra["p_log"]))


def test_the_ratio_that_is_furthest_from_a_product_is_the_figure(make_frames, make_run):
    """Of a fourfold and a double the fourfold, whichever way; its interval is that of its own result."""
    for factor in (0.25, 4.0):
        norms = [[1.0, 1.0], [factor, 1.0], [2.0, 1.0]]
        evidence, _, _ = grid_claim(make_frames, make_run, norms, 0.02)
        assert evidence.source is not None
        assert evidence.source.estimate == pytest.approx(factor)
        assert evidence.ours == f"x{factor:.2f} ({evidence.source.lo:.2f}-{evidence.source.hi:.2f})"


def test_cells_whose_loss_nobody_said_are_named_with_what_says_it(make_frames, make_run):
    runs = {
        f"{arch}-{dataset}-{seed}": make_run(arch=arch, dataset=dataset, seed=seed, loss=loss)
        for arch, loss in (("mlp", ["mse"] * 200), ("resnet20", [None] * 200))
        for dataset in ("mnist", "cifar10")
        for seed in range(2)
    }
    results = additivity_results(onset_table(*make_frames(runs), OnsetRule()), Terms())
    (evidence,) = not_additive({"additivity": results}, 0.05)
    assert evidence.blocked[0] == (
        "the cells are read under different losses (resnet20 mnist, resnet20 cifar10 under an unknown one, which "
        "--set phases=ce:200,mse says at import)"
    )
