"""Streaming sums over the features, in two stages, and how partial sums combine.

Neural collapse compares the spread of the features inside their classes with the distances between the class
means. Near full collapse the first is a millionth of the second or less, and a sum of squares about any other
point than the class mean loses it to rounding: E|h|^2 - |mu|^2 in float32 comes out negative. So there are two
stages, each a sum over batches that does not depend on how the samples were split or ordered.

1. `ClassMoments` hold, per class, how many samples there are, their mean, and the squares about that mean.
   Two of them combine with the update of Chan, Golub and LeVeque (1983), which never subtracts large numbers.
2. `between_directions` finds the at most K - 1 directions in which the class means differ. `Projections` then sum
   what the samples do along these directions. Every d x d matrix of the textbook (Sw, Sb, its pseudo-inverse)
   is only ever needed there, so none is formed: the cost is O(N d K).

N counts samples, K classes, d features and r directions. mu_G, the global mean, is the mean over samples.
"""

from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

# A float64 array of numpy or torch. The merges below use operators that both have, so that one piece of
# arithmetic serves batches, devices and processes.
Array: TypeAlias = Any
Floats: TypeAlias = NDArray[np.float64]

DOUBLE, SINGLE = float(np.finfo(np.float64).eps), float(np.finfo(np.float32).eps)  # 2.2e-16, 1.2e-7


@dataclass(frozen=True, kw_only=True)
class ClassMoments:
    """What a set of samples leaves behind, class by class; leading axes such as one for runs are allowed.

    A class without samples has count 0 and zeros elsewhere.
    """

    count: Array  # [..., K], samples
    mean: Array  # [..., K, d], mu_c
    scatter: Array  # [..., K], sum of |h - mu_c|^2 over the samples of the class
    norm: Array  # [..., K], sum of |h|, uncentred

    def merge(self, other: Self) -> Self:
        """Give the moments of both sets together, as if they had been one; exact up to float64 rounding.

        Source: Chan, Golub and LeVeque, The American Statistician 37 (1983), the pairwise update.
        """
        count = self.count + other.count
        share = other.count / (count + (count == 0))  # a class that neither has seen keeps its zeros
        step = other.mean - self.mean
        return type(self)(
            count=count,
            mean=self.mean + share[..., None] * step,
            scatter=self.scatter + other.scatter + self.count * share * (step * step).sum(-1),
            norm=self.norm + other.norm,
        )


@np.errstate(over="ignore", invalid="ignore")
def class_moments(features: ArrayLike, labels: ArrayLike, num_classes: int) -> ClassMoments:
    """Compute the moments of one batch: features [N, d], labels [N] in 0..num_classes-1.

    Each class is first shifted by one of its own samples, so equal features give a scatter of exactly 0. Features
    that are not finite make the moments of their class NaN.
    """
    features = np.asarray(features, dtype=np.float64)
    labels = np.asarray(labels)
    count, scatter, norm = np.zeros((3, num_classes))
    mean = np.zeros((num_classes, features.shape[1]))
    for c in np.unique(labels):
        members = features[labels == c]
        count[c] = len(members)
        mean[c] = members[0] + (members - members[0]).mean(axis=0)
        scatter[c] = ((members - mean[c]) ** 2).sum()
        norm[c] = np.linalg.norm(members, axis=1).sum()
    return ClassMoments(count=count, mean=mean, scatter=scatter, norm=norm)


@np.errstate(invalid="ignore")  # a mean that is infinite is nowhere from the others
def centred_means(moments: ClassMoments) -> Floats:
    """Give the rows m_c = mu_c - mu_G, [K, d]; the row of a class without samples is NaN.

    mu_G is the mean over samples, as in the published logs: sum_c n_c m_c = 0, and with unequal classes the plain
    sum of the rows is not 0.
    """
    means = np.where(moments.count[:, None] > 0, moments.mean, np.nan)
    # Distances from a class mean rather than from the origin: equal class means then give exactly 0.
    anchor = moments.mean[moments.count.argmax()]
    centred: Floats = (means - anchor) - (moments.count / moments.count.sum()) @ (moments.mean - anchor)
    return centred


