#!/usr/bin/env python3
"""Measure a trained few-shot learner on characters that it has never seen."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from maml.config import ANY_WAY, MODES
from maml.system import device, errors, launch
from maml.system.processes import Processes
from maml.system.progress import watched

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from maml.algorithms.learner import Learner
    from maml.training.checkpoint import Trained

EXAMPLE = """examples:
  python evaluate.py --n_way 5 --k_spt 1
      the best weights that were validated on 5-way 1-shot
  python evaluate.py --checkpoint checkpoints/maml_5w1s.pkl --tasks 10000
  python evaluate.py --algorithm siamese --n_way 20 --k_query 1 \\
      --within-alphabet --data data/background
  python evaluate.py --algorithm siamese --finetune 20 --entropy 0.1
  python evaluate.py --algorithm siamese --runs all_runs
      Omniglot's own one-shot challenge
  python evaluate.py --algorithm protonet --support mine --query unknown.jpg
      your own pictures, a folder for each class in mine
"""


# Settings of a checkpoint's configuration that an evaluation may change.
CHANGES = (
    "k_spt",
    "k_query",
    "glob_update_step_test",
    "inner_batch_test",
    "refine",
    "distortions_test",
)


def main() -> int:
    parser = errors.Parser(__doc__, EXAMPLE)
    what = parser.add_argument_group("what to measure")
    what.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="any checkpoint; without, the best matching one in --checkpoints",
    )
    what.add_argument(
        "--checkpoints",
        default="checkpoints",
        metavar="DIR",
        help="folder to search (default: %(default)s)",
    )
    what.add_argument("--algorithm", help="search this algorithm's only")
    what.add_argument(
        "--n_way",
        type=int,
        metavar="INT",
        help="classes in a task (default: as trained, 5 to search)",
    )
    what.add_argument(
        "--k_spt",
        type=int,
        metavar="INT",
        help="support images a class (default: as trained, 1 to search)",
    )
    what.add_argument(
        "--k_query", type=int, metavar="INT", help="query images a class (default: as trained)"
    )
    what.add_argument(
        "--glob_update_step_test",
        type=int,
        metavar="INT",
        help="update steps (default: as trained)",
    )
    what.add_argument(
        "--inner_batch_test",
        type=int,
        metavar="INT",
        help="reptile: support images in an update step, 0: all (default: as trained)",
    )
    what.add_argument(
        "--bn",
        choices=[*MODES, "both"],
        help=(
            "statistics of batch normalisation: the query batch's own, or without other queries;"
            " both: adapt once and predict in either way, with a report for each, and figures of"
            " the first (default: as trained)"
        ),
    )
    what.add_argument(
        "--refine",
        type=int,
        metavar="STEPS",
        help=(
            "protonet: let the queries refine the prototypes so often, which is transductive"
            " (default: as trained)"
        ),
    )
    what.add_argument(
        "--distortions_test",
        type=int,
        metavar="INT",
        help=(
            "metric methods: embeddings are means over an image and so many distorted copies;"
            " others: adapt to so many distorted copies of the support, too (default: as trained)"
        ),
    )
    tune = parser.add_argument_group(
        "fine-tuning of a cosine classifier on the support, for " + ", ".join(sorted(ANY_WAY))
    )
    tune.add_argument(
        "--finetune", type=int, metavar="STEPS", help="in so many steps; 0: nearest mean by cosine"
    )
    tune.add_argument(
        "--finetune_rate",
        type=float,
        default=0.1,
        metavar="FLOAT",
        help="of a step (default: %(default)s)",
    )
    tune.add_argument(
        "--entropy",
        type=float,
        default=0.0,
        metavar="WEIGHT",
        help=(
            "of the entropy of the queries' predictions, which makes it transductive (default:"
            " %(default)s, off)"
        ),
    )
    how = parser.add_argument_group("on what, and how")
    how.add_argument(
        "--data",
        default=".",
        metavar="DIR",
        help="folder with make_data.py's arrays (default: the current one)",
    )
    how.add_argument(
        "--part",
        choices=["test", "val"],
        default="test",
        help="characters to draw from (default: %(default)s)",
    )
    how.add_argument(
        "--within-alphabet",
        "--within_alphabet",
        nargs="?",
        const="",
        metavar="NAME",
        help=(
            "take the classes of a task from one alphabet: this one, or without NAME a random one"
            " for each task"
        ),
    )
    how.add_argument(
        "--runs",
        metavar="DIR",
        help=(
            "instead of random tasks, those of Omniglot's one-shot challenge in DIR/run01, ..., "
            "which say way and shot"
        ),
    )
    how.add_argument(
        "--support",
        metavar="DIR",
        help="your own pictures instead: a folder for each class, with one or more in it",
    )
    how.add_argument(
        "--query",
        nargs="+",
        metavar="PATH",
        help="pictures to tell the classes of: files or folders",
    )
    how.add_argument(
        "--tasks", type=int, default=1000, metavar="INT", help="random tasks (default: %(default)s)"
    )
    how.add_argument(
        "--seed", type=int, default=0, metavar="INT", help="of the tasks (default: %(default)s)"
    )
    how.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="INT",
        help="processes (default: as many as GPUs, else cores)",
    )
    how.add_argument("--use_gpu", action="store_true", help="compute on a GPU")
    how.add_argument(
        "--last_step",
        action="store_true",
        help="measure after the last update step only, which is quicker",
    )
    how.add_argument(
        "--figures",
        metavar="DIR",
        help="write figures there: learning curves, a task, predictions, embeddings and more",
    )
    how.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    for name, low in (
        ("tasks", 1),
        ("seed", 0),
        ("workers", 0),
        ("n_way", 2),
        ("k_spt", 1),
        ("k_query", 1),
        ("glob_update_step_test", 0),
        ("finetune", 0),
        ("finetune_rate", 0),
        ("entropy", 0),
    ):
        value = getattr(arguments, name)
        if value is not None and value < low:
            raise errors.UserError(f"--{name} must be at least {low}, not {value}")
    if (arguments.support is None) != (arguments.query is None):
        raise errors.UserError(
            "--support and --query belong together: pictures of known classes, and those to tell"
        )
    if arguments.bn == "both" and (arguments.support or arguments.runs):
        raise errors.UserError(
            f"--bn both is for random tasks; choose one of {' and '.join(MODES)}"
        )
    if launch.is_worker():
        return work(arguments)
    gpus = device.gpus() if arguments.use_gpu else 0
    workers = 1 if arguments.support else arguments.workers or gpus or launch.cores()
    return launch.start(workers, gpu=arguments.use_gpu)


def work(arguments: argparse.Namespace) -> int:
    """One of the processes that measure."""
    device.end_with_parent()
    gpu = device.use_device(arguments.use_gpu)
    processes = Processes(gpu)
    if arguments.use_gpu and not gpu and processes.first:
        print(device.NO_GPU, file=sys.stderr)

    from maml.data import pictures
    from maml.training import checkpoint

    classes = pictures.classes(arguments.support) if arguments.support else []
    model = (
        checkpoint.read(arguments.checkpoint)
        if arguments.checkpoint
        else search(arguments, classes)
    )
    if arguments.support:
        return own_pictures(arguments, model, classes)
    if arguments.runs:
        return one_shot_challenge(arguments, model, processes)
    return random_tasks(arguments, model, processes)


def search(arguments: argparse.Namespace, classes: list[Path]) -> Trained:
    """The checkpoint in --checkpoints for what is to be measured; `classes` are those of the user's
    own pictures.
    """
    from maml.classifier import choose
    from maml.data import challenge
    from maml.data.arrays import read_index

    folder, algorithm = arguments.checkpoints, arguments.algorithm
    if classes:
        return choose.find(folder, len(classes), arguments.k_spt or 1, algorithm)
    if (
        arguments.runs
    ):  # of the evaluation alphabets, which are the background split's test characters
        return choose.find(folder, challenge.way(arguments.runs), 1, algorithm, split="background")
    return choose.find(
        folder,
        arguments.n_way or 5,
        arguments.k_spt or 1,
        algorithm,
        read_index(arguments.data),
    )


def learner_of(
    arguments: argparse.Namespace, model: Trained, n_way: int | None, bn: str
) -> Learner:
    """The checkpoint's learner with the settings that `arguments` change, for `n_way` classes."""
    from maml.training import restore

    if arguments.inner_batch_test is not None and model.config.algorithm != "reptile":
        raise errors.UserError(
            f"--inner_batch_test is for reptile, not for {model.config.algorithm}"
        )
    changes = {key: value for key in CHANGES if (value := getattr(arguments, key)) is not None}
    learner = restore.learner(model, n_way, bn=bn, **changes)
    if arguments.finetune is None:
        return learner
    return restore.finetune(
        model, learner, arguments.finetune, arguments.finetune_rate, arguments.entropy
    )


