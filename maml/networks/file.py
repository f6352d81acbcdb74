"""A network of the user's own: a function in a Python file that builds a paddle.nn.Layer."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import paddle

from maml.functional.randomness import seeded
from maml.networks.from_layer import LayerNetwork, from_layer
from maml.system.errors import UserError

_READ = itertools.count(1)
SPEC = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")


def names_file(network: str) -> bool:
    """Whether a network's name is of the form path/to/file.py:function."""
    return SPEC.fullmatch(network) is not None


class Builder(NamedTuple):
    """The user's function, and what identifies the file that it is in."""

    spec: str  # path/to/file.py:function
    function: Callable
    sha256: str  # of the file

    def network(
        self, way: int | None, image_size: int, channels: int = 1, seed: int = 0
    ) -> LayerNetwork:
        """Build the layer, with initial weights from `seed`, and make a network out of it."""
        try:
            with seeded(seed):
                layer = self.function(way, image_size, channels)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{self.spec}: failed for way {way}, image_size {image_size} and channels "
                f"{channels} ({type(error).__name__}: {error})"
            ) from error
        if not isinstance(layer, paddle.nn.Layer):
            raise UserError(
                f"{self.spec}: returned a {type(layer).__name__}; it must return a paddle.nn.Layer"
            )
        network = from_layer(layer, way)
        network.sha256 = self.sha256
        return network


def read_builder(spec: str) -> Builder:
    """Import the user's file and return its function.

    Args:
        spec (str): path/to/file.py:function. The function is called as build(way, image_size,
            channels), where way is None for an encoder.

    Raises:
        UserError: if there is no such file or function, or the file cannot be imported.
    """
    found = SPEC.fullmatch(spec)
    if found is None:
        raise UserError(f"network {spec} must be of the form path/to/file.py:function")
    path, name = Path(found["file"]), found["name"]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); correct --network") from None
    # a name of its own, by which its layers find the module again (see `from_layer`): the same file
    # may be read again after an edit, and another file may have the same name
    module_name = f"maml_network_{next(_READ)}_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(module_name, path)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_name] = module
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise UserError(f"{path}: cannot be imported ({type(error).__name__}: {error})") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"{path}: has no function {name}; correct --network")
    return Builder(spec, function, hashlib.sha256(content).hexdigest())
