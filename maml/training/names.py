"""Where a run keeps its files, what it is called, and which saved state it may go on from."""

from __future__ import annotations

import dataclasses
from collections.abc import Set
from pathlib import Path
from shlex import quote

from maml.config import Config
from maml.system.errors import UserError
from maml.system.reservation import owner, reserve
from maml.training.checkpoint import WHERE_AND_HOW, RunState, read_run

FREE = WHERE_AND_HOW | {"val_every", "patience", "meta_iterations", "schedule_from"}
"""settings that may differ where a run goes on: what was computed does not depend on them"""


def best_path(config: Config) -> Path:
    """The file of the weights that were best on validation tasks."""
    return Path(config.checkpoints) / f"{config.name}.pkl"


def kept_path(config: Config, iteration: int) -> Path:
    """The file of the weights after `iteration`, where `keep_best` keeps them."""
    return Path(config.checkpoints) / config.name / f"{iteration}.pkl"


def kept_paths(config: Config) -> list[Path]:
    """The files that `keep_best` has kept. The log may be in the same folder."""
    return sorted(Path(config.checkpoints, config.name).glob("[0-9]*.pkl"))


def log_folder(config: Config) -> Path:
    """The folder of VisualDL's log and of the state for `--resume`."""
    return Path(config.logdir) / config.name


def resume_path(config: Config) -> Path:
    """The file with all that `--resume` needs."""
    return log_folder(config) / "resume.pkl"


def differences(config: Config, theirs: Config, free: Set[str] = WHERE_AND_HOW) -> list[str]:
    """Settings of a run of `theirs` that `config` would change, but for those that are `free`."""
    pairs = zip(dataclasses.asdict(config).items(), dataclasses.asdict(theirs).values())
    return [
        f"{key} {other!r}, not {own!r}"
        for (key, own), other in pairs
        if key not in free and own != other
    ]


def obstacle(config: Config, state: RunState) -> str:
    """Why the run of `state` cannot go on with `config`, in a sentence; empty where it can."""
    if different := differences(config, state.config, FREE):
        return (
            f"{state.path}: was started with {different[0]}; resume with the same, or start "
            f"another run from its weights by --start {quote(str(best_path(config)))}, without "
            "--resume"
        )
    if config.meta_iterations < state.iteration:
        return (
            f"{state.path}: is at meta-iteration {state.iteration} already, so meta_iterations "
            f"cannot be {config.meta_iterations}; name a larger number"
        )
    return ""


def lock_path(config: Config) -> Path:
    """The file that says which process a run's name belongs to while it is going on."""
    return log_folder(config) / "running.json"


def new_name(config: Config) -> str:
    """Reserve and return the name of a new run: as configured, or with a number behind it.

    A name is taken where there are files of a run, or where a run is going on. The reservation is
    atomic: of several runs that start at once, each gets a name of its own.
    """
    for name in _numbered(config):
        c = dataclasses.replace(config, name=name)
        taken = resume_path(c).exists() or best_path(c).exists() or kept_paths(c)
        if not taken and reserve(lock_path(c)):
            return c.name
    raise UserError(f"name {config.name} is taken a thousand times; choose another by --name")


def resumed_name(config: Config) -> str:
    """Reserve and return the name of the last run that was started with the same settings."""
    logs = Path(config.logdir)
    names = [name for name in _numbered(config) if (logs / name).exists()]
    runs = [dataclasses.replace(config, name=name) for name in names]
    found = [c for c in runs if resume_path(c).exists()]
    if not found:
        raise UserError(
            f"{resume_path(config)}: not found, so nothing can be resumed; start without --resume"
        )
    states = [(c, read_run(resume_path(c))) for c in reversed(found)]
    # the run that was to end there too comes first
    states.sort(key=lambda pair: pair[1].config.meta_iterations != config.meta_iterations)
    for c, state in states:
        if obstacle(c, state):
            continue
        if not reserve(lock_path(c)):
            raise UserError(
                f"run {c.name} is still going on, as {owner(lock_path(c))}; stop it first, or "
                "start another one without --resume"
            )
        return c.name
    raise UserError(obstacle(*states[0]))


def _numbered(config: Config) -> list[str]:
    """The names of runs of `config`, in the order in which they are taken."""
    return [config.name, *(f"{config.name}-{n}" for n in range(2, 1000))]
