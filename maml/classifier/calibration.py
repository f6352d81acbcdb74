"""What scores are worth: temperature scaling, calibration error, and telling strangers apart."""

from __future__ import annotations

import numpy as np

LEVELS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
"""shares of members; `quantiles` says below which nearness they lie"""
BINS = 15  # of confidences (Guo et al. 2017)
GOLDEN = (5**0.5 - 1) / 2


def softmax(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return probabilities [..., way] of scores [..., way] that are divided by a temperature."""
    z = scores / temperature
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def fit_temperature(scores: np.ndarray, y: np.ndarray) -> float:
    """Return the temperature of the highest likelihood (Guo et al. 2017, section 4.2).

    Args:
        scores (ndarray): [N, way].
        y (ndarray): the right classes, [N] int.

    Returns:
        float: 1/1000 to 1000, by golden-section search over its logarithm.

    Example:
        >>> import numpy as np
        >>> scores = 8 * np.eye(2)[[0] * 9 + [1]]  # sure of itself, and wrong once in ten times
        >>> round(fit_temperature(scores, np.zeros(10, int)), 2)  # 8 / log(9)
        3.64
    """

    def loss(t: float) -> float:
        z = scores / np.exp(t)
        z = z - z.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]))

    low, high = np.log(1e-3), np.log(1e3)
    while high - low > 1e-4:
        a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return float(np.exp((low + high) / 2))


def calibration_error(p: np.ndarray, y: np.ndarray) -> float:
    """Return the expected calibration error, 0 to 1 (Guo et al. 2017, eq. 3).

    It is the mean distance between confidence and accuracy, over bins of equal confidence.

    Args:
        p (ndarray): probabilities, [N, way].
        y (ndarray): the right classes, [N] int.

    Example:
        >>> import numpy as np
        >>> p = np.array([[0.9, 0.1]] * 4)
        >>> round(calibration_error(p, np.array([0, 0, 0, 1])), 3)  # |0.9 - 3/4|
        0.15
    """
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs((confidence - right)[bin_of == k].sum()) for k in range(BINS)]
    return float(sum(gaps) / len(y))


def area_under_curve(members: np.ndarray, strangers: np.ndarray) -> float:
    """Return the share of pairs in which the member has the higher value; ties count half.

    This is the area under the curve of the receiver operating characteristic.

    Example:
        >>> import numpy as np
        >>> area_under_curve(np.array([0.9, 0.5]), np.array([0.1, 0.5]))
        0.875
    """
    ordered = np.sort(strangers)
    below = np.searchsorted(ordered, members, "left")
    equal = np.searchsorted(ordered, members, "right") - below
    return float((below + equal / 2).mean() / len(ordered))


def quantiles(nearness: np.ndarray) -> list[float]:
    """Return the nearness below which LEVELS of these members lie."""
    return [float(q) for q in np.quantile(nearness, LEVELS)]


def typicality(nearness: np.ndarray, of_members: list[float]) -> np.ndarray:
    """Return the share of members, 0 to 1, that are no nearer to a class.

    `of_members` are their `quantiles`. A low share speaks of a stranger.
    """
    return np.interp(nearness, of_members, LEVELS)
