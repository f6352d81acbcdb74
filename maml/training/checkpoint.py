"""What a checkpoint holds, as a dataclass, and as the builtins and arrays that are written."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from maml.config import METRIC, Config, stored
from maml.data.index import Index, check_index
from maml.system import safe_pickle
from maml.system.errors import UserError

# Settings that say where a run keeps its files and how it computes, not what it computes.
WHERE_AND_HOW = frozenset(
    [
        "name",
        "data",
        "logdir",
        "checkpoints",
        "keep_best",
        "gpu",
        "workers",
        "print_every",
        "save_every",
    ]
)


@dataclass(frozen=True)
class Ancestor:
    """Weights that a run started from, and what they have seen.

    Args:
        name (str): of their file.
        train_on_val (bool): whether they were trained on the validation part too.
        data (Index): what they were trained and validated on.
    """

    name: str
    train_on_val: bool
    data: Index

    def parts_seen(self, part: str) -> list[str]:
        """The parts of `data` that accuracies on `part` of any data must not be measured on."""
        return ["train", "val"] if part == "test" or self.train_on_val else ["train"]

    def state(self) -> dict[str, Any]:
        """Return what is written."""
        return {**vars(self), "data": _written(self.data)}


def _written(data: Index) -> dict[str, Any]:
    return dataclasses.asdict(data.of_parts(("train", "val")))


@dataclass(frozen=True)
class Checkpoint:
    """A trained learner's weights, and all that is known of them.

    Args:
        path (Path): the file.
        config (Config): the settings of its training; folders of the machine are left out.
        data (Index): the characters that it was trained and validated on.
        weights (list[ndarray]): the learner's parameters, in its order.
        running (list[ndarray]): running means and variances of batch normalisation, alternating.
        iteration (int): the meta-iteration of these weights.
        best (dict): "accuracy" on validation tasks and the meta-iteration, "epoch", of the best.
        history (list[dict]): each measurement: "epoch", "part" ("train" or "validation") and
            "accuracies" after each inner step.
        seconds (float): training time.
        core_seconds (float): training time of all processor cores that were used.
        machine (str): the processor that it was trained on, last.
        network_sha256 (str): of the file of a network of the user's own, else empty.
        ancestors (tuple[Ancestor, ...]): the weights that its training started from, then those
            that these started from, and so on.

    Example:
        >>> import maml
        >>> trained = maml.load("protonet_60w1s").trained
        >>> trained.config.algorithm, trained.data.split, trained.serves(50)
        ('protonet', 'random', True)
    """

    path: Path
    config: Config
    data: Index
    weights: list[np.ndarray]
    running: list[np.ndarray]
    iteration: int
    best: dict[str, Any]
    history: list[dict[str, Any]]
    seconds: float
    machine: str
    core_seconds: float = 0.0
    network_sha256: str = ""
    ancestors: tuple[Ancestor, ...] = ()

    @property
    def lineage(self) -> tuple[Ancestor, ...]:
        """These weights, and all that they come from."""
        this = Ancestor(self.path.name, self.config.train_on_val, self.data)
        return (this, *self.ancestors)

    @property
    def accuracy(self) -> float:
        """The best accuracy on validation tasks."""
        return self.best["accuracy"]

    def serves(self, way: int) -> bool:
        """Whether these weights can tell `way` classes apart."""
        return serves(self.config, way)

    def state(self) -> dict[str, Any]:
        """Return what is written."""
        return {
            "weights": self.weights,
            "running": self.running,
            "config": settings(self.config),
            "data": _written(self.data),
            "epoch": self.iteration,
            "best": self.best,
            "history": self.history,
            "seconds": self.seconds,
            "machine": self.machine,
            "core_seconds": self.core_seconds,
            **({"network_sha256": self.network_sha256} if self.network_sha256 else {}),
            **({"ancestors": [a.state() for a in self.ancestors]} if self.ancestors else {}),
        }

    def description(self) -> dict[str, Any]:
        """What a search for weights looks at, which the file begins with."""
        return {
            "config": settings(self.config),
            "source": self.data.source,
            "split": self.data.split,
            "image_size": self.data.image_size,
            "accuracy": self.accuracy,
        }

    def save(self) -> None:
        """Write it to `path`, whole or not at all."""
        safe_pickle.save(self.state(), self.path, self.description())


@dataclass(frozen=True)
class RunState(Checkpoint):
    """A checkpoint and what continues its training bit for bit."""

    optimizer: dict[str, np.ndarray] = field(default_factory=dict)
    tasks: dict[str, Any] = field(default_factory=dict)
    """state of the generator of training tasks"""

    def state(self) -> dict[str, Any]:
        """Return what is written."""
        return {**super().state(), "optimizer": self.optimizer, "tasks": self.tasks}


def serves(config: Config, way: int) -> bool:
    """Whether weights of `config` can tell `way` classes apart.

    Metric methods serve any number; a classifier serves as many as it was trained for, or fewer.
    """
    return config.algorithm in METRIC or way <= config.way


def settings(config: Config) -> dict[str, Any]:
    """Return a configuration's name and all that shapes its results, but no folders."""
    return {
        key: value
        for key, value in dataclasses.asdict(config).items()
        if key == "name" or key not in WHERE_AND_HOW
    }


