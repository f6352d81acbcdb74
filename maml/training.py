"""The training loop, one for all algorithms: schedule, logs, validation, the best weights, and resuming bit for bit."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from maml import checkpoint, evaluation, omniglot
from maml.config import Config
from maml.errors import UserError
from maml.learner import Learner
from maml.tasks import TaskSampler, with_distortions


def learning_rate(config: Config, epoch: int) -> float:
    """Of the outer loop at `epoch`, 0 .. epochs - 1."""
    if config.schedule == "cosine":
        return config.glob_meta_lr * (1 + math.cos(math.pi * epoch / config.epochs)) / 2
    return config.glob_meta_lr


def training_sampler(config: Config, images: np.ndarray) -> TaskSampler:
    """Tasks of training characters as `config` asks for them."""
    if config.distortions:
        images = with_distortions(images, config.distortions, np.random.default_rng([config.seed, 3]))
    return TaskSampler(images, *config.train_task, np.random.default_rng([config.seed, 1]), config.rotations)


def validation_sampler(config: Config, images: np.ndarray) -> TaskSampler:
    """The same tasks at every validation."""
    return TaskSampler(images, *config.test_task, np.random.default_rng([config.seed, 2]))


class Run:
    """One training run: the learner, where its tasks come from, how far it is."""

    def __init__(self, config: Config, learner: Learner, arrays: dict[str, np.ndarray], index: omniglot.Index):
        self.config, self.learner, self.arrays, self.index = config, learner, arrays, index
        self.sampler = training_sampler(config, arrays["train"])
        self.epoch = 0
        self.best = {"accuracy": -1.0, "epoch": 0}
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0

    @property
    def best_path(self) -> Path:
        """The weights that were best on validation tasks."""
        return Path(self.config.checkpoints) / f"{self.config.name}.pkl"

    @property
    def resume_path(self) -> Path:
        """All that `--resume` needs."""
        return Path(self.config.log) / self.config.name / "resume.pkl"

    def state(self) -> dict[str, Any]:
        """All that continues this run bit for bit."""
        return {**self.weights(), "optimizer": optimizer_state(self.learner), "tasks": self.sampler.rng.bit_generator.state}

    def weights(self) -> dict[str, Any]:
        """What evaluation needs: weights, the configuration, which data."""
        data = dataclasses.asdict(self.index)
        data["rows"] = {part: data["rows"][part] for part in ("train", "val")}
        return {"weights": [p.numpy() for p in self.learner.network.theta], "config": dataclasses.asdict(self.config),
                "data": data, "epoch": self.epoch, "best": self.best, "history": self.history, "seconds": self.seconds}

    def resume(self) -> None:
        """Continue where the saved state stopped; its configuration must be this one but for how long and where to run."""
        state = checkpoint.load(self.resume_path)
        ours = dataclasses.asdict(self.config)
        free = {"data", "log", "checkpoints", "use_gpu", "workers", "print_every", "save_every"}
        for key in ours:
            if key not in free and state["config"].get(key) != ours[key]:
                raise UserError(f"{self.resume_path}: was started with {key} {state['config'].get(key)!r}, not {ours[key]!r}; "
                                f"give the same, or another --name for a new run")
        if state["data"]["sha256"] != self.index.sha256:
            raise UserError(f"{self.resume_path}: was trained on other arrays than those in {self.config.data}")
        set_weights(self.learner, state["weights"], self.resume_path)
        set_optimizer_state(self.learner, state["optimizer"])
        self.sampler.rng.bit_generator.state = state["tasks"]
        self.epoch, self.best, self.history, self.seconds = (state[key] for key in ("epoch", "best", "history", "seconds"))

    def train(self, log) -> None:
        """Up to `epochs`; `log` is a `logs.Log`."""
        config = self.config
        start = time.perf_counter() - self.seconds
        while self.epoch < config.epochs:
            rate = learning_rate(config, self.epoch)
            self.learner.optimizer.set_lr(rate)
            tasks = self.sampler.sample(config.task_num)
            began = time.perf_counter()
            metrics = self.learner.meta_step(tasks)
            if not math.isfinite(metrics["loss"] + metrics["gradient norm"]):
                raise UserError(f"the loss became {metrics['loss']} in epoch {self.epoch}; lower glob_base_lr or glob_meta_lr, or set clip. "
                                f"The last good state is in {self.resume_path}")
            self.epoch += 1
            self.seconds = time.perf_counter() - start
            log.step(self.epoch, {**metrics, "rate": rate, "seconds a step": time.perf_counter() - began})
            if self.epoch % config.print_every == 0:
                log.train(self.epoch, evaluation.measure(self.learner, tasks))
            if self.epoch % config.val_every == 0 or self.epoch == config.epochs:
                self.validate(log)
            if self.epoch % config.save_every == 0 or self.epoch == config.epochs:
                checkpoint.save(self.state(), self.resume_path)

    def validate(self, log) -> None:
        """Measure on validation characters, and keep the weights if they are the best so far."""
        result = evaluation.evaluate(self.learner, validation_sampler(self.config, self.arrays["val"]), self.config.val_tasks)
        self.history.append({"epoch": self.epoch, "accuracies": result.vector.tolist()})
        if result.mean > self.best["accuracy"]:
            self.best = {"accuracy": result.mean, "epoch": self.epoch}
            checkpoint.save(self.weights(), self.best_path)
        log.validation(self.epoch, result)


def set_weights(learner: Learner, weights: list[np.ndarray], source: object) -> None:
    """Put `weights` into the learner's network; a `UserError` that names `source` where they do not fit."""
    theta = learner.network.theta
    shapes, expected = [list(np.shape(w)) for w in weights], [p.shape for p in theta]
    if shapes != expected:
        raise UserError(f"{source}: holds weights of shapes {shapes}, but the network has {expected}")
    for p, w in zip(theta, weights):
        p.set_value(w)


def optimizer_state(learner: Learner) -> dict[str, np.ndarray]:
    """The optimizer's accumulators as arrays, named by the parameter's place instead of Paddle's running names."""
    names = {p.name: str(i) for i, p in enumerate(learner.network.theta)}
    state = {}
    for key, value in learner.optimizer.state_dict().items():
        owner = next((name for name in names if key.startswith(name)), None)
        if owner is not None:
            state[names[owner] + key[len(owner):]] = value.numpy()
    return state


def set_optimizer_state(learner: Learner, state: dict[str, np.ndarray]) -> None:
    """The inverse of `optimizer_state`."""
    theta = learner.network.theta
    learner.optimizer.set_state_dict({theta[int(key.split("_")[0])].name + key[len(key.split("_")[0]):]: paddle.to_tensor(value)
                                      for key, value in state.items()})
