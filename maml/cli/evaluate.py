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

from maml.cli.evaluate_flags import read_flags
from maml.config import OWN_NETWORK
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


def main(argv: Sequence[str] | None = None) -> int:
    """Read the flags; start the processes that measure, or be one of them."""
    arguments, options = read_flags(argv)
    if launch.is_worker():
        return work(arguments, options)
    gpus = device.gpus() if arguments.gpu else 0
    asked = 1 if arguments.support else arguments.workers
    return launch.start(launch.choose_workers(asked, gpus=gpus), gpu=gpus > 0)


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
    if not (arguments.checkpoint or arguments.support or arguments.runs):
        options = dataclasses.replace(options, way=options.way or 5, shot=options.shot or 1)
    if arguments.checkpoint:
        trained = [read(weight_file(name)) for name in arguments.checkpoint]
    else:
        trained = [search(arguments, options, classes, processes.first)]
    asking = list(filter(has_own_network, trained)) or trained
    arguments.builder = [builder_of(arguments.network, t, processes.first) for t in asking][0]
    if arguments.support:
        return own_pictures(arguments, options, trained[0], classes)
    if arguments.runs:
        return one_shot_challenge(arguments, options, trained, processes)
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
        assert options.way is not None
        choice = find(folders, options.way, shot, algorithm, index, own_network=own)
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
    trained: Sequence[Checkpoint],
    processes: Processes,
) -> int:
    """Measure on Omniglot's own one-shot challenge, and print the error rates."""
    from maml.classifier import measure
    from maml.data import challenge
    from maml.data.splits import BACKGROUND
    from maml.reports import console

    runs = challenge.read(arguments.runs, trained[0].data.image_size)
    if not processes.first:
        return 0
    for one in trained:
        if one.data.split not in BACKGROUND:
            print(
                f"warning: {one.path} was trained on the {one.data.split} split, which may hold "
                "characters of these runs; make data with --split background and train on them "
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
