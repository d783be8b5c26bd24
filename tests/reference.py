"""The metrics of neural collapse written down as they are defined, with no thought for speed or memory.

Float64 throughout, d x d matrices, one loop per sum. It shares no code with ncdiag, which is compared with it.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Labels = NDArray[np.integer]


def reference_metrics(
    features: Array, labels: Labels, num_classes: int, weight: Array, bias: Array
) -> dict[str, float]:
    """Every metric of a training set: features [N, d], labels [N], head weight [K, d] and bias [K]."""
    H = np.asarray(features, dtype=np.float64)
    W = np.asarray(weight, dtype=np.float64)
    b = np.asarray(bias, dtype=np.float64)
    K, N, d = num_classes, len(H), H.shape[1]
    classes = range(K)
    mu = [H[labels == c].mean(axis=0) for c in classes]
    mu_g = H.mean(axis=0)
    m = [mu[c] - mu_g for c in classes]

    Sw = np.zeros((d, d))
    for h, y in zip(H, labels, strict=True):
        Sw += np.outer(h - mu[y], h - mu[y]) / N
    Sb = sum(np.outer(m[c], m[c]) for c in classes) / K
    eigenvalues = np.linalg.eigvalsh(Sb)

    pairs = [(i, j) for i in classes for j in classes if i != j]
    variance = [np.mean([np.sum((h - mu[c]) ** 2) for h in H[labels == c]]) for c in classes]
    lengths = [np.linalg.norm(m[c]) for c in classes]
    simplex = (np.eye(K) - np.ones((K, K)) / K) / np.sqrt(K - 1)
    gram = np.array([[m[i] @ m[j] for j in classes] for i in classes])
    duality = np.array([[W[i] @ m[j] for j in classes] for i in classes])
    mismatches = [np.argmax(W @ h + b) != np.argmin([np.linalg.norm(h - mu[c]) for c in classes]) for h in H]

    return {
        "feature_norm": np.mean([np.linalg.norm(h) for h in H]),
        "feature_norm_centred": np.mean(lengths),
        "nc1": np.trace(Sw) / np.trace(Sb),
        "nc1_pinv": np.trace(Sw @ np.linalg.pinv(Sb, rcond=1e-12, hermitian=True)) / K,
        "nc1_rank": np.sum(eigenvalues > 1e-12 * eigenvalues[-1]),
        "cdnv": np.mean([(variance[i] + variance[j]) / (2 * np.sum((mu[i] - mu[j]) ** 2)) for i, j in pairs]),
        "nc2_equinorm": np.std(lengths, ddof=1) / np.mean(lengths),
        "nc2_equiangular": np.mean([abs(_cosine(m[i], m[j]) + 1 / (K - 1)) for i, j in pairs]),
        "nc2_etf": np.linalg.norm(gram / np.linalg.norm(gram) - simplex),
        "nc3": 1 - np.mean([_cosine(W[c], m[c]) for c in classes]),
        "nc3_duality": np.linalg.norm(duality / np.linalg.norm(duality) - simplex),
        "nc4": np.mean(mismatches),
        "weight_norm": np.sqrt(np.sum(W**2)),
    }


def simplex_etf(num_classes: int, dim: int, radius: float = 1.0) -> Array:
    """K centred vectors of length `radius` in d >= K dimensions with all cosines -1/(K - 1)."""
    vectors = np.zeros((num_classes, dim))
    vectors[:, :num_classes] = np.eye(num_classes) - 1 / num_classes
    return radius * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def clustered(
    rng: np.random.Generator, *, counts: list[int], dim: int, ratio: float, offset: float = 0.0
) -> tuple[Array, Labels]:
    """Shuffled Gaussian clusters with Tr Sw / Tr Sb of about `ratio`; class c has counts[c] samples.

    The class means are of length about 1 around a point whose coordinates are about `offset`.
    """
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    centres = offset + rng.normal(size=(len(counts), dim)) / np.sqrt(dim)
    noise = rng.normal(size=(len(labels), dim)) * np.sqrt(ratio / dim)
    return centres[labels] + noise, labels


def _cosine(a: Array, b: Array) -> float:
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
