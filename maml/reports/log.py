"""What a run tells: lines and a progress bar on the console, curves and pictures in VisualDL."""

from __future__ import annotations

import contextlib
import io
import math
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from maml.config import FIELDS, METRIC, Config
from maml.data.index import ImageIndex, Index
from maml.data.raw import DRAWINGS
from maml.data.tasks import TaskBatch
from maml.evaluation.accuracy import Result
from maml.reports import plots
from maml.reports.records import drop_later, new_name, record_file
from maml.reports.words import (
    method_name,
    not_omniglot,
    of_images,
    steps_in_words,
    thousands,
    vector,
)
from maml.system import files
from maml.system.errors import UserError, forget_reader
from maml.system.progress import Progress, duration
from maml.training.loop import Trainer
from maml.training.names import log_folder

if TYPE_CHECKING:
    from visualdl import LogWriter

SCALARS_EVERY = 10  # meta-iterations, or more in a run so long that there would be too many points
MOST_POINTS, MOST_PICTURES = 20_000, 100  # of a curve, and of training tasks
SUMMARY = "best validation accuracy"  # a single point, when a run ends
FORECAST_AFTER = 20  # meta-iterations, after which the end can be foretold
SHOWN_CLASSES = 10  # of a task, in a picture
DASHES = "-" * 20
LONG_DASHES = "-" * 72
HYPERPARAMETERS = ("algorithm", "way", "shot", "meta_batch_size", "outer_lr", "schedule", "seed")
OF_METHOD = {
    "maml": ("first_order", "inner_steps", "inner_lr", "learned_rates", "network"),
    "reptile": ("inner_steps", "inner_lr", "inner_optimizer", "outer_optimizer", "network"),
    "protonet": ("train_way", "distance", "every_support", "filters"),
    "matching": ("train_way", "distance", "context_steps"),
    "siamese": ("objective", "negatives", "margin", "network"),
}


def header(run: Trainer, device: str) -> str:
    """Return what is about to be trained, in lines."""
    config, index, way = run.config, run.index, run.config.way
    parameters = sum(math.prod(p.shape) for p in run.learner.meta_parameters)
    shapes = {part: _shape(index, part) for part in ("train", "val", "test")}
    processes = "1 process" if run.processes.size == 1 else f"{run.processes.size} processes"
    warning = not_omniglot(index.source)
    return "\n".join(
        [
            *warning,
            f"method: {method_name(config)}; {way}-way {config.shot}-shot, {config.query} queries "
            "of each class",
            f"training: {thousands(config.meta_iterations)} meta-iterations of "
            f"{config.meta_batch_size} tasks; {thousands(parameters)} parameters",
            f"data: {index.source}, split {index.split}, in {config.data}; {device}, {processes}",
            f"log: {log_folder(config)}; best weights: {run.best_path}",
            *_resumed(run),
            f"DB: train {shapes['train']} validation {shapes['val']} test {shapes['test']}",
            f"{DASHES}{way}-way-{config.shot}-shot task start!{DASHES}-",
        ]
    )


def _resumed(run: Trainer) -> list[str]:
    """Where a resumed run stands, and what its schedule does; nothing of a new run."""
    config, done = run.config, run.iteration
    if not done:
        return []
    begins = "" if config.schedule == "constant" else f"; schedule {config.schedule}"
    if begins:
        begins += f" from meta-iteration {thousands(config.schedule_from)} on"
    return [
        f"resumed: {thousands(done)} of {thousands(config.meta_iterations)} meta-iterations are "
        f"done{begins}"
    ]


def _shape(index: Index, part: str) -> tuple[int, ...]:
    side = index.image_size
    if isinstance(index, ImageIndex):  # of unequal classes: all images
        return (sum(index.counts[part]), index.channels, side, side)
    return (len(index.rows[part]), DRAWINGS, 1, side, side)


