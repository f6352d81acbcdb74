"""The weights of a run's best validations: what `keep_best` keeps beside the best alone."""

from __future__ import annotations

import dataclasses

from maml.config import Config
from maml.training.checkpoint import Checkpoint, read
from maml.training.names import kept_path, kept_paths


def keep(weights: Checkpoint, config: Config, accuracy: float) -> None:
    """Keep the weights of a validation if they are among the best, and let go of worse ones.

    The files themselves say how good they are, so a run that goes on may keep more or fewer. Of
    equal ones the latest are kept.
    """
    this = dataclasses.replace(
        weights,
        path=kept_path(config, weights.iteration),
        best={"accuracy": accuracy, "epoch": weights.iteration},
    )
    others = map(read, kept_paths(config))
    every = [this, *(other for other in others if other.path != this.path)]
    every.sort(key=lambda one: (one.accuracy, one.iteration), reverse=True)
    best, rest = every[: config.keep_best], every[config.keep_best :]
    if this in best:
        this.save()
    for one in rest:
        one.path.unlink(missing_ok=True)