KINDS = {"weights": list, "running": list, "config": dict, "data": dict, "best": dict}
RUN_KINDS = {"optimizer": dict, "tasks": dict}


def read(path: str | Path) -> Checkpoint:
    """Return the checkpoint at `path`.

    Raises:
        UserError: if it is none of this project's. Nothing in the file is executed.
    """
    return Checkpoint(**_contents(path, safe_pickle.load(path, {**KINDS, "history": list})))


def read_run(path: str | Path) -> RunState:
    """Return the state of a run at `path`, as `read`."""
    state = safe_pickle.load(path, {**KINDS, "history": list, **RUN_KINDS})
    return RunState(**_contents(path, state), optimizer=state["optimizer"], tasks=state["tasks"])


def _contents(path: str | Path, state: dict[str, Any]) -> dict[str, Any]:
    def refuse(reason: str) -> UserError:
        return UserError(f"{path}: is not a checkpoint of train.py's, {reason}")

    if not all(_is_measurement(h) for h in state["history"]):
        raise refuse("its history does not list accuracies")
    if not isinstance(state["best"].get("accuracy"), float):
        raise refuse("it lacks the best accuracy")
    if not all(isinstance(w, np.ndarray) for w in [*state["weights"], *state["running"]]):
        raise UserError(f"{path}: holds weights that are no arrays")
    machine, iteration = state.get("machine"), state.get("epoch")
    seconds = _number(state.get("seconds"), 0.0)
    if not isinstance(machine or "", str):
        raise refuse("its machine has no name")
    ancestors = state.get("ancestors", [])
    if not (isinstance(ancestors, list) and all(map(_is_ancestor, ancestors))):
        raise refuse("it does not tell what it was started from")
    return {
        "path": Path(path),
        "config": stored(state["config"], str(path)),
        "data": _index(state["data"], path),
        "weights": state["weights"],
        "running": state["running"],
        "iteration": iteration if isinstance(iteration, int) else 0,
        "best": state["best"],
        "history": state["history"],
        "seconds": seconds,
        "machine": machine or "",
        # Weights from before it was recorded were trained on one core.
        "core_seconds": _number(state.get("core_seconds"), seconds),
        "network_sha256": str(state.get("network_sha256", "")),
        "ancestors": tuple(Ancestor(**{**a, "data": _index(a["data"], path)}) for a in ancestors),
    }


def _index(stated: Any, path: str | Path) -> Index:
    return check_index(stated, str(path), parts=("train", "val"))


def _is_ancestor(a: Any) -> bool:
    kinds = {"name": str, "train_on_val": bool, "data": dict}
    return isinstance(a, dict) and {key: type(value) for key, value in a.items()} == kinds


def _number(value: Any, otherwise: float) -> float:
    return float(value) if isinstance(value, (int, float)) else otherwise


def _is_measurement(h: Any) -> bool:
    return (
        isinstance(h, dict)
        and isinstance(h.get("epoch"), int)
        and isinstance(h.get("part"), str)
        and isinstance(h.get("accuracies"), list)
        and len(h["accuracies"]) > 0
        and all(isinstance(a, float) for a in h["accuracies"])
    )
