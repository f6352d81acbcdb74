"""The training loop, one for all methods: schedule, validation, best weights, resuming."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from shlex import quote
from typing import Any, Protocol

from maml.algorithms.learner import Learner
from maml.config import GRADIENT, Config
from maml.data.banks import ClassImages, Stack, joined
from maml.data.distortions import NOT_DISTORTED, with_distortions
from maml.data.index import Index
from maml.data.splits import character_of, group_of, is_rotation
from maml.data.streams import Stream, generator
from maml.data.tasks import TaskBatch, TaskSampler
from maml.evaluation.accuracy import Result, evaluate
from maml.functional.randomness import seeded
from maml.networks.from_layer import LayerNetwork
from maml.system.device import machine
from maml.system.errors import UserError
from maml.system.launch import cores_in_use
from maml.system.processes import Processes
from maml.system.signals import Interruption
from maml.training import names
from maml.training import weights as parameters
from maml.training.build import own_part
from maml.training.checkpoint import Ancestor, Checkpoint, RunState, read_run
from maml.training.kept import keep
from maml.training.leakage import check_data
from maml.training.restore import start_from

PROGRESS_TASKS = 32  # behind each line of training accuracies, at most those of a validation
MOST_MEASUREMENTS = 2000  # of a part, at least the largest patience
SHOWN_STEPS = 10  # with more inner steps, accuracies are measured after the last one alone


class Log(Protocol):
    """What hears of a run's progress."""

    def step(self, iteration: int, metrics: dict[str, float]) -> None:
        """After every meta-iteration: what was measured in it."""

    def train(self, iteration: int, tasks: TaskBatch, result: Result) -> None:
        """Accuracies on training characters, and a batch of training tasks for a picture."""

    def validation(self, iteration: int, result: Result) -> None:
        """Accuracies on validation characters."""


class NullLog:
    """The log of a process that is not the first."""

    def step(self, iteration: int, metrics: dict[str, float]) -> None:
        """Nothing."""

    def train(self, iteration: int, tasks: TaskBatch, result: Result) -> None:
        """Nothing."""

    def validation(self, iteration: int, result: Result) -> None:
        """Nothing."""


