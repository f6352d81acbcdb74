"""The figures of a trained learner on tasks of its own: what `evaluate.py --figures` writes."""

from __future__ import annotations

import numpy as np
import paddle
from matplotlib.figure import Figure

from maml.algorithms.learner import Learner
from maml.data.tasks import TaskSampler
from maml.evaluation import accuracy
from maml.reports import plots
from maml.training import checkpoint, restore

TASKS = 32  # behind the accuracies over update steps


def of_checkpoint(
    model: checkpoint.Trained, learner: Learner, sampler: TaskSampler
) -> dict[str, Figure]:
    """By file name; of `learner`, which has the weights of `model`, on tasks of `sampler`."""
    name, task = model.path.stem, sampler.sample(1)
    *_, adapted = learner.adapt(*map(paddle.to_tensor, task[:2]))
    predicted = learner.predict(adapted, paddle.to_tensor(task.query_x)).numpy()[0].argmax(-1)
    both = [
        np.concatenate(pair, axis=1)
        for pair in ((task.support_x, task.query_x), (task.support_y, task.query_y))
    ]
    z = learner.represent(adapted, paddle.to_tensor(both[0])).numpy()[0]
    figures = {
        "learning_curves.png": plots.learning_curves(
            model.state["history"], f"{name}: accuracy while training"
        ),
        "episode.png": plots.episode(task, f"A task for {name}"),
        "predictions.png": plots.predictions(
            task.query_x[0], task.query_y[0], predicted, f"{name}: queries of a task"
        ),
        "embeddings.png": plots.embeddings(
            z, both[1][0], task.support_y.shape[1], f"{name}: embeddings of a task"
        ),
    }
    tasks = sampler.sample(TASKS)
    steps = accuracy.measure(learner, tasks).accuracies
    if steps.shape[1] > 1:  # there are update steps
        untrained = accuracy.measure(restore.untrained(model), tasks).accuracies
        compared = {"before meta-training": untrained, "after meta-training": steps}
        figures["update_steps.png"] = plots.update_steps(
            compared, f"{name}: accuracy over update steps", 1 / sampler.way
        )
    return figures


def of_hardest(
    name: str,
    images: np.ndarray,
    rows: list[str],
    asked: np.ndarray,
    correct: np.ndarray,
    most: int = 10,
    beside: int = 9,
) -> Figure:
    """The drawings behind most errors of the checkpoint `name`, each beside others of its
    character.

    images [characters, drawings, 1, H, W] uint8 (ink 255), rows their names; asked, correct [tasks,
    queries]: the number of the drawing, counted through `images`, and whether it was told right.
    """
    characters, drawings = images.shape[:2]
    times = np.bincount(asked.ravel(), minlength=characters * drawings)
    wrong = np.bincount(asked.ravel(), weights=1 - correct.ravel(), minlength=characters * drawings)
    shown = np.argsort(-wrong, kind="stable")[: min(most, np.count_nonzero(wrong))]
    character, drawing = np.divmod(shown, drawings)
    others = np.stack(
        [np.roll(np.arange(drawings), -d)[: 1 + beside] for d in drawing]
    )  # itself, then those after it
    title = (
        f"{name}: {len(shown)} of {np.count_nonzero(times):,} drawings are behind"
        f" {wrong[shown].sum() / wrong.sum():.0%} of the errors in {len(asked):,} tasks;\nbeside"
        " each, others of its character"
    )
    return plots.characters(
        images[character[:, None], others] / 255,
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
    """Drawings of some of these characters: images [characters, 20, 1, H, W] uint8 (ink 255), rows
    their names.
    """
    chosen = np.sort(rng.choice(len(images), min(classes, len(images)), replace=False))
    title = f"{len(chosen)} characters by {drawings} hands each"
    return plots.characters(images[chosen, :drawings] / 255, [rows[k] for k in chosen], title)