@dataclass(frozen=True, kw_only=True)
class Directions:
    """The directions in which the class means differ: Sb = (1/K) sum_c m_c m_c^T = Q diag(eigenvalues) Q^T."""

    eigenvalues: Floats  # [r], falling
    vectors: Floats  # [d, r], the orthonormal columns q_j of Q
    coordinates: Floats  # [K, r], m_c . q_j


def between_directions(moments: ClassMoments, resolution: float) -> Directions:
    """Find the directions of the class means, at most min(K - 1, d); NaN if a class is empty or a mean not finite.

    They come from the singular values of the K x d matrix of the rows m_c in float64: the eigenvectors of its
    K x K Gram matrix are the same, but squaring would lose every direction below 5e-8 of the largest.
    A direction is dropped when its singular value is at most max(K, d) * 2.2e-16 * norm(class means, uncentred):
    the means were rounded at that size before they were centred, so below it there is nothing but rounding. So it is
    at most `resolution` * the same norm, where the features themselves were rounded: in one that is kept by mistake the
    spread within classes is divided by a number that means nothing, and `nc1_pinv` is of any size.
    """
    means = centred_means(moments)
    num_classes, dim = means.shape
    if not np.isfinite(means).all():
        return Directions(
            eigenvalues=np.full(1, np.nan),
            vectors=np.full((dim, 1), np.nan),
            coordinates=np.full((num_classes, 1), np.nan),
        )
    left, singular, right = np.linalg.svd(means, full_matrices=False)
    noise = max(max(means.shape) * DOUBLE, resolution) * np.linalg.norm(moments.mean)
    rank = min(int((singular > noise).sum()), num_classes - 1)
    singular = singular[:rank]
    return Directions(
        eigenvalues=singular**2 / num_classes, vectors=right[:rank].T, coordinates=left[:, :rank] * singular
    )


@dataclass(frozen=True, kw_only=True)
class Projections:
    """What a set of samples does along the directions of the class means; all three simply add up."""

    count: int  # samples
    spread: Array  # [r], sum of ((h_i - mu_{y_i}) . q_j)^2
    agree: Array  # samples whose predicted class is that of the nearest class mean

    def merge(self, other: Self) -> Self:
        """Give the projections of both sets together."""
        return type(self)(
            count=self.count + other.count, spread=self.spread + other.spread, agree=self.agree + other.agree
        )


def tally(deviations: Array, labels: Array, predicted: Array, coordinates: Array) -> Projections:
    """Sum a batch that is already projected; numpy or torch.

    deviations [N, r] are (h_i - mu_{y_i}) . q_j, labels [N], predicted [N] the classes with the largest logit
    (with the bias), coordinates [K, r] as in `Directions`. The nearest class mean is found along the directions
    alone, since across them every class mean is equally far from h_i.
    """
    positions = deviations + coordinates[labels]  # (h_i - mu_G) . q_j
    closeness = positions @ coordinates.T - (coordinates * coordinates).sum(-1) / 2
    return Projections(
        count=len(labels),
        spread=(deviations * deviations).sum(0),
        agree=(closeness.argmax(-1) == predicted).sum(),
    )


@np.errstate(over="ignore", invalid="ignore")
def project(
    features: ArrayLike, labels: ArrayLike, predicted: ArrayLike, moments: ClassMoments, directions: Directions
) -> Projections:
    """Project one batch: features [N, d], labels [N], predicted [N] the classes with the largest logit.

    `moments` and `directions` are those of the whole set, not of the batch.
    """
    labels = np.asarray(labels)
    deviations = (np.asarray(features, dtype=np.float64) - moments.mean[labels]) @ directions.vectors
    return tally(deviations, labels, np.asarray(predicted), directions.coordinates)
