#!/usr/bin/env python3
"""Train a few-shot learner: a door to maml/cli/train.py."""

from maml.cli.train import main
from maml.system import errors

if __name__ == "__main__":
    errors.run(main)