def learning_rate(config: Config, iteration: int) -> float:
    """The outer learning rate at `iteration`, 0 to meta_iterations - 1."""
    begun = max(0, iteration - config.schedule_from)
    done = begun / (config.meta_iterations - config.schedule_from)
    share = {
        "constant": 1.0,
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "linear": 1 - done,
        "halving": 0.5 ** (begun // config.halve_every),
    }
    return config.outer_lr_end + (config.outer_lr - config.outer_lr_end) * share[config.schedule]


def training_sampler(config: Config, images: Stack, rows: Sequence[str]) -> TaskSampler:
    """The sampler of training tasks; `rows` are the names of the training characters."""
    if config.distortions and not isinstance(images, ClassImages):
        rng = generator(config.seed, Stream.DISTORTIONS)
        images = with_distortions(images, config.distortions, rng)
    rng, alphabets = generator(config.seed, Stream.TRAINING), None
    if config.within_alphabets:
        # of Alphabet/character or, where a list has rotations as rows, Alphabet/character/rotation
        alphabets = [row.replace(character_of(row), group_of(row) or row, 1) for row in rows]
    return TaskSampler(
        images,
        *config.train_task,
        rng,
        config.rotations,
        alphabets,
        replacement=config.replacement,
        names=rows,
    )


def progress_sampler(config: Config, images: Stack, iteration: int) -> TaskSampler:
    """The sampler of tasks of training characters in the form of validation tasks.

    Their accuracy compares with that of validation. Each iteration has other tasks.
    """
    rng = generator(config.seed, Stream.PROGRESS, iteration)
    return TaskSampler(images, *config.test_task, rng, config.rotations)


def validation_sampler(
    config: Config, images: Stack, rows: Sequence[str] | None = None
) -> TaskSampler:
    """The sampler of validation tasks, the same at every validation."""
    rng = generator(config.seed, Stream.VALIDATION)
    return TaskSampler(images, *config.test_task, rng, names=rows)


def bounded(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A history in which no part has more than twice `MOST_MEASUREMENTS`; the latest are all there.

    Where there are more, every second measurement of the older ones is left out.
    """
    dropped: set[int] = set()
    for part in ("train", "validation"):
        places = [i for i, h in enumerate(history) if h["part"] == part]
        if len(places) > 2 * MOST_MEASUREMENTS:
            dropped.update(places[:-MOST_MEASUREMENTS:2])
    return [h for i, h in enumerate(history) if i not in dropped] if dropped else history


class Trainer:
    """One training run: a learner, its tasks, and how far it is.

    Args:
        config (Config): the settings.
        learner (Learner): what is trained.
        arrays (Mapping[str, Stack]): the images of "train" and "val", as `read_arrays`
            returns them.
        index (Index): what they show.
        processes (Processes | None): the processes that share each meta-batch.

    Raises:
        UserError: if the data have too few characters or drawings for the tasks.

    Example:
        >>> import tempfile, maml
        >>> from maml.data import arrays, stand_in
        >>> from maml.training.build import build_learner
        >>> folder = tempfile.mkdtemp()
        >>> stand_in.write(f"{folder}/raw", alphabets=3, characters=6)
        >>> images, index = arrays.convert(f"{folder}/raw", 28, "random", 0)
        >>> config = maml.Config(way=3, query=2, meta_batch_size=2, inner_steps=1, val_tasks=2,
        ...     inner_steps_test=1, meta_iterations=2, name="run", logdir=f"{folder}/log",
        ...     checkpoints=f"{folder}/weights")
        >>> run = maml.Trainer(config, build_learner(config), images, index)
        >>> run.train()
        True
        >>> run.best_path.name
        'run.pkl'
    """

    def __init__(
        self,
        config: Config,
        learner: Learner,
        arrays: Mapping[str, Stack],
        index: Index,
        processes: Processes | None = None,
    ):
        self.config, self.learner, self.index = config, learner, index
        self.best_path, self.resume_path = names.best_path(config), names.resume_path(config)
        self.processes = processes or Processes()
        if config.rotations and any(map(is_rotation, index.rows["train"])):
            raise UserError(
                f"{config.data}: its rows are rotations already, which --no-rotations leaves as "
                "they are"
            )
        copies = config.distortions + config.distortions_test
        if copies and isinstance(arrays["train"], ClassImages):
            raise UserError(NOT_DISTORTED)
        outputs, way = learner.network.way, config.train_task[0]
        if outputs is not None and way > outputs:
            raise UserError(
                f"train_way is {way}, but the classifier of {config.algorithm} is for way "
                f"{outputs}; lower train_way, or train for a larger way and evaluate with a "
                "smaller one"
            )
        parts = ["train", "val"] if config.train_on_val else ["train"]
        images = joined([arrays[part] for part in parts])
        rows = [row for part in parts for row in index.rows[part]]
        self.sampler = training_sampler(config, images, rows)
        self.validation_images = arrays["val"]
        # too few classes or images are known now, not later
        validation_sampler(config, arrays["val"], index.rows["val"])
        self.ancestors: tuple[Ancestor, ...] = ()
        self.iteration = 0
        self.best: dict[str, Any] = {"accuracy": -1.0, "epoch": 0}
        self.history: list[dict[str, Any]] = []
        self.seconds = self.core_seconds = 0.0

    def checkpoint(self) -> Checkpoint:
        """What evaluation needs of this run."""
        return Checkpoint(path=self.best_path, **self._contents())

    def state(self) -> RunState:
        """What continues this run bit for bit."""
        return RunState(
            path=self.resume_path,
            **self._contents(),
            optimizer=parameters.optimizer_state(self.learner),
            tasks=dict(self.sampler.rng.bit_generator.state),
        )

    def _contents(self) -> dict[str, Any]:
        return {
            "config": self.config,
            "data": self.index,
            "weights": parameters.weights(self.learner),
            "running": parameters.running(self.learner),
            "iteration": self.iteration,
            "best": self.best,
            "history": self.history,
            "seconds": self.seconds,
            "machine": machine(),
            "core_seconds": self.core_seconds,
            "network_sha256": self.network_sha256,
            "ancestors": self.ancestors,
        }

    @property
    def network_sha256(self) -> str:
        """Of the file that a network of the user's own comes from, else empty."""
        return getattr(self.learner.network, "sha256", "")

    def start_from(self, origin: Checkpoint) -> str | None:
        """Begin with the weights of another run, and remember what these have seen.

        Returns:
            str | None: a sentence to print, where they were trained on other data.

        Raises:
            UserError: if they were trained on validation or test characters of these data, or are
                of another network.
        """
        _, said = [check_data(origin, self.index, part) for part in ("val", "test")]
        start_from(self.learner, origin)
        self.ancestors = origin.lineage
        return said

    def resume(self) -> None:
        """Continue where the saved state stopped.

        The run may go on longer than it was to: its past stays as it was.

        Raises:
            UserError: if the state belongs to another configuration or to other data.
        """
        state = read_run(self.resume_path)
        if reason := names.obstacle(self.config, state):
            raise UserError(reason)
        if state.data.sha256 != self.index.sha256:
            raise UserError(
                f"{self.resume_path}: was trained on other arrays than those in "
                f"{self.config.data}; name theirs by --data"
            )
        if state.network_sha256 != self.network_sha256:
            raise UserError(
                f"{self.resume_path}: was started with other contents of the network's file; "
                "restore them, or start another run from its weights by --start "
                f"{quote(str(self.best_path))}, without --resume"
            )
        form = self.index.form
        parameters.set_weights(self.learner, state.weights, state.running, form, state.path)
        parameters.set_optimizer_state(self.learner, state.optimizer)
        self.sampler.rng.bit_generator.state = state.tasks
        self.iteration = state.iteration
        self.seconds, self.core_seconds = state.seconds, state.core_seconds
        self.best, self.history = state.best, state.history
        self.ancestors = state.ancestors

    def train(self, log: Log | None = None) -> bool:
        """Go on to the last meta-iteration, or until Ctrl-C, SIGTERM or `patience` ends the run.

        Returns:
            bool: whether it ended by itself, rather than by a signal.
        """
        log = log or NullLog()
        with Interruption() as interruption:

            def asked() -> bool:
                return self.processes.any(interruption.asked)

            while not (self.finished or asked()):
                if self.validation_due:
                    self.validate(log, asked)
                else:
                    self.step(log)
            self.save()
        return self.finished

    @property
    def finished(self) -> bool:
        """Whether the last meta-iteration is reached and validated, or `patience` has run out."""
        reached = self.iteration == self.config.meta_iterations and not self.validation_due
        return reached or self.out_of_patience

    @property
    def validation_due(self) -> bool:
        """Whether this meta-iteration is to be validated, and has not been."""
        epochs = (h["epoch"] for h in reversed(self.history) if h["part"] == "validation")
        last = self.iteration == self.config.meta_iterations
        is_one = self.iteration % self.config.val_every == 0 or last
        return is_one and self.iteration > next(epochs, 0)

    @property
    def out_of_patience(self) -> bool:
        """Whether the last `patience` validations brought no new best."""
        since = [
            h for h in self.history if h["part"] == "validation" and h["epoch"] > self.best["epoch"]
        ]
        return 0 < self.config.patience <= len(since)

    def step(self, log: Log) -> None:
        """Take one meta-iteration; measure training tasks, and save, where it is time to."""
        config, start = self.config, time.perf_counter()
        rate = learning_rate(config, self.iteration)
        self.learner.optimizer.set_lr(rate)
        self.learner.iteration = self.iteration
        part = own_part(config, self.processes)
        tasks = self.sampler.sample(config.meta_batch_size, part)
        began = time.perf_counter()
        with self._masks():
            metrics = self.learner.meta_step(tasks)
        metrics.update({"learning rate": rate, "seconds a step": time.perf_counter() - began})
        self._check(metrics)
        self.iteration += 1
        log.step(self.iteration, metrics)
        if self.iteration % config.print_every == 0:
            seen = progress_sampler(config, self.sampler.images, self.iteration)
            count = min(PROGRESS_TASKS, config.val_tasks)
            result = evaluate(self.learner, seen, count, self.processes, every_step=self.every_step)
            self._remember("train", result)
            log.train(self.iteration, tasks, result)
        self._spend(time.perf_counter() - start)
        if self.iteration % config.save_every == 0:
            self.save()

    def _masks(self) -> AbstractContextManager:
        """Dropout of a user's network draws by seed, meta-iteration and process, resumed or not."""
        if not isinstance(self.learner.network, LayerNetwork):
            return nullcontext()
        rng = generator(self.config.seed, Stream.MASKS, self.iteration, self.processes.rank)
        return seeded(int(rng.integers(2**31)))

    def _check(self, metrics: dict[str, float]) -> None:
        """Raise a `UserError` where training has diverged."""
        for name, value in metrics.items():
            if not math.isfinite(value):
                inner = "inner_lr or " if self.config.algorithm in GRADIENT else ""
                clip = ", or set clip" if self.config.algorithm == "maml" else ""
                kept = self.resume_path if self.resume_path.exists() else "no file yet"
                raise UserError(
                    f"the {name} is {value} after meta-iteration {self.iteration}; lower "
                    f"{inner}outer_lr{clip}; the last good state is in {kept}"
                )

    def save(self) -> None:
        """Write what `--resume` needs."""
        if self.processes.first:
            self.state().save()

    @property
    def every_step(self) -> bool:
        """Whether accuracies are measured after every inner step."""
        return self.config.inner_steps_test <= SHOWN_STEPS

    def _remember(self, part: str, result: Result) -> None:
        measured = {"epoch": self.iteration, "part": part, "accuracies": result.vector.tolist()}
        self.history = bounded([*self.history, measured])

    def _spend(self, seconds: float) -> None:
        self.seconds += seconds
        self.core_seconds += seconds * cores_in_use(self.processes.size)

    def validate(self, log: Log, asked: Callable[[], bool]) -> None:
        """Measure on validation characters, and keep the weights if they are the best so far.

        Where `asked` says to stop meanwhile, the validation is due again.
        """
        start, tasks = time.perf_counter(), self.config.val_tasks

        def until_asked(rounds: Iterable) -> Iterator:
            for one in rounds:
                yield one
                if asked():
                    return

        result = evaluate(
            self.learner,
            validation_sampler(self.config, self.validation_images),
            tasks,
            self.processes,
            until_asked,
            self.every_step,
        )
        self._spend(time.perf_counter() - start)
        if len(result.accuracies) < tasks:
            return
        self._remember("validation", result)
        # what was trained on cannot say which weights are best
        if result.mean > self.best["accuracy"] or self.config.train_on_val:
            self.best = {"accuracy": result.mean, "epoch": self.iteration}
            if self.processes.first:
                self.checkpoint().save()
        if self.processes.first and self.config.keep_best:
            keep(self.checkpoint(), self.config, result.mean)
        log.validation(self.iteration, result)