def random_tasks(arguments: argparse.Namespace, model: Trained, processes: Processes) -> int:
    """Measure on random tasks of the arrays, and print the accuracy, of each mode of batch
    normalisation that is asked for.
    """
    import numpy as np

    from maml.data.arrays import read_arrays
    from maml.data.tasks import AlphabetSampler, TaskSampler
    from maml.evaluation import accuracy
    from maml.reports import console
    from maml.training import leakage

    arrays, index = read_arrays(arguments.data)
    warning = leakage.check_data(model, index, arguments.part)
    if processes.first and warning:
        print(warning, file=sys.stderr)
    if arguments.bn == "both" and model.config.algorithm in ANY_WAY:
        raise errors.UserError(
            "--bn both is for maml and reptile, whose adaptation is the same in both; measure"
            f" {model.config.algorithm} by --bn {MODES[0]} and then by --bn {MODES[1]}"
        )
    modes = MODES if arguments.bn == "both" else [arguments.bn or model.config.bn_mode]
    learners = [learner_of(arguments, model, arguments.n_way, bn) for bn in modes]
    way, shot, query = (
        getattr(arguments, key) or getattr(model.config, key)
        for key in ("n_way", "k_spt", "k_query")
    )
    images, rows = arrays[arguments.part], index.rows[arguments.part]

    def tasks_of(images: np.ndarray) -> TaskSampler | AlphabetSampler:
        rng = np.random.default_rng([arguments.seed, 4])
        if arguments.within_alphabet is None:
            return TaskSampler(images, way, shot, query, rng)
        return AlphabetSampler(
            images, rows, way, shot, query, rng, arguments.within_alphabet or None
        )

    sampler = tasks_of(images)
    results = accuracy.evaluate_together(
        learners,
        sampler,
        arguments.tasks,
        processes,
        lambda items: (
            watched(items, len(items), "batches", "evaluating") if processes.first else items
        ),
        every_step=not arguments.last_step,
    )
    if not processes.first:
        return 0
    if arguments.figures:
        from maml.reports import figures

        drawn = {
            **figures.of_checkpoint(model, learners[0], sampler),
            "characters.png": figures.of_characters(images, rows, sampler.rng),
        }
        if not results[0].correct.all():
            numbers = np.arange(images.shape[0] * images.shape[1]).reshape(
                [*images.shape[:2], 1, 1]
            )
            asked = accuracy.queries(tasks_of(numbers), arguments.tasks)[..., 0]
            drawn["hardest.png"] = figures.of_hardest(
                model.path.stem, images, rows, asked, results[0].correct
            )
        save(arguments.figures, drawn)
    for bn, result in zip(modes, results):
        report = {
            **common(arguments, model, bn),
            "n_way": way,
            "k_spt": shot,
            "k_query": query,
            "data": index.source,
            "split": index.split,
            "part": arguments.part,
            "tasks": arguments.tasks,
            "seed": arguments.seed,
            "accuracies": [round(float(a), 6) for a in result.vector],
            "losses": [round(float(loss), 6) for loss in result.losses.mean(axis=0)],
            "accuracy": round(result.mean, 6),
            "interval": round(result.interval, 6) if arguments.tasks > 1 else None,
        }
        if arguments.within_alphabet is not None:
            report["within_alphabet"] = arguments.within_alphabet or "any"
        print(json.dumps(report) if arguments.json else console.of_random_tasks(report))
    return 0


