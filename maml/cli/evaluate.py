"""Measure a trained few-shot learner on characters that it has never seen, or let it classify your
own pictures."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maml.config import GRADIENT, METHODS, METRIC, OWN_NETWORK
from maml.evaluation.options import TestOptions
from maml.system import device, errors, launch
from maml.system.processes import Processes
from maml.system.progress import watched
from maml.system.signals import Interruption

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from maml.classifier.measure import Measured
    from maml.data.banks import Stack
    from maml.networks.file import Builder
    from maml.training.checkpoint import Checkpoint

SOME_SKIPPED = 3
"""exit status where the user's own pictures were answered, but for some that cannot be used"""
INTERRUPTED = 130
"""exit status where a signal ended it early; what was measured so far is printed"""
EXAMPLE = """examples:
  python evaluate.py --way 5 --shot 1
      the best weights that were validated on 5-way 1-shot; your own runs come first
  python evaluate.py --checkpoint checkpoints/maml_5w1s.pkl --tasks 10000
  python evaluate.py --checkpoint protonet_60w1s maml_20w1s --way 20 --shot 1 --bn transductive
      the mean of the softmaxes of several weights
  python evaluate.py --algorithm siamese --way 20 --query 1 \\
      --within-alphabet --data data/background
  python evaluate.py --algorithm siamese --finetune 20 --entropy 0.1
  python evaluate.py --algorithm siamese --runs all_runs.zip
      Omniglot's own one-shot challenge
  python evaluate.py --algorithm protonet --support mine --query-images unknown.jpg
      your own pictures, a folder for each class in mine; the exit status is 3 where some
      pictures cannot be used and are skipped
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Read the flags; start the processes that measure, or be one of them."""
    arguments = parser().parse_args(argv)
    arguments.query, arguments.query_images = queries(arguments.query, arguments.query_images)
    for name, low in (("tasks", 1), ("seed", 0), ("workers", 0)):
        if getattr(arguments, name) < low:
            value = getattr(arguments, name)
            raise errors.UserError(f"--{name} must be at least {low}, not {value}")
    if (arguments.support is None) != (arguments.query_images is None):
        raise errors.UserError(
            "--support and --query-images belong together: pictures of known classes, and those "
            "to classify"
        )
    if arguments.reject is not None and arguments.support is None:
        raise errors.UserError(
            "--reject is for your own pictures; name them by --support and --query-images"
        )
    options = options_of(arguments)
    for name in ("support", "runs", "figures"):
        if getattr(arguments, name) and len(arguments.checkpoint or []) > 1:
            raise errors.UserError(
                f"several checkpoints are averaged on random tasks alone; name one for --{name}"
            )
    if options.bn == "both" and (arguments.support or arguments.runs):
        raise errors.UserError("--bn both is for random tasks; choose transductive or inductive")
    if launch.is_worker():
        return work(arguments, options)
    gpus = device.gpus() if arguments.gpu else 0
    asked = 1 if arguments.support else arguments.workers
    return launch.start(launch.choose_workers(asked, gpus=gpus), gpu=gpus > 0)


