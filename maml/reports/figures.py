"""The figures of a trained learner on tasks of its own: what `evaluate.py --figures` writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import paddle
from matplotlib.figure import Figure
from PIL import Image

from maml.algorithms.learner import Classifier
from maml.data.tasks import Sampler, TaskIndices
from maml.evaluation.accuracy import measure
from maml.networks.file import Builder
from maml.reports import plots
from maml.system import files
from maml.training.checkpoint import Checkpoint
from maml.training.restore import untrained

TASKS = 32  # behind the accuracies over update steps


def of_checkpoint(
    trained: Checkpoint, classifier: Classifier, sampler: Sampler, builder: Builder | None = None
) -> dict[str, Figure]:
    """Return figures by file name, of `classifier`, which has the checkpoint's weights."""
    name, task = trained.path.stem, sampler.sample(1)
    support_x, support_y, query_x, _ = map(paddle.to_tensor, task)
    *_, adapted = classifier.adapt(support_x, support_y)
    predicted = classifier.predict(adapted, query_x).numpy()[0].argmax(-1)
    images = np.concatenate([task.support_x, task.query_x], axis=1)
    labels = np.concatenate([task.support_y, task.query_y], axis=1)[0]
    z = classifier.represent(adapted, paddle.to_tensor(images)).numpy()[0]
    count = task.support_y.shape[1]
    figures = {
        "learning_curves.png": plots.learning_curves(
            trained.history, f"{name}: accuracy while training"
        ),
        "episode.png": plots.episode(task, f"A task for {name}"),
        "predictions.png": plots.predictions(task, predicted, f"{name}: queries of a task"),
        "embeddings.png": plots.embeddings(z, labels, count, f"{name}: embeddings of a task"),
    }
    tasks = sampler.sample(TASKS)
    (steps,) = measure([classifier], tasks)
    if steps.accuracies.shape[1] > 1:  # there are update steps
        (before,) = measure([untrained(trained, builder)], tasks)
        compared = {
            "before meta-training": before.accuracies,
            "after meta-training": steps.accuracies,
        }
        title = f"{name}: accuracy over update steps"
        figures["update_steps.png"] = plots.update_steps(compared, title, 1 / sampler.way)
    return figures


def of_hardest(
    name: str,
    images: np.ndarray,
    rows: list[str],
    drawn: TaskIndices,
    correct: np.ndarray,
    most: int = 10,
    others: int = 9,
) -> Figure:
    """The drawings behind most errors, each followed by other drawings of its character.

    Args:
        name (str): the checkpoint's name, for the title.
        images (ndarray): [characters, drawings, 1, H, W] uint8, ink 255.
        rows (list[str]): the characters' names.
        drawn (TaskIndices): the tasks that were measured.
        correct (ndarray): [tasks, queries], 1 where a query was right, else 0.
        most (int): drawings to show at most.
        others (int): other drawings of the character beside each.
    """
    characters, drawings = images.shape[:2]
    number = (drawn.query.row * drawings + drawn.query.drawing).ravel()
    times = np.bincount(number, minlength=characters * drawings)
    wrong = np.bincount(number, weights=1 - correct.ravel(), minlength=characters * drawings)
    shown = np.argsort(-wrong, kind="stable")[: min(most, np.count_nonzero(wrong))]
    character, drawing = np.divmod(shown, drawings)
    in_turn = np.arange(drawings)
    beside = np.stack([np.roll(in_turn, -d)[: 1 + others] for d in drawing])  # itself first
    share = wrong[shown].sum() / wrong.sum()
    title = (
        f"{name}: {len(shown)} of {np.count_nonzero(times):,} drawings are behind {share:.0%} of "
        f"the errors in {len(correct):,} tasks;\nbeside each, others of its character"
    )
    return plots.characters(
        images[character[:, None], beside] / 255,
        [rows[c] for c in character],
        title,
        [f"wrong {part:.0%}" for part in wrong[shown] / times[shown]],
    )


def of_characters(
    images: np.ndarray,
    rows: list[str],
    rng: np.random.Generator,
    classes: int = 5,
    drawings: int = 5,
) -> Figure:
    """Drawings of some characters, images [characters, 20, 1, H, W] uint8, with their names."""
    chosen = np.sort(rng.choice(len(images), min(classes, len(images)), replace=False))
    title = f"{len(chosen)} characters by {drawings} hands each"
    return plots.characters(images[chosen, :drawings] / 255, [rows[k] for k in chosen], title)


def save_figures(folder: str, figures: Mapping[str, Figure]) -> None:
    """Write figures, by file name, to `folder`, as PNGs and for VisualDL."""
    with files.writable_home():
        from visualdl import LogWriter

    images = {}
    for name, figure in figures.items():
        figure.set_dpi(plots.DPI)
        images[name] = plots.pixels(figure)

    def written(pixels: np.ndarray) -> Callable[[BinaryIO], None]:
        return lambda file: Image.fromarray(pixels).save(file, "png")

    files.write({Path(folder, name): written(pixels) for name, pixels in images.items()})
    with LogWriter(logdir=folder) as writer:
        for name, pixels in images.items():
            writer.add_image(Path(name).stem, pixels, 0)
