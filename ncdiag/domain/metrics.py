"""The metrics of neural collapse, one function each, from the sums of `ncdiag.domain.moments`.

Conventions, the same for all and stored under these names: h_i are the features before the last linear layer, of
the un-augmented training set in eval mode; mu_c are the class means; mu_G is the mean over samples; m_c = mu_c - mu_G;
w_c are the rows of the head's weight W. `means` is the matrix M [K, d] of the rows m_c (`centred_means`).

    Sw = (1/N) sum_i (h_i - mu_{y_i})(h_i - mu_{y_i})^T        Sb = (1/K) sum_c m_c m_c^T

What is undefined is NaN: 0/0, anything made of a mean that is not finite, and, as Sb and the simplex need all K
classes, everything but `feature_norm` and `weight_norm` when a class has no sample. A spread over a distance of 0
is inf. Every function needs K >= 2.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import pdist

from ncdiag.domain.moments import ClassMoments, Directions, Floats, Projections, centred_means


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """Divide as IEEE does: 0/0 is NaN and 1/0 is inf, without a warning."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient: Floats = np.divide(numerator, denominator)
    return quotient


def _cosines(left: Floats, right: Floats) -> Floats:
    """Give the cosine of each row of `left` with the same row of `right`; NaN where a row is 0."""
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.clip(_ratio((left * right).sum(axis=1), lengths), -1, 1)  # of parallel rows it is rounded to above 1


def _simplex_distance(gram: Floats) -> float:
    """Give the Frobenius distance of a K x K matrix from the simplex's (I - 11^T/K), both scaled to norm 1."""
    num_classes = len(gram)
    simplex = (np.eye(num_classes) - 1 / num_classes) / math.sqrt(num_classes - 1)
    return float(np.linalg.norm(_ratio(gram, np.linalg.norm(gram)) - simplex))


def feature_norm(moments: ClassMoments) -> float:
    """Give the mean length of a feature vector, fn = (1/N) sum_i |h_i|: uncentred, not divided by sqrt(d).

    Source: arXiv 2604.00230, whose threshold fn* is on this number. Range [0, inf).

    >>> from ncdiag.domain.moments import class_moments
    >>> feature_norm(class_moments([[3, 4], [0, 1]], [0, 1], 2))
    3.0
    """
    return float(_ratio(moments.norm.sum(), moments.count.sum()))


def feature_norm_centred(means: Floats) -> float:
    """Give the mean length of a centred class mean, (1/K) sum_c |m_c|.

    Source: `h_mnorm` of github.com/glbreeze. Range [0, inf).

    >>> feature_norm_centred(np.array([[3.0, 4.0], [-3.0, -4.0]]))
    5.0
    """
    return float(np.linalg.norm(means, axis=1).mean())


def nc1(moments: ClassMoments) -> float:
    """Give the spread inside the classes over the spread of the class means, Tr Sw / Tr Sb.

    Source: Tirer, Huang and Niles-Weed, ICML 2023 (arXiv 2210.16658); the thresholds of arXiv 2604.00230 are on
    this one. Range [0, inf]; 0 is collapse, inf when only the class means coincide, NaN when all features do.

    >>> from ncdiag.domain.moments import class_moments
    >>> nc1(class_moments([[0, 1], [0, 3], [4, 1], [4, 3]], [0, 0, 1, 1], 2))
    0.25
    """
    between = (centred_means(moments) ** 2).sum() / len(moments.count)
    return float(_ratio(moments.scatter.sum() / moments.count.sum(), between))


def nc1_pinv(moments: ClassMoments, directions: Directions, projections: Projections) -> float:
    """Give Tr(Sw Sb^+) / K, with Sb^+ the pseudo-inverse over the `nc1_rank` directions that were kept.

    It is (1/K) sum_j (spread_j / N) / lambda_j, a sum of squares and never negative. Source: Papyan, Han and
    Donoho, PNAS 117(40), 2020, Fig. 6; NC1 of Zhu et al., NeurIPS 2021 (arXiv 2105.02375). The authors' notebook
    prints K times this. Range [0, inf); 0 is collapse. Without any direction Sb^+ is 0, and the letter of
    the formula would call equal class means a perfect collapse: it is inf then, as `nc1` is, or NaN if Sw = 0 too.
    """
    if not directions.eigenvalues.size:
        return float(_ratio(moments.scatter.sum(), 0.0))
    spreads = projections.spread / projections.count / directions.eigenvalues
    return float(spreads.sum() / len(moments.count))


def nc1_rank(directions: Directions) -> float:
    """Give the number of directions in which the class means differ, the rank of Sb above the rounding of the features.

    `between_directions` states the cut. A whole number in [0, min(K - 1, d)]; below that, `nc1_pinv` leaves
    directions out.
    """
    return math.nan if np.isnan(directions.eigenvalues).any() else float(directions.eigenvalues.size)


def cdnv(moments: ClassMoments) -> float:
    """Give the class-distance normalised variance, the mean over class pairs of (v_i + v_j) / (2 |mu_i - mu_j|^2).

    v_c is the mean of |h - mu_c|^2 over class c. Source: Galanti, Gyorgy and Hutter, ICLR 2022 (arXiv 2112.15121).
    Range [0, inf]; 0 is collapse, inf when two class means coincide, NaN when two classes do so without any spread.

    >>> from ncdiag.domain.moments import class_moments
    >>> cdnv(class_moments([[0, 1], [0, 3], [4, 1], [4, 3]], [0, 0, 1, 1], 2))
    0.0625
    """
    variance = _ratio(moments.scatter, moments.count)
    first, second = np.triu_indices(len(variance), k=1)
    squared_distances = pdist(moments.mean, "sqeuclidean")
    return float(_ratio(variance[first] + variance[second], 2 * squared_distances).mean())