def parser() -> errors.Parser:
    """The command line."""
    parser = errors.Parser(__doc__ or "", EXAMPLE)
    which = parser.add_argument_group("which weights")
    which.add_argument(
        "--checkpoint",
        nargs="+",
        metavar="FILE",
        help="file of weights, or the name of weights that come with the project; of several, of "
        "any methods, the mean of their softmaxes is measured; without it, weights for the task "
        "are chosen: the latest of your own runs, else the best",
    )
    which.add_argument(
        "--checkpoints",
        metavar="DIR",
        help="folder to choose from; your own runs are in its folder own and come first (default: "
        "MAML_CHECKPOINTS, or checkpoints here or beside the package)",
    )
    which.add_argument(
        "--algorithm", choices=METHODS, help="choose among the weights of this method"
    )
    which.add_argument(
        "--network",
        metavar="FILE.py:FUNCTION",
        help="the file of your own network, for weights that were trained with one; it is imported "
        "from here alone, never because a checkpoint names it",
    )
    changes = parser.add_argument_group("what to change of the trained learner")
    tune = parser.add_argument_group(
        f"fine-tuning of a cosine classifier on the support, for {', '.join(METRIC)}"
    )
    for f in dataclasses.fields(TestOptions):
        group = tune if f.name in ("finetune", "finetune_rate", "entropy") else changes
        add_option(group, f)
    how = parser.add_argument_group("what to measure on, and how")
    how.add_argument(
        "--data",
        default=".",
        metavar="DIR",
        help="folder with the arrays that make_data.py wrote (default: the current folder)",
    )
    how.add_argument(
        "--part",
        choices=["test", "val"],
        default="test",
        help="characters that tasks are drawn from (default: %(default)s)",
    )
    how.add_argument(
        "--within-alphabet",
        "--within_alphabet",
        nargs="?",
        const="",
        metavar="NAME",
        help="take the classes of a task from one alphabet: from NAME, or from a random one for "
        "each task",
    )
    how.add_argument(
        "--two-drawers",
        "--two_drawers",
        action="store_true",
        help="within an alphabet, take the support of a task from one drawer and its queries from "
        "another, as the one-shot challenge does; with --shot 1 --query 1",
    )
    how.add_argument(
        "--runs",
        metavar="PATH",
        help="measure on Omniglot's one-shot challenge instead of random tasks: all_runs.zip, or "
        "the folder of run01, run02, ...",
    )
    how.add_argument(
        "--support",
        metavar="DIR",
        help="use your own pictures instead: a folder for each class, with one picture or more",
    )
    how.add_argument(
        "--query-images",
        "--query_images",
        nargs="+",
        metavar="PATH",
        help="your own pictures to classify: files or folders",
    )
    how.add_argument(
        "--reject",
        type=float,
        metavar="FLOAT",
        help="refuse own pictures of none of the classes, at the cost of this share of the others, "
        "such as 0.05",
    )
    how.add_argument(
        "--tasks", type=int, default=1000, metavar="INT", help="random tasks (default: %(default)s)"
    )
    how.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="INT",
        help="seed of the tasks (default: %(default)s)",
    )
    how.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="INT",
        help="processes (default: one for each GPU, or else for each core)",
    )
    how.add_argument("--gpu", "--use_gpu", action="store_true", help="compute on a GPU")
    how.add_argument(
        "--last_step",
        action="store_true",
        help="measure after the last update step only, which is quicker",
    )
    how.add_argument(
        "--figures",
        metavar="DIR",
        help="write figures to DIR: learning curves, a task, predictions, embeddings and more",
    )
    how.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def add_option(group: argparse._ArgumentGroup, f: dataclasses.Field) -> None:
    """Add the flag of one field of `TestOptions`."""
    names = [f"--{name}" for name in (f.name, f.metadata.get("alias")) if name]
    trained, choices = f.metadata.get("trained"), f.metadata.get("choices")
    methods = f.metadata.get("only_for", METHODS)
    text = f"{', '.join(methods)}: " if methods == GRADIENT or len(methods) == 1 else ""
    default = "as trained" if f.default is None and f.name != "finetune" else f.default
    text += f.metadata["help"] + (f" (default: {default})" if default is not None else "")
    kind = type(trained.default) if trained else {"bn": str, "finetune": int}.get(f.name, float)
    if f.name == "query":  # the forerunner's flag k_query, and pictures, as they were given before
        group.add_argument(*names, nargs="+", metavar="INT", help=text)
        return
    metavar = None if choices else kind.__name__.upper()
    group.add_argument(
        *names, type=kind, default=f.default, metavar=metavar, choices=choices, help=text
    )


def queries(
    query: list[str] | None, images: list[str] | None
) -> tuple[int | None, list[str] | None]:
    """Part --query into the number of query images and, as it was used before, pictures."""
    if query is None:
        return None, images
    if len(query) == 1 and query[0].lstrip("-").isdecimal() and not Path(query[0]).exists():
        return int(query[0]), images
    return None, [*query, *(images or [])]