def common(arguments: argparse.Namespace, model: Trained, bn: str) -> dict:
    """What every report says."""

    def setting(key: str) -> int:
        return (
            getattr(model.config, key)
            if getattr(arguments, key) is None
            else getattr(arguments, key)
        )

    said = {"checkpoint": str(model.path), "algorithm": model.config.algorithm, "bn": bn}
    if model.config.algorithm not in ANY_WAY:
        said["glob_update_step_test"] = setting("glob_update_step_test")
    said.update({key: setting(key) for key in ("refine", "distortions_test") if setting(key)})
    if arguments.inner_batch_test is not None:
        said["inner_batch_test"] = arguments.inner_batch_test
    if arguments.finetune is not None:
        said["finetune"] = {
            "steps": arguments.finetune,
            "rate": arguments.finetune_rate,
            "entropy": arguments.entropy,
        }
    return said


def one_shot_challenge(arguments: argparse.Namespace, model: Trained, processes: Processes) -> int:
    """Measure on Omniglot's own one-shot challenge, and print the error rates."""
    from maml.data import challenge
    from maml.evaluation import accuracy
    from maml.reports import console

    runs = challenge.read(arguments.runs, model.state["data"]["image_size"])
    if not processes.first:
        return 0
    if model.state["data"]["split"] != "background":
        print(
            f"warning: {model.path} was trained on the {model.state['data']['split']} split, which"
            " may hold characters of these runs; make data with --split background and train on"
            " them for an error rate to compare",
            file=sys.stderr,
        )
    bn = arguments.bn or model.config.bn_mode
    learner = learner_of(arguments, model, max(run.task.support_y.shape[1] for run in runs), bn)
    wrong = {
        run.name: round(1 - accuracy.measure(learner, run.task, every_step=False).mean, 6)
        for run in runs
    }
    report = {
        **common(arguments, model, bn),
        "runs": wrong,
        "error": round(sum(wrong.values()) / len(wrong), 6),
    }
    print(json.dumps(report) if arguments.json else console.of_challenge(report))
    return 0