def nc2_equinorm(means: Floats) -> float:
    """Give the standard deviation of the lengths |m_c| over their mean.

    With K - 1 in the standard deviation (ddof = 1), as the authors' code has it; dividing by K gives 5 % less at
    K = 10. Source: Papyan, Han and Donoho, PNAS 117(40), 2020, Fig. 2. Range [0, sqrt(K)]; 0 when all class
    means are equally far from the centre, NaN when they all coincide.

    >>> round(nc2_equinorm(np.diag([1.0, 2.0, 3.0])), 12)
    0.5
    """
    lengths = np.linalg.norm(means, axis=1)
    return float(_ratio(lengths.std(ddof=1), lengths.mean()))


def nc2_equiangular(means: Floats) -> float:
    """Give the mean over class pairs of |cos(m_c, m_c') + 1/(K - 1)|.

    Source: Papyan, Han and Donoho, PNAS 117(40), 2020, Fig. 4 (maximal angle). Range [0, 1 + 1/(K - 1)]; 0 when
    every pair is as far apart as K directions can be, NaN when an m_c is 0.

    >>> round(nc2_equiangular(np.eye(10)), 12) == round(1 / 9, 12)
    True
    """
    num_classes = len(means)
    unit = _ratio(means, np.linalg.norm(means, axis=1, keepdims=True))
    excess = np.abs(unit @ unit.T + 1 / (num_classes - 1))
    return float(excess[~np.eye(num_classes, dtype=bool)].mean())


def nc2_etf(means: Floats) -> float:
    """Give the distance of the class means from a simplex, | G/|G| - (I - 11^T/K)/sqrt(K - 1) | with G = M M^T.

    All norms are Frobenius norms. Given W instead of M it is Zhu's NC2, a different number. Source: Kothapalli,
    TMLR 2023 (arXiv 2206.04041). Range [0, sqrt(2)]; 0 for a simplex of any size, NaN when all m_c are 0.

    >>> round(nc2_etf(np.eye(3) - 1 / 3), 12)
    0.0
    """
    return _simplex_distance(means @ means.T)


def nc3(means: Floats, weight: Floats) -> float:
    """Give 1 - (1/K) sum_c cos(w_c, m_c): how far the head's rows point away from the class means.

    Source: arXiv 2604.00230. Range [0, 2]; 0 when every row points along its class mean, NaN when a
    row or an m_c is 0.

    >>> nc3(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 0.0], [3.0, 0.0]]))
    0.5
    """
    return float(1 - _cosines(weight, means).mean())


def nc3_duality(means: Floats, weight: Floats) -> float:
    """Give | W M^T/|W M^T| - (I - 11^T/K)/sqrt(K - 1) |, in Frobenius norms.

    Source: NC3 of Zhu et al., NeurIPS 2021 (arXiv 2105.02375). Range [0, 2]; 0 when the head is the simplex of
    the class means, NaN when W M^T is 0. It needs the simplex too, so it can be large where `nc3` is 0.

    >>> round(nc3_duality(np.eye(3) - 1 / 3, 7 * np.eye(3)), 12)
    0.0
    """
    return _simplex_distance(weight @ means.T)


def nc4(directions: Directions, projections: Projections) -> float:
    """Give the share of samples that the head puts into another class than the nearest class mean does.

    1 - mean_i [ argmax_c (<w_c, h_i> + b_c) = argmin_c |h_i - mu_c| ], with the bias, on the training set. Source:
    Papyan, Han and Donoho, PNAS 117(40), 2020, Fig. 7. Range [0, 1]; 0 when both always agree, right or
    wrong; NaN when the class means coincide, as none is nearest.
    """
    return 1 - float(projections.agree) / projections.count if nc1_rank(directions) > 0 else math.nan


def weight_norm(weight: Floats) -> float:
    """Give the Frobenius norm of the head's weight W, without the bias: sqrt(sum_c |w_c|^2). Range [0, inf).

    >>> weight_norm(np.array([[3.0, 0.0], [0.0, 4.0]]))
    5.0
    """
    return float(np.linalg.norm(weight))


def collapse_metrics(
    moments: ClassMoments, directions: Directions, projections: Projections, weight: ArrayLike
) -> dict[str, float]:
    """Compute every metric of `ncdiag.domain.records.METRICS`, by name and in that order.

    `moments`, `directions` and `projections` are those of the whole training set, as numpy arrays; weight [K, d]
    is the head's. Its bias enters through the predicted classes in `projections`.
    """
    means = centred_means(moments)
    weight = np.asarray(weight, dtype=np.float64)
    return {
        "feature_norm": feature_norm(moments),
        "feature_norm_centred": feature_norm_centred(means),
        "nc1": nc1(moments),
        "nc1_pinv": nc1_pinv(moments, directions, projections),
        "nc1_rank": nc1_rank(directions),
        "cdnv": cdnv(moments),
        "nc2_equinorm": nc2_equinorm(means),
        "nc2_equiangular": nc2_equiangular(means),
        "nc2_etf": nc2_etf(means),
        "nc3": nc3(means, weight),
        "nc3_duality": nc3_duality(means, weight),
        "nc4": nc4(directions, projections),
        "weight_norm": weight_norm(weight),
    }
