import numpy as np
import pytest
from matplotlib.colors import to_hex

from maml.data.pictures import Pictures
from maml.data.tasks import Picks, TaskBatch, TaskIndices
from maml.reports import figures, plots


def test_smooth_keeps_constants_and_averages_neighbours():
    assert np.allclose(plots.smooth([3.0] * 9, 5), 3)
    assert len(plots.smooth([1.0, 2.0], 5)) == 2
    weights = np.hamming(5)[1:-1]
    assert plots.smooth([0.0, 0.0, 1.0, 0.0, 0.0], 3)[1:4] == pytest.approx(weights / weights.sum())


def test_learning_curves_have_titles_units_and_a_line_for_each_part():
    history = [
        {"epoch": e, "part": part, "accuracies": [0.2, e / 100]}
        for e in range(1, 60)
        for part in ("train", "validation")
    ]
    (axes,) = plots.learning_curves(history, "title").axes
    assert (
        axes.get_title() == "title"
        and "%" in axes.get_ylabel()
        and axes.get_xlabel() == "meta-iteration"
    )
    assert len(axes.lines) == 4 and len(axes.get_legend().get_texts()) == 2
    assert axes.lines[0].get_ydata()[-1] == pytest.approx(59)


def asked(row, drawing):
    """Tasks whose queries are these drawings, [tasks, N] each; of the support nothing is used."""
    nothing = np.zeros_like(row)
    query = Picks(row, drawing, nothing, nothing, nothing)
    return TaskIndices(query, query)


def test_the_hardest_drawings_stand_first_each_beside_others_of_its_character():
    images = np.zeros((3, 4, 1, 28, 28), np.uint8)
    for number in range(12):
        images[number // 4, number % 4, 0, 0, 0] = 10 * number
    numbers = np.array([[0, 5, 7, 11], [0, 5, 7, 11], [0, 5, 7, 2]])
    tasks = asked(*np.divmod(numbers, 4))
    correct = np.array([[1, 0, 1, 1], [1, 0, 0, 1], [1, 0, 1, 0]], np.float32)
    names = ["A/1", "A/2", "B/1"]
    figure = figures.of_hardest("maml", images, names, tasks, correct, most=2, others=3)
    assert figure.get_suptitle().startswith(
        "maml: 2 of 5 drawings are behind 80% of the errors in 3 tasks"
    )
    figure = figures.of_hardest("maml", images, names, tasks, correct)
    (axes,) = figure.axes
    drawn = [round(255 * (1 - float(image.get_array()[0, 0]))) // 10 for image in axes.images]
    assert drawn == [5, 6, 7, 4, 2, 3, 0, 1, 7, 4, 5, 6]  # wrong three times, once, once
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["A\n2", "wrong 100%", "A\n1", "wrong 100%", "A\n2", "wrong 33%"]


def test_predictions_mark_the_wrong_ones():
    images, labels = np.zeros((1, 3, 1, 28, 28)), np.array([[0, 1, 2]])
    task = TaskBatch(images, labels, images, labels)
    axes = plots.predictions(task, np.array([0, 2, 2]), "title").axes
    wrong = [a.get_title() for a in axes if "✗" in a.get_title()]
    assert len(wrong) == 1 and "1" in wrong[0] and "2" in wrong[0]


def test_an_episode_shows_support_and_queries_of_each_class(rng):
    x, y = rng.random((2, 6, 1, 8, 8)), np.tile([0, 1, 2, 0, 1, 2], (2, 1))
    figure = plots.episode(TaskBatch(x, y, x, y), "a task", most=1)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == [
        f"class {k}" for k in (0, 0, 0, 1, 1, 1, 2, 2, 2)
    ]
    shown = [image.get_array() for image in axes.images]
    numbers = [0, 3, 0, 1, 4, 1, 2, 5, 2]  # both of the support, and the first query
    assert all(np.allclose(a, 1 - x[0, n, 0]) for a, n in zip(shown, numbers, strict=True))
    frames = [to_hex(frame.get_edgecolor()).upper() for frame in axes.patches]
    assert frames == [plots.TRAINING, plots.TRAINING, "#000000"] * 3
    assert "a task" in figure.get_suptitle() and "support (blue) and query" in figure.get_suptitle()
    few = plots.episode(TaskBatch(x, y, x, y), "a task", most_classes=2)
    assert "2 of 3 classes" in few.get_suptitle()


def test_all_own_pictures_are_shown_in_up_to_six_columns():
    """The wrong ones are marked, and the support takes no more room than it needs."""

    def some(count, labels):
        x = np.zeros((count, 1, 28, 28), np.float32)
        return Pictures(["a", "b"], [], x, np.array(labels), [], [])

    support, query = some(8, [0] * 7 + [1]), some(16, [0] * 15 + [1])
    probabilities = np.tile([0.9, 0.1], (16, 1))
    refused = np.arange(16) == 1
    figure = plots.told_pictures(support, query, probabilities, refused)
    shown = [axes for axes in figure.axes if axes.images]
    titles = [axes.get_title() for axes in shown]
    assert titles[:8] == ["a"] * 7 + ["b"]
    assert titles[8:] == ["a 90%", "none of these  ✗", *["a 90%"] * 13, "a 90%  ✗"]
    columns = {axes.get_subplotspec().colspan.start for axes in shown}
    rows = {axes.get_subplotspec().rowspan.start for axes in shown}
    assert columns == set(range(6)) and rows == set(range(5))
    few = plots.told_pictures(some(2, [0, 1]), some(1, [-1]), probabilities[:1], refused[:1])
    assert len(few.axes) == 4 and "✗" not in few.axes[2].get_title()
