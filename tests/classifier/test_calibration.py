"""What scores are worth: temperature, calibration error, area under the curve, typicality."""

import numpy as np
import pytest

from maml.classifier import calibration


def test_the_temperature_undoes_a_factor_of_the_scores(rng):
    """Of labels that are drawn by the probabilities, the temperature is that of the drawing."""
    scores = 3 * rng.standard_normal((20_000, 4))
    p = calibration.softmax(scores)
    y = (p.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    for factor in (0.2, 1, 7):
        assert calibration.fit_temperature(factor * scores, y) == pytest.approx(factor, rel=0.03)


def test_the_temperature_is_where_the_likelihood_is_highest():
    """8 / T is the logarithm of the odds, 9 right answers for a wrong one."""
    scores = 8 * np.eye(2)[[0] * 9 + [1]]
    found = calibration.fit_temperature(scores, np.zeros(10, int))
    assert found == pytest.approx(8 / np.log(9), rel=1e-3)


def test_the_calibration_error_by_hand():
    """In one bin 0.9 is said, and 3 of 4 are right; in another 0.6, and both are."""
    p = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 2)
    y = np.array([0, 0, 0, 1, 1, 1])
    assert calibration.calibration_error(p, y) == pytest.approx((4 * 0.15 + 2 * 0.4) / 6)
    assert calibration.calibration_error(np.eye(3), np.arange(3)) == 0


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order(rng):
    members, strangers = rng.integers(0, 9, 40), rng.integers(0, 7, 30)
    pairs = members[:, None] - strangers
    expected = (pairs > 0).mean() + (pairs == 0).mean() / 2
    assert calibration.area_under_curve(members, strangers) == pytest.approx(expected)
    assert calibration.area_under_curve(members + 9, strangers) == 1


def test_typicality_is_the_share_of_members_below(rng):
    members = rng.standard_normal(10_000)
    of_members = calibration.quantiles(members)
    assert len(of_members) == len(calibration.LEVELS)
    for share in (0.01, 0.05, 0.1, 0.5):
        near = np.quantile(members, share)
        assert calibration.typicality(near, of_members) == pytest.approx(share, abs=1e-6)
    found = calibration.typicality(np.array([-99, members.min(), 99]), of_members)
    assert found.tolist() == [0, 0, 1]
    assert (calibration.typicality(members, of_members) < 0.05).mean() == pytest.approx(0.05)