def options_of(arguments: argparse.Namespace) -> TestOptions:
    """The options that the flags state."""
    names = [f.name for f in dataclasses.fields(TestOptions)]
    try:
        return TestOptions(**{name: getattr(arguments, name) for name in names})
    except errors.UserError as error:
        raise errors.UserError(f"--{error}") from None


def work(arguments: argparse.Namespace, options: TestOptions) -> int:
    """Measure as one of the processes."""
    device.end_with_parent()
    gpu = device.use_device(arguments.gpu)
    processes = Processes(gpu)
    if arguments.gpu and not gpu and processes.first:
        print(device.NO_GPU, file=sys.stderr)

    from maml.classifier.choose import has_own_network, weight_file
    from maml.data import pictures
    from maml.training.checkpoint import read

    classes = pictures.classes(arguments.support) if arguments.support else []
    if arguments.checkpoint:
        trained = [read(weight_file(name)) for name in arguments.checkpoint]
    else:
        trained = [search(arguments, options, classes, processes.first)]
    asking = list(filter(has_own_network, trained)) or trained
    arguments.builder = [builder_of(arguments.network, t, processes.first) for t in asking][0]
    if arguments.support:
        return own_pictures(arguments, options, trained[0], classes)
    if arguments.runs:
        return one_shot_challenge(arguments, options, trained[0], processes)
    return random_tasks(arguments, options, trained, processes)


def builder_of(network: str | None, trained: Checkpoint, tell: bool) -> Builder | None:
    """Return the user's own network that the weights were trained with, if they were."""
    if not OWN_NETWORK.fullmatch(trained.config.network):
        if network:
            raise errors.UserError(
                f"{trained.path}: was trained with the network {trained.config.network} of this "
                "project; drop --network"
            )
        return None
    if network is None:
        raise errors.UserError(
            f"{trained.path}: was trained with a network of the user's own; name its file by "
            f"--network {trained.config.network}, if you trust it"
        )
    from maml.networks.file import read_builder

    builder = read_builder(network)
    if builder.sha256 != trained.network_sha256 and tell:
        print(
            f"warning: {network} has changed since {trained.path} was trained with it",
            file=sys.stderr,
        )
    return builder


def search(
    arguments: argparse.Namespace, options: TestOptions, classes: list[Path], tell: bool
) -> Checkpoint:
    """Choose the checkpoint for what is to be measured, and say which one and why."""
    from maml.classifier.choose import find, weight_folders
    from maml.data import challenge, pictures
    from maml.data.arrays import read_index

    folders = [arguments.checkpoints] if arguments.checkpoints else weight_folders()
    algorithm, shot = arguments.algorithm, float(options.shot or 1)
    own = arguments.network is not None
    if classes:
        shot = options.shot or pictures.mean_count(classes)
        choice = find(
            folders, len(classes), shot, algorithm, split="random", own_network=own, any_shot=True
        )
    elif arguments.runs:  # the evaluation alphabets are the background split's test characters
        way = challenge.way(arguments.runs)
        choice = find(folders, way, 1, algorithm, split="background", own_network=own)
    else:
        index = read_index(arguments.data)
        choice = find(folders, options.way or 5, shot, algorithm, index, own_network=own)
    if tell:
        for reason in choice.passed_over:
            print(f"warning: {reason}; passed over", file=sys.stderr)
        print(f"weights: {choice.chosen.path}, {choice.reason()}", file=sys.stderr)
    return choice.chosen


