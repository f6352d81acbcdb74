"""Every setting as a flag of the command line, and a configuration from flags and a YAML file."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from maml.config import Config, make, read_yaml


def add_flags(parser: argparse.ArgumentParser) -> None:
    """One flag a setting, in groups; a flag that is not given leaves no trace in the parsed
    arguments.
    """
    groups: dict[str, Any] = {}
    for f in dataclasses.fields(Config):
        group = groups.setdefault(
            f.metadata["group"], parser.add_argument_group(f.metadata["group"])
        )
        text = f"{f.metadata['help']} (default: {f.default!r})".replace("%", "%%")
        if isinstance(f.default, bool):
            group.add_argument(
                f"--{f.name}",
                action=argparse.BooleanOptionalAction,
                default=argparse.SUPPRESS,
                help=text,
            )
        else:
            group.add_argument(
                f"--{f.name}",
                type=type(f.default),
                default=argparse.SUPPRESS,
                help=text,
                metavar=type(f.default).__name__.upper() if not f.metadata["choices"] else None,
                choices=f.metadata["choices"],
            )


def from_flags(arguments: argparse.Namespace) -> Config:
    """Defaults, overridden by `--config`'s file, overridden by flags."""
    names = {f.name for f in dataclasses.fields(Config)}
    flags = {key: value for key, value in vars(arguments).items() if key in names}
    stated = read_yaml(arguments.config) if arguments.config else {}
    if arguments.config:
        stated.setdefault("name", Path(arguments.config).stem)
    config = make(
        {**stated, **flags}, "command line" if flags or not arguments.config else arguments.config
    )
    return (
        config
        if config.name
        else dataclasses.replace(config, name=f"{config.algorithm}_{config.n_way}w{config.k_spt}s")
    )
