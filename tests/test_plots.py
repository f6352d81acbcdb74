import numpy as np
import pytest

from maml import plots


def test_smooth_keeps_constants_and_averages_neighbours():
    assert np.allclose(plots.smooth([3.0] * 9, 5), 3)
    assert len(plots.smooth([1.0, 2.0], 5)) == 2
    weights = np.hamming(5)[1:-1]
    assert plots.smooth([0.0, 0.0, 1.0, 0.0, 0.0], 3)[1:4] == pytest.approx(weights / weights.sum())


def test_learning_curves_have_titles_units_and_a_line_for_each_part():
    history = [{"epoch": e, "part": part, "accuracies": [0.2, e / 100]} for e in range(1, 60) for part in ("train", "validation")]
    (axes,) = plots.learning_curves(history, "title").axes
    assert axes.get_title() == "title" and "%" in axes.get_ylabel() and "epoch" in axes.get_xlabel()
    assert len(axes.lines) == 4 and len(axes.get_legend().get_texts()) == 2
    assert axes.lines[0].get_ydata()[-1] == pytest.approx(59)


def test_predictions_mark_the_wrong_ones():
    images = np.zeros((3, 1, 28, 28))
    axes = plots.predictions(images, np.array([0, 1, 2]), np.array([0, 2, 2]), "title").axes
    assert ["✗" in a.get_title() for a in axes] == [False, True, False]