def random_tasks(
    arguments: argparse.Namespace,
    options: TestOptions,
    trained: Sequence[Checkpoint],
    processes: Processes,
) -> int:
    """Measure on random tasks of the arrays, and print the accuracy."""
    from maml.classifier import measure
    from maml.data.arrays import read_arrays
    from maml.reports import console
    from maml.training.leakage import check_data

    arrays, index = read_arrays(arguments.data)
    for one in trained:
        warning = check_data(one, index, arguments.part)
        if processes.first and warning:
            print(warning, file=sys.stderr)

    def progress(items: Sequence) -> Iterator:
        shown = watched(items, len(items), "batches", "evaluating") if processes.first else items
        with Interruption() as interruption:
            for item in shown:
                if processes.any(interruption.asked):
                    return
                yield item

    measured = measure.random_tasks(
        trained,
        options,
        arrays,
        index,
        part=arguments.part,
        tasks=arguments.tasks,
        seed=arguments.seed,
        alphabet=arguments.within_alphabet or None,
        within_alphabet=arguments.within_alphabet is not None,
        two_drawers=arguments.two_drawers,
        processes=processes,
        progress=progress,
        every_step=not arguments.last_step,
        builder=arguments.builder,
    )
    if not processes.first:
        return 0
    for report in measured.reports:
        print(json.dumps(report) if arguments.json else console.of_random_tasks(report))
    done = measured.reports[0]["tasks"] if measured.reports else 0
    if done < arguments.tasks:
        print(f"stopped after {done} of {arguments.tasks} tasks", file=sys.stderr)
        return INTERRUPTED
    if arguments.figures:
        draw(arguments, trained[0], measured, arrays[arguments.part], index.rows[arguments.part])
    return 0


def draw(
    arguments: argparse.Namespace,
    trained: Checkpoint,
    measured: Measured,
    images: Stack,
    rows: list[str],
) -> None:
    """Write the figures of an evaluation on random tasks."""
    from maml.data.banks import ClassImages
    from maml.evaluation.accuracy import drawn_tasks
    from maml.reports import figures

    sampler, result = measured.tasks(), measured.results[0]
    drawn = drawn_tasks(sampler, arguments.tasks)
    found = figures.of_checkpoint(trained, measured.classifier, sampler, arguments.builder)
    if isinstance(images, ClassImages):
        return save(arguments, found)
    found["characters.png"] = figures.of_characters(images, rows, sampler.rng)
    if not result.correct.all():
        name = trained.path.stem
        found["hardest.png"] = figures.of_hardest(name, images, rows, drawn, result.correct)
    save(arguments, found)


def one_shot_challenge(
    arguments: argparse.Namespace,
    options: TestOptions,
    trained: Checkpoint,
    processes: Processes,
) -> int:
    """Measure on Omniglot's own one-shot challenge, and print the error rates."""
    from maml.classifier import measure
    from maml.data import challenge
    from maml.data.splits import BACKGROUND
    from maml.reports import console

    runs = challenge.read(arguments.runs, trained.data.image_size)
    if not processes.first:
        return 0
    if trained.data.split not in BACKGROUND:
        print(
            f"warning: {trained.path} was trained on the {trained.data.split} split, which may "
            "hold characters of these runs; make data with --split background and train on them "
            "for an error rate to compare",
            file=sys.stderr,
        )
    report = measure.one_shot_challenge(trained, options, runs, arguments.builder)
    print(json.dumps(report) if arguments.json else console.of_challenge(report))
    return 0


def own_pictures(
    arguments: argparse.Namespace, options: TestOptions, trained: Checkpoint, classes: list[Path]
) -> int:
    """Classify the user's own pictures, and print their classes.

    The exit status is 3 where some pictures cannot be used; all of these are named.
    """
    from maml.classifier import measure
    from maml.reports import console

    answered = measure.own_pictures(
        trained, options, classes, arguments.query_images, arguments.builder, arguments.reject
    )
    report = answered.report
    for sentence in [*answered.support.warnings, *answered.query.warnings]:
        print(f"warning: {sentence}", file=sys.stderr)
    print(json.dumps(report, ensure_ascii=False) if arguments.json else console.of_pictures(report))
    for skipped in report["skipped"]:
        print(f"skipped: {skipped['path']}: {skipped['reason']}", file=sys.stderr)
    if arguments.figures:
        from maml.reports import plots

        figure = plots.told_pictures(
            answered.support, answered.query, answered.probabilities, answered.refused
        )
        save(arguments, {"pictures.png": figure})
    return SOME_SKIPPED if report["skipped"] else 0


def save(arguments: argparse.Namespace, figures: dict[str, Figure]) -> None:
    """Write figures as PNGs and for VisualDL, and say where."""
    from maml.reports.figures import save_figures

    save_figures(arguments.figures, figures)
    print(f"{len(figures)} figures in {arguments.figures}", file=sys.stderr)
