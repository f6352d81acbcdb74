"""Settings as flags of a command line, and a configuration from flags and a YAML file."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from maml.config import FIELDS, Config, make, read_yaml, users


def add_flag(group: Any, f: dataclasses.Field, default: Any = argparse.SUPPRESS) -> None:
    """Add the flag of one declared setting; one that is not given leaves no trace."""
    names = [f"--{name}" for name in (f.name, f.metadata["alias"]) if name]
    kind, who = type(f.default), users(f)
    text = f"{who}: " if who else ""
    text += f"{f.metadata['help']} (default: {f.default!r})"
    options: dict[str, Any] = {"dest": f.name, "default": default, "help": text.replace("%", "%%")}
    if kind is bool:
        group.add_argument(*names, action=argparse.BooleanOptionalAction, **options)
        return
    choices = f.metadata["choices"]
    metavar = None if choices else kind.__name__.upper()
    if f.name == "network":  # a file of the user's own is checked with the other settings
        metavar, choices = "{" + ",".join(choices) + "}", None
    group.add_argument(*names, type=kind, metavar=metavar, choices=choices, **options)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting of `Config`, in groups."""
    groups: dict[str, Any] = {}
    for f in FIELDS.values():
        name = f.metadata["group"]
        if name not in groups:
            groups[name] = parser.add_argument_group(name)
        add_flag(groups[name], f)


def from_flags(arguments: argparse.Namespace) -> Config:
    """Return the configuration: defaults, overridden by `--config`'s file, then by flags."""
    flags = {key: value for key, value in vars(arguments).items() if key in FIELDS}
    stated = read_yaml(arguments.config) if arguments.config else {}
    if arguments.config:
        stated.setdefault("name", Path(arguments.config).stem)
    source = "command line" if flags or not arguments.config else arguments.config
    config = make({**stated, **flags}, source)
    if config.name:
        return config
    return dataclasses.replace(config, name=f"{config.algorithm}_{config.way}w{config.shot}s")
