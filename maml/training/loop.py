"""The training loop, one for all algorithms: schedule, validation, the best weights, and resuming
bit for bit.
"""

from __future__ import annotations

import dataclasses
import math
import re
import signal
import time
from typing import Any

import numpy as np

from maml.algorithms.learner import Learner
from maml.config import Config
from maml.data.arrays import Index
from maml.data.distortions import with_distortions
from maml.data.tasks import TaskSampler
from maml.evaluation import accuracy
from maml.reports.log import Log
from maml.system import safe_pickle
from maml.system.device import machine
from maml.system.errors import UserError
from maml.system.processes import Processes
from maml.training import names
from maml.training.weights import optimizer_state, set_optimizer_state, set_weights

PROGRESS_TASKS = 32  # behind each line of training accuracies
# up to so many update steps, accuracies are measured after each; of more, after the last, since
# they would take long
SHOWN_STEPS = 10


# What `--resume` goes on from, beside what `set_weights` checks.
STATE = {
    "weights": list,
    "running": list,
    "config": dict,
    "data": dict,
    "optimizer": dict,
    "tasks": dict,
    "epoch": int,
    "best": dict,
    "history": list,
    "seconds": float,
}


def learning_rate(config: Config, epoch: int) -> float:
    """Of the outer loop at `epoch`, 0 .. epochs - 1."""
    done = epoch / config.epochs
    share = {
        "constant": 1.0,
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "linear": 1 - done,
        "halving": 0.5 ** (epoch // config.halve_every),
    }
    return config.glob_meta_lr * share[config.schedule]


def training_sampler(config: Config, images: np.ndarray, rows: list[str]) -> TaskSampler:
    """Tasks of training characters, whose names are `rows`, as `config` asks for them."""
    if config.distortions:
        images = with_distortions(
            images, config.distortions, np.random.default_rng([config.seed, 3])
        )
    # of Alphabet/character or, where a list has its rotations as rows, Alphabet/character/rotation
    alphabets = (
        [re.sub("/[^/]*", "", row, count=1) for row in rows] if config.within_alphabets else None
    )
    return TaskSampler(
        images,
        *config.train_task,
        np.random.default_rng([config.seed, 1]),
        config.rotations,
        alphabets,
    )


def progress_sampler(config: Config, images: np.ndarray, epoch: int) -> TaskSampler:
    """Tasks of training characters as validation asks them, to be compared with it; other ones at
    each epoch.
    """
    return TaskSampler(
        images, *config.test_task, np.random.default_rng([config.seed, 5, epoch]), config.rotations
    )


def validation_sampler(config: Config, images: np.ndarray) -> TaskSampler:
    """The same tasks at every validation."""
    return TaskSampler(images, *config.test_task, np.random.default_rng([config.seed, 2]))


class Run:
    """One training run: the learner, where its tasks come from, how far it is, and which processes
    share it.
    """

    def __init__(
        self,
        config: Config,
        learner: Learner,
        arrays: dict[str, np.ndarray],
        index: Index,
        processes: Processes | None = None,
    ):
        self.config, self.learner, self.index = config, learner, index
        self.best_path, self.resume_path = names.best_path(config), names.resume_path(config)
        self.processes = processes or Processes()
        parts = ["train", "val"] if config.train_on_val else ["train"]
        images, rows = (
            np.concatenate([arrays[part] for part in parts]),
            [row for part in parts for row in index.rows[part]],
        )
        if config.rotations and any("/rot" in row for row in index.rows["train"]):
            raise UserError(
                f"{config.data}: its rows are rotations already, which --no-rotations leaves as"
                " they are"
            )
        self.sampler = training_sampler(config, images, rows)
        self.validation_images = arrays["val"]
        validation_sampler(
            config, arrays["val"]
        )  # so that too few characters are known now, not in a thousand epochs
        self.epoch = 0
        self.best: dict[str, Any] = {"accuracy": -1.0, "epoch": 0}
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.stop = False

    def weights(self) -> dict[str, Any]:
        """What evaluation needs: the weights, their configuration, which characters they were
        trained and chosen on, how long, and on which machine at last.
        """
        index = dataclasses.asdict(self.index)
        index["rows"] = {part: index["rows"][part] for part in ("train", "val")}
        network = self.learner.network
        return {
            "weights": [p.numpy() for p in self.learner.theta],
            "running": [s.numpy() for pair in network.running for s in pair],
            "config": names.settings(self.config),
            "data": index,
            "epoch": self.epoch,
            "best": self.best,
            "history": self.history,
            "seconds": self.seconds,
            "machine": machine(),
        }

    def state(self) -> dict[str, Any]:
        """All that continues this run bit for bit."""
        return {
            **self.weights(),
            "optimizer": optimizer_state(self.learner),
            "tasks": self.sampler.rng.bit_generator.state,
        }

    def resume(self) -> None:
        """Continue where the saved state stopped; a `UserError` where it belongs to another
        configuration or other data.
        """
        state = safe_pickle.load(self.resume_path, STATE)
        if different := names.differences(self.config, state):
            raise UserError(
                f"{self.resume_path}: was started with {different[0]}; resume with the same, or"
                " start without --resume"
            )
        if state["data"].get("sha256") != self.index.sha256:
            raise UserError(
                f"{self.resume_path}: was trained on other arrays than those in {self.config.data};"
                " name theirs by --data"
            )
        set_weights(self.learner, state, self.resume_path)
        set_optimizer_state(self.learner, state["optimizer"])
        self.sampler.rng.bit_generator.state = state["tasks"]
        self.epoch, self.best, self.history, self.seconds = (
            state[key] for key in ("epoch", "best", "history", "seconds")
        )

    def train(self, log: Log) -> bool:
        """Go on to the last epoch, or to a signal to stop; whether the last one was reached."""
        config, processes = self.config, self.processes
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask_to_stop)
        before = self.seconds
        start = time.perf_counter()
        while (
            self.epoch < config.epochs and not self.out_of_patience and not processes.any(self.stop)
        ):
            rate = learning_rate(config, self.epoch)
            self.learner.optimizer.set_lr(rate)
            tasks = self.sampler.sample(config.task_num, processes.part(config.task_num))
            began = time.perf_counter()
            metrics = self.learner.meta_step(tasks)
            metrics.update({"learning rate": rate, "seconds a step": time.perf_counter() - began})
            if not all(map(math.isfinite, metrics.values())):
                name, value = next(
                    (name, value) for name, value in metrics.items() if not math.isfinite(value)
                )
                raise UserError(
                    f"the {name} is {value} after epoch {self.epoch}; lower glob_base_lr or"
                    " glob_meta_lr, or set clip; the last good state is in"
                    f" {self.resume_path if self.resume_path.exists() else 'no file yet'}"
                )
            self.epoch += 1
            self.seconds = before + time.perf_counter() - start
            log.step(self.epoch, metrics)
            last = self.epoch == config.epochs
            if self.epoch % config.print_every == 0:
                seen = progress_sampler(config, self.sampler.images, self.epoch)
                result = self.measure(seen, PROGRESS_TASKS)
                self.history.append(
                    {"epoch": self.epoch, "part": "train", "accuracies": result.vector.tolist()}
                )
                log.train(self.epoch, tasks, result)
            if self.epoch % config.val_every == 0 or last:
                self.validate(log)
            if self.epoch % config.save_every == 0 or last:
                self.save()
        self.save()
        return self.epoch == config.epochs or self.out_of_patience

    @property
    def out_of_patience(self) -> bool:
        """Whether the last `patience` validations brought no new best."""
        since = [
            h for h in self.history if h["part"] == "validation" and h["epoch"] > self.best["epoch"]
        ]
        return 0 < self.config.patience <= len(since)

    def _ask_to_stop(self, number, frame) -> None:
        self.stop = True

    def save(self) -> None:
        """Write what `--resume` needs."""
        if self.processes.first:
            safe_pickle.save(self.state(), self.resume_path)

    def measure(self, sampler: TaskSampler, tasks: int) -> accuracy.Result:
        """Accuracies of tasks, shared by the processes."""
        return accuracy.evaluate(
            self.learner,
            sampler,
            tasks,
            self.processes,
            every_step=self.config.glob_update_step_test <= SHOWN_STEPS,
        )

    def validate(self, log: Log) -> None:
        """Measure on validation characters, and keep the weights if they are the best so far."""
        sampler = validation_sampler(self.config, self.validation_images)
        result = self.measure(sampler, self.config.val_tasks)
        self.history.append(
            {"epoch": self.epoch, "part": "validation", "accuracies": result.vector.tolist()}
        )
        if (
            result.mean > self.best["accuracy"] or self.config.train_on_val
        ):  # what was trained on cannot say which weights are best
            self.best = {"accuracy": result.mean, "epoch": self.epoch}
            if self.processes.first:
                safe_pickle.save(self.weights(), self.best_path)
        log.validation(self.epoch, result)
