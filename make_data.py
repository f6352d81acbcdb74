#!/usr/bin/env python3
"""Turn raw Omniglot into NumPy arrays: a door to maml/cli/data.py."""

from maml.cli.data import main
from maml.system import errors

if __name__ == "__main__":
    errors.run(main)
