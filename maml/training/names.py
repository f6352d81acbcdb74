"""Where a run keeps its files, what it is called, and which saved state it may go on from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from maml.config import Config
from maml.system.errors import UserError
from maml.system.reservation import owner, reserve
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


def lock_path(config: Config) -> Path:
    """The file that says which process a run's name belongs to while it is going on."""
    return log_folder(config) / "running.json"


def new_name(config: Config) -> str:
    """Reserve and return the name of a new run: as configured, or with a number behind it.

    A name is taken where there are files of a run, or where a run is going on. The reservation is
    atomic: of several runs that start at once, each gets a name of its own.
    """
    for c in _numbered(config):
        if not (resume_path(c).exists() or best_path(c).exists()) and reserve(lock_path(c)):
            return c.name
    raise UserError(f"name {config.name} is taken a thousand times; choose another by --name")


def resumed_name(config: Config) -> str:
    """Reserve and return the name of the last run that was started with the same settings."""
    found = [c for c in _numbered(config) if resume_path(c).exists()]
    if not found:
        raise UserError(
            f"{resume_path(config)}: not found, so nothing can be resumed; start without --resume"
        )
    reasons = []
    for c in reversed(found):
        different = differences(c, read_run(resume_path(c)).config)
        if different:
            reasons.append(f"{resume_path(c)}: was started with {different[0]}")
        elif not reserve(lock_path(c)):
            raise UserError(
                f"run {c.name} is still going on, as {owner(lock_path(c))}; stop it first, or "
                "start another one without --resume"
            )
        else:
            return c.name
    raise UserError(f"{reasons[0]}; resume with the same, or start without --resume")


def _numbered(config: Config) -> list[Config]:
    numbered = (f"{config.name}-{n}" for n in range(2, 1000))
    return [config, *(dataclasses.replace(config, name=name) for name in numbered)]