class ConsoleLog:
    """Console and VisualDL of one run.

    Args:
        run (Trainer): the run, whose log begins at its meta-iteration.
        device (str): what it computes on, in words.
    """

    def __init__(self, run: Trainer, device: str):
        self.run, self.config = run, run.config
        folder = log_folder(run.config)
        begun = record_file(folder) if run.iteration else None
        try:
            self.writer = self._writer(folder, begun)
            if begun is None:
                self.writer.add_hparams(hyperparameters(run.config, run.index), [SUMMARY])
        except UnicodeEncodeError:
            raise UserError(
                f"{folder}: VisualDL cannot write there, for its name is not of this locale's "
                "characters; set PYTHONUTF8=1, or name another folder by --logdir"
            ) from None
        except OSError as error:
            raise UserError(
                f"{folder}: cannot be written ({files.reason(error)}); name another folder by "
                "--logdir"
            ) from None
        total, self.every = run.config.meta_iterations, intervals(run.config)
        self.progress = Progress(total, "meta-iterations", run.iteration, say=self.say)
        self.began, self.first = time.monotonic(), run.iteration
        self.say(header(run, device))
        if run.config.algorithm not in METRIC:
            steps = steps_in_words(run.config.inner_steps_test)
            self.say(f"accuracies are those before and after each inner step, of {steps}:")

    def _writer(self, folder: Path, begun: Path | None) -> LogWriter:
        """VisualDL's writer: of a new file, or of the one that a resumed run began with."""
        with files.writable_home():
            from visualdl import LogWriter

        if begun is not None:
            drop_later(begun, self.run.iteration, SUMMARY)
        name = begun.name if begun else new_name(folder)
        with contextlib.redirect_stdout(io.StringIO()):  # where it says that it adds to the file
            return LogWriter(logdir=str(folder), display_name=self.config.name, file_name=name)

    def step(self, iteration: int, metrics: dict[str, float]) -> None:
        """After every meta-iteration."""
        if iteration % self.every["steps"] == 0:
            for name, value in metrics.items():
                self.writer.add_scalar(f"steps/{name}", value, iteration)
        self.progress.step()
        if iteration - self.first == FORECAST_AFTER:
            self._forecast(iteration)

    def _forecast(self, iteration: int) -> None:
        """When the run is expected to end, without its validations."""
        each = (time.monotonic() - self.began) / (iteration - self.first)
        left = each * (self.config.meta_iterations - iteration)
        if left > 60:
            end = time.strftime("%H:%M", time.localtime(time.time() + left))
            self.say(f"expected end: {end}, in about {duration(left)}, validations not counted")

    def train(self, iteration: int, tasks: TaskBatch, result: Result) -> None:
        """Accuracies on training characters, and a training task as a picture."""
        self.say(f"epoch: {iteration}\n{vector(result.vector)}")
        self._curves("train", iteration, result)
        if iteration % self.every["pictures"] == 0:
            title = f"a training task, meta-iteration {iteration}"
            figure = plots.episode(tasks, title, most_classes=SHOWN_CLASSES)
            self.writer.add_image("episode", plots.pixels(figure), iteration)

    def validation(self, iteration: int, result: Result) -> None:
        """Accuracies on validation characters."""
        tasks = len(result.accuracies)
        self.say(
            f"{DASHES}-在{tasks}个随机任务上测试:{DASHES}-\n"
            f"验证集准确率: {vector(result.vector)}\n{LONG_DASHES}\n"
            f"validation accuracy: {100 * result.mean:.2f} +- {100 * result.interval:.2f}% on "
            f"{tasks} tasks"
        )
        self._curves("validation", iteration, result)

    def _curves(self, part: str, iteration: int, result: Result) -> None:
        """One curve for what all methods have, and a group for each update step below it."""
        if iteration % self.every[part] and iteration != self.config.meta_iterations:
            return
        for name, values in (
            ("accuracy", result.vector),
            ("loss", result.losses.mean(axis=0)),
        ):
            self.writer.add_scalar(f"{part}/{name}", float(values[-1]), iteration)
            if len(values) > 1:
                for step, value in enumerate(values):
                    tag = f"{part} by step/{name} after step {step}"
                    self.writer.add_scalar(tag, float(value), iteration)

    def say(self, text: str) -> None:
        """Print lines, above the bar where there is one.

        Where the reader has gone, as `| head` does, the run ends as after Ctrl-C.
        """
        try:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            forget_reader()
            signal.raise_signal(signal.SIGINT)

    def close(self, finished: bool) -> None:
        """Tell how the run ended, and how to go on."""
        run, best = self.run, self.run.best["accuracy"]
        self.writer.add_scalar(SUMMARY, best, run.iteration)
        self.writer.close()
        self.progress.close()
        if not finished:
            self.say(
                f"stopped after meta-iteration {run.iteration} and saved; the same command with "
                "--resume goes on"
            )
            return
        source = run.index.source
        what = "" if source == "omniglot" else f" on {source} characters, NOT Omniglot's"
        what = f" on {source}" if of_images(source) else what
        asked = ["--checkpoint", str(run.best_path)]
        if self.config.data != FIELDS["data"].default:
            asked += ["--data", self.config.data]
        self.say(
            f"The best acc on validation set is {best:.4f}{what}: {100 * best:.2f}% at "
            f"meta-iteration {run.best['epoch']}, after {duration(run.seconds)} in all; weights: "
            f"{run.best_path}\n"
            f"next: python evaluate.py {shlex.join(asked)}"
        )


def intervals(config: Config) -> dict[str, int]:
    """Meta-iterations between two points in VisualDL, of everything that is logged there."""
    total = config.meta_iterations
    return {
        "steps": spread(SCALARS_EVERY, total, MOST_POINTS),
        "train": spread(config.print_every, total, MOST_POINTS),
        "validation": spread(config.val_every, total, MOST_POINTS),
        "pictures": spread(config.print_every, total, MOST_PICTURES),
    }


def spread(every: int, total: int, most: int) -> int:
    """The meta-iterations between two points, a multiple of `every`, for at most `most` points."""
    return every * max(1, math.ceil(total // every / most))


def hyperparameters(config: Config, index: Index) -> dict[str, int | float | str]:
    """Return the dozen settings that matter to the method: VisualDL's views need few columns."""
    chosen = {key: getattr(config, key) for key in HYPERPARAMETERS + OF_METHOD[config.algorithm]}
    found = {k: v if type(v) in (int, float) else str(v) for k, v in chosen.items()}
    return {**found, "data": f"{index.source}, {index.split}"}
