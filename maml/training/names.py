"""Where a run keeps its files, what it is called, and which saved state it may go on from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from maml.config import Config
from maml.system import safe_pickle
from maml.system.errors import UserError

WHERE_AND_HOW_OFTEN = {
    "name",
    "data",
    "logdir",
    "checkpoints",
    "use_gpu",
    "workers",
    "print_every",
    "save_every",
}


def best_path(config: Config) -> Path:
    """The weights that were best on validation tasks."""
    return Path(config.checkpoints) / f"{config.name}.pkl"


def resume_path(config: Config) -> Path:
    """All that `--resume` needs."""
    return Path(config.logdir) / config.name / "resume.pkl"


def differences(config: Config, state: dict[str, Any]) -> list[str]:
    """Why a run of `config` cannot go on from `state`: settings that would change its results."""
    theirs = {
        **dataclasses.asdict(Config()),
        **state["config"],
    }  # an older one lacks settings that were added since
    return [
        f"{key} {theirs[key]!r}, not {ours!r}"
        for key, ours in dataclasses.asdict(config).items()
        if key not in WHERE_AND_HOW_OFTEN and theirs[key] != ours
    ]


def settings(config: Config) -> dict[str, Any]:
    """What a checkpoint tells of its configuration: its name and all that shapes its results, but
    no folders of the machine.
    """
    return {
        key: value
        for key, value in dataclasses.asdict(config).items()
        if key == "name" or key not in WHERE_AND_HOW_OFTEN
    }


def new_name(config: Config) -> str:
    """The name of a new run: as configured, with a number behind it where there is one of that
    name.
    """
    return next(
        c.name
        for c in _numbered(config)
        if not resume_path(c).exists() and not best_path(c).exists()
    )


def resumed_name(config: Config) -> str:
    """The name of the run to go on with: the last of these names that was started with the same
    settings.
    """
    found = [c for c in _numbered(config) if resume_path(c).exists()]
    if not found:
        raise UserError(
            f"{resume_path(config)}: not found, so nothing can be resumed; start without --resume"
        )
    states = [(c, safe_pickle.load(resume_path(c), {"config": dict})) for c in reversed(found)]
    for c, state in states:
        if not differences(c, state):
            return c.name
    c, state = states[0]
    raise UserError(
        f"{resume_path(c)}: was started with {differences(c, state)[0]}; resume with the same, or"
        " start without --resume"
    )


def _numbered(config: Config) -> list[Config]:
    return [
        config,
        *(dataclasses.replace(config, name=f"{config.name}-{n}") for n in range(2, 1000)),
    ]
