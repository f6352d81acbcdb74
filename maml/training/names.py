"""Where a run keeps its files, what it is called, and which saved state it may go on from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from maml.config import Config
from maml.system.errors import UserError
from maml.training.checkpoint import WHERE_AND_HOW, read_run


def best_path(config: Config) -> Path:
    """The file of the weights that were best on validation tasks."""
    return Path(config.checkpoints) / f"{config.name}.pkl"


def log_folder(config: Config) -> Path:
    """The folder of VisualDL's log and of the state for `--resume`."""
    return Path(config.logdir) / config.name


def resume_path(config: Config) -> Path:
    """The file with all that `--resume` needs."""
    return log_folder(config) / "resume.pkl"


def differences(config: Config, theirs: Config) -> list[str]:
    """Why a run of `theirs` cannot go on with `config`: settings that would change its results."""
    pairs = zip(dataclasses.asdict(config).items(), dataclasses.asdict(theirs).values())
    return [
        f"{key} {other!r}, not {own!r}"
        for (key, own), other in pairs
        if key not in WHERE_AND_HOW and own != other
    ]


def new_name(config: Config) -> str:
    """The name of a new run: as configured, or with a number behind it where that is taken."""
    free = (
        c.name
        for c in _numbered(config)
        if not resume_path(c).exists() and not best_path(c).exists()
    )
    return next(free)


def resumed_name(config: Config) -> str:
    """The name of the run to go on with: the last one that was started with the same settings."""
    found = [c for c in _numbered(config) if resume_path(c).exists()]
    if not found:
        raise UserError(
            f"{resume_path(config)}: not found, so nothing can be resumed; start without --resume"
        )
    reasons = []
    for c in reversed(found):
        different = differences(c, read_run(resume_path(c)).config)
        if not different:
            return c.name
        reasons.append(f"{resume_path(c)}: was started with {different[0]}")
    raise UserError(f"{reasons[0]}; resume with the same, or start without --resume")


def _numbered(config: Config) -> list[Config]:
    return [
        config,
        *(dataclasses.replace(config, name=f"{config.name}-{n}") for n in range(2, 1000)),
    ]
