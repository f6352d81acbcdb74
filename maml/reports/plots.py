"""Figures, as matplotlib `Figure`s that touch no global state; colours that the colour-blind can
tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from maml.data.tasks import TaskBatch

if TYPE_CHECKING:
    from maml.data.pictures import Pictures
    from maml.reports.cost import Curve

TRAINING, VALIDATION, WRONG = (
    "#0072B2",
    "#E69F00",
    "#D55E00",
)  # blue, orange, vermilion of Okabe & Ito
COLOURS = (  # and grey
    *(TRAINING, VALIDATION, "#009E73", "#CC79A7", "#56B4E9", WRONG, "#F0E442", "#000000"),
    "#999999",
)
MARKS = "osD^v"
CELL = (1.1, 1.2)  # inches of an image in a grid, with its title
FEWEST_TO_SMOOTH = 5  # points
DPI = 120  # of figures in files


def as_png(figure: Figure) -> Callable[[BinaryIO], None]:
    """Return what writes a figure to a file."""
    return lambda file: figure.savefig(file, format="png", dpi=DPI)


def smooth(values: Sequence[float], window: int) -> np.ndarray:
    """[n] -> [n], the mean weighted by a Hamming window of `window` (odd) values around each, of
    those that there are at the ends.
    """
    weights = np.hamming(window + 2)[1:-1]
    around = slice(window // 2, window // 2 + len(values))
    return (np.convolve(values, weights) / np.convolve(np.ones(len(values)), weights))[around]


def learning_curves(history: Sequence[dict[str, Any]], title: str) -> Figure:
    """Accuracy after the last update step, on training and validation characters, over time.

    Points are measurements, lines are smoothed. `history` is a checkpoint's: {"epoch", "part"
    ("train" or "validation"), "accuracies"} for each measurement.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for part, colour in (("train", TRAINING), ("validation", VALIDATION)):
        points = [(h["epoch"], 100 * h["accuracies"][-1]) for h in history if h["part"] == part]
        if not points:
            continue
        epochs, accuracies = zip(*points)
        if len(points) < FEWEST_TO_SMOOTH:
            axes.plot(epochs, accuracies, "o-", color=colour, label=f"{part} characters")
            continue
        window = max(1, len(points) // 20) * 2 + 1
        axes.plot(epochs, accuracies, ".", color=colour, alpha=0.3)
        label = f"{part} characters, smoothed over {window}"
        axes.plot(epochs, smooth(accuracies, window), color=colour, label=label)
    axes.set(title=title, xlabel="meta-iteration", ylabel="accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def accuracy_against_hours(methods: Mapping[str, Sequence[Curve]], title: str) -> Figure:
    """The error on validation tasks against core-hours, both on logarithmic scales.

    The runs of a method, each started from the one before, share a colour.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    marks = cycle("osD^v<>PX*")  # one more than colours, so that no two methods look alike
    for (method, curves), colour, mark in zip(methods.items(), cycle(COLOURS), marks):
        for number, curve in enumerate(curves):
            axes.plot(
                curve.hours,
                [100 * (1 - accuracy) for accuracy in curve.accuracies],
                mark + "-",
                color=colour,
                markersize=4,
                label=method if number == 0 else None,
            )
    axes.set(title=title, xlabel="core-hours, with those of earlier weights", xscale="log")
    axes.set(ylabel="error on validation tasks, %", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def characters(
    images: np.ndarray, names: Sequence[str], title: str, said: Sequence[str] = ()
) -> Figure:
    """A row of drawings for each class: images [classes, drawings, 1, H, W] (ink 1). What is `said`
    of the first of a row stands over it, in a frame.
    """
    rows, columns = images.shape[:2]
    figure, axes = _cells(rows, columns, title, beside=1.5)
    for row, (name, text) in enumerate(zip(names, said or [""] * rows)):
        middle = CELL[1] * (row + 1) - CELL[0] / 2
        axes.text(0, middle, name.replace("/", "\n"), fontsize=8, ha="right", va="center")
        for column, drawing in enumerate(images[row]):
            caption = "" if column else text
            _put(axes, drawing, (row, column), caption, WRONG if caption else "black")
    return figure


def episode(tasks: TaskBatch, title: str, most: int = 5, most_classes: int = 20) -> Figure:
    """The first task: a row for each class, its support in blue frames, then some of its queries.

    At most `most` queries of at most `most_classes` classes are shown.
    """
    support_x, support_y, query_x, query_y = (a[0] for a in tasks)
    labels = np.unique(support_y)
    shown, shot = labels[:most_classes], np.bincount(support_y).max()
    queries = min(most, np.bincount(query_y, minlength=1).max())
    some = "" if len(shown) == len(labels) else f"{len(shown)} of {len(labels)} classes, "
    what = "support (blue)" + (" and query" if queries else "")
    title = f"{title}: {some}{what} of each class"
    figure, axes = _cells(len(shown), shot + queries, title)
    for row, label in enumerate(shown):
        known, asked = support_x[support_y == label], query_x[query_y == label][:queries]
        for column, image in enumerate((*known, *asked)):
            colour = TRAINING if column < shot else "black"
            _put(axes, image, (row, column), f"class {label}", colour)
    return figure


def update_steps(measured: Mapping[str, np.ndarray], title: str, chance: float) -> Figure:
    """Accuracy over update steps, with the 95% interval of its mean.

    `measured` holds, by name, accuracies [tasks, steps + 1] of the same tasks.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for (name, accuracies), colour, mark in zip(measured.items(), (VALIDATION, TRAINING), "so"):
        mean, deviation = 100 * accuracies.mean(axis=0), 100 * accuracies.std(axis=0, ddof=1)
        half, steps = 1.96 * deviation / np.sqrt(len(accuracies)), np.arange(len(mean))
        axes.fill_between(steps, mean - half, mean + half, color=colour, alpha=0.25, linewidth=0)
        axes.plot(
            steps,
            mean,
            mark + "-",
            color=colour,
            label=f"{name}, {len(accuracies)} tasks, 95% interval",
        )
    axes.axhline(100 * chance, color="grey", linestyle=":", label="chance")
    axes.set(
        title=title,
        xlabel="update steps on the support",
        ylabel="accuracy on queries, %",
        ylim=(0, 102),
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def two_loops() -> Figure:
    """A sketch of MAML: theta, each task's inner loop to theta', and the outer step of theta.

    After Finn, Abbeel & Levine 2017, figure 1.
    """
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    axes.set(xlim=(-0.4, 6.6), ylim=(-1.6, 1.8))
    before, after = (0.0, 0.0), (2.6, 0.15)
    outer = {"arrowstyle": "-|>", "linewidth": 3, "color": "black", "shrinkB": 6}
    axes.annotate("", after, before, arrowprops=outer)
    axes.text(
        0.25, 0.2, "outer loop: theta moves so that\nall tasks' query losses fall", fontsize=9
    )
    for (x, y), colour, task in zip(((5.0, 1.3), (5.4, 0.1), (5.0, -1.2)), COLOURS, "123"):
        inner = {"arrowstyle": "-|>", "linewidth": 1.5, "color": colour, "linestyle": "--"}
        axes.annotate("", (x, y), after, arrowprops=inner)
        axes.plot(x, y, "o", color=colour, markersize=9)
        axes.text(x + 0.15, y - 0.08, f"theta' of task {task}", fontsize=10, color=colour)
    axes.text(2.9, -1.25, "inner loop: a few steps\non each task's support", fontsize=9)
    for (x, y), name in ((before, "theta"), (after, "theta, improved")):
        axes.plot(x, y, "o", color="black", markersize=9)
        axes.text(x - 0.1, y - 0.38, name, fontsize=11)
    return figure


def embeddings(z: np.ndarray, labels: np.ndarray, support: int, title: str) -> Figure:
    """Embeddings [N, D] of an episode, whose first `support` are the support, by their two
    principal components.
    """
    centred = z - z.mean(axis=0)
    _, spread, axes_of = np.linalg.svd(centred, full_matrices=False)
    x, y = (centred @ axes_of[:2].T).T
    share = 100 * spread[:2] ** 2 / max((spread**2).sum(), 1e-12)
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for label in np.unique(labels):
        colour, mark = COLOURS[label % len(COLOURS)], MARKS[label // len(COLOURS) % len(MARKS)]
        members = np.flatnonzero(labels == label)
        known, asked = members[members < support], members[members >= support]
        axes.scatter(x[asked], y[asked], s=25, color=colour, marker=mark, alpha=0.6)
        axes.scatter(
            x[known],
            y[known],
            s=130,
            color=colour,
            marker=mark,
            edgecolor="black",
            label=f"class {label}",
        )
    axes.set(
        title=title,
        xlabel=f"first component, {share[0]:.0f}% of the variance",
        ylabel=f"second component, {share[1]:.0f}%",
    )
    columns = 1 if len(np.unique(labels)) <= 10 else 2
    place = (1.0, 0.5)  # to the right of the axes
    axes.legend(
        title="large: support", fontsize=8, loc="center left", bbox_to_anchor=place, ncols=columns
    )
    axes.grid(alpha=0.3)
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """[H, W, 3] uint8, as VisualDL takes pictures."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3]


def told_pictures(
    support: Pictures,
    query: Pictures,
    probabilities: np.ndarray,
    refused: np.ndarray,
    most: int = 6,
) -> Figure:
    """The support, class after class, and below all queries with the predicted class.

    All are shown as the network sees them, up to `most` in a row. probabilities: [N_Q, way];
    refused: [N_Q] bool, what is none of the classes.
    """
    across = min(most, max(len(support.x), len(query.x)))
    above, below = (-(-len(pictures.x) // across) for pictures in (support, query))
    figure = Figure(
        figsize=(1.3 * across + 0.6, 1.35 * (above + below) + 0.6), layout="constrained"
    )
    figure.suptitle(
        "Your pictures as the network sees them: the support above, the queries below", fontsize=10
    )
    grid = figure.subplots(above + below, across, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    for axes, n in zip(grid[:above].ravel(), np.argsort(support.y, kind="stable")):
        _show(axes, support.x[n], support.classes[support.y[n]])
    each = zip(grid[above:].ravel(), query.x, probabilities, query.y, refused)
    for axes, image, p, label, stranger in each:
        wrong = label >= 0 and (stranger or label != p.argmax())
        said = f"{support.classes[p.argmax()]} {100 * p.max():.0f}%"
        said = "none of these" if stranger else said
        _show(axes, image, f"{said}{'  ✗' if wrong else ''}", WRONG if wrong else TRAINING)
    return figure


def _show(axes: Axes, image: np.ndarray, title: str = "", colour: str = "black") -> None:
    """A drawing [H, W] or [1, H, W] (ink 1), or a picture in colour [3, H, W], in a frame."""
    axes.axis("on")
    axes.imshow(_shown(image), cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9, color=colour)
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=1 if colour == "black" else 3)


def _cells(rows: int, columns: int, title: str, beside: float = 0.0) -> tuple[Figure, Axes]:
    """A figure for a grid of images, with `beside` inches for names on the left.

    It has one Axes, in inches from the first cell on. An Axes for each image would take ten times
    longer to draw, while a run waits.
    """
    left, above = 0.15 + beside, 0.3 + 0.15 * len(title.splitlines())
    width, height = left + CELL[0] * columns + 0.15, above + CELL[1] * rows + 0.1
    figure = Figure(figsize=(width, height))
    figure.suptitle(title, fontsize=10, y=1 - 0.1 / height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.set(xlim=(-left, width - left), ylim=(height - above, -above))
    return figure, axes


def _put(
    axes: Axes, image: np.ndarray, cell: tuple[int, int], title: str = "", colour: str = "black"
) -> None:
    """As `_show`, into a cell of `_cells`, by its row and column."""
    row, column = cell
    side = CELL[0] - 0.2
    left, bottom = CELL[0] * column + 0.1, CELL[1] * (row + 1) - 0.1
    top = bottom - side
    extent = (left, left + side, bottom, top)
    axes.imshow(_shown(image), cmap="gray", vmin=0, vmax=1, extent=extent)
    line = 1 if colour == "black" else 3
    frame = Rectangle((left, top), side, side, fill=False, edgecolor=colour, linewidth=line)
    axes.add_patch(frame)
    if title:
        axes.text(left + side / 2, top - 0.06, title, fontsize=9, color=colour, ha="center")


def _shown(image: np.ndarray) -> np.ndarray:
    """What `imshow` takes of a drawing or a picture in colour."""
    if len(image) == 3 and image.ndim == 3:
        return image.transpose(1, 2, 0)
    return 1 - image.reshape(image.shape[-2:])


def predictions(task: TaskBatch, predicted: np.ndarray, title: str, most: int = 10) -> Figure:
    """The first task's support above, one image a class, and below queries with predicted labels.

    predicted: [way * query], the label of each query. Wrong ones are marked; up to `most` queries
    are shown, class by class in turn.
    """
    support_x, support_y, query_x, query_y = (a[0] for a in task)
    classes = np.unique(support_y)[:most]
    order = np.argsort([np.sum(query_y[:n] == y) for n, y in enumerate(query_y)], kind="stable")
    shown = order[:most]
    columns = max(len(classes), len(shown))
    figure = Figure(figsize=(1.1 * columns, 3.4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    above, below = figure.subplots(2, columns, squeeze=False)
    for axes in (*above, *below):
        axes.axis("off")
    for axes, label in zip(above, classes):
        _show(axes, support_x[support_y == label][0], f"support:\nclass {label}", TRAINING)
    for axes, n in zip(below, shown):
        right = query_y[n] == predicted[n]
        text = f"class {query_y[n]}\nsaid {predicted[n]}{'' if right else '  ✗'}"
        _show(axes, query_x[n], text, "black" if right else WRONG)
    return figure