def own_pictures(arguments: argparse.Namespace, model: Trained, classes: list[Path]) -> int:
    """Tell the classes of the user's own pictures, and print them."""
    import numpy as np

    from maml.classifier import predict
    from maml.data import pictures
    from maml.reports import console

    size = model.state["data"]["image_size"]
    support = pictures.read_support(classes, size)
    query = pictures.read_queries(arguments.query, support.classes, size)
    bn = arguments.bn or "inductive"  # a few pictures have no statistics to speak of
    learner = learner_of(arguments, model, len(classes), bn)
    probabilities = predict.probabilities(learner, support.x[None], support.y[None], query.x[None])[
        0
    ]  # [N, way]
    told = probabilities.argmax(axis=1)
    report = {
        **common(arguments, model, bn),
        "classes": support.classes,
        "support": len(support.paths),
        "queries": [
            {
                "picture": str(path),
                "class": support.classes[k],
                "probability": round(float(p[k]), 4),
                "probabilities": {name: round(float(v), 4) for name, v in zip(support.classes, p)},
            }
            for path, k, p in zip(query.paths, told, probabilities)
        ],
    }
    known = query.y >= 0
    if known.any():
        report["accuracy"] = round(float(np.mean(told[known] == query.y[known])), 4)
    if arguments.figures:
        from maml.reports import plots

        save(
            arguments.figures, {"pictures.png": plots.told_pictures(support, query, probabilities)}
        )
    print(json.dumps(report, ensure_ascii=False) if arguments.json else console.of_pictures(report))
    return 0


def save(folder: str, figures: dict[str, Figure]) -> None:
    """Write figures, by file name, to `folder`, as PNGs and for VisualDL."""
    from visualdl import LogWriter

    from maml.reports import plots
    from maml.system import files

    files.write(
        {
            Path(folder, name): lambda file, figure=figure: figure.savefig(
                file, format="png", dpi=120
            )
            for name, figure in figures.items()
        }
    )
    with LogWriter(logdir=folder) as writer:
        for name, figure in figures.items():
            writer.add_image(Path(name).stem, plots.pixels(figure), 0)


if __name__ == "__main__":
    errors.run(main)
